"""The oracle for profiles: exact answers, and the grade of a given one (AU-40..49, AU-103)."""

from itertools import chain
from typing import NamedTuple

import msgspec

from penstock.load.audiences.instants import milli_text, parse_tag_time, tag_time
from penstock.load.audiences.ledger import DEPTH, Ledger
from penstock.load.audiences.population import ACTIONS, DEVICES
from penstock.load.audiences.wire import ProductInfo, ProfileAnswer, Tag
from penstock.load.fates import ACCEPTED, REFUSED, UNSENT
from penstock.load.workload import Verdict

LIMIT_DEFAULT = 200

_decode = msgspec.json.Decoder(ProfileAnswer).decode


class ProfileQuery(msgspec.Struct, frozen=True, kw_only=True):
    cookie: str
    number: int | None
    """The cookie's number in the population, None for one that no tag carries."""
    from_ms: int
    to_ms: int
    limit: int | None

    @property
    def target(self) -> str:
        limit = "" if self.limit is None else f"&limit={self.limit}"
        times = f"{milli_text(self.from_ms)}_{milli_text(self.to_ms)}"
        return f"/user_profiles/{self.cookie}?time_range={times}{limit}"


class _Candidates(NamedTuple):
    """What a list may be made of: tags in range, newest first, and how many are newer."""

    in_range: list[tuple[int, bool]]
    """(index, whether it must be visible)."""
    newer_certain: int
    newer_possible: int


class ProfileOracle:
    """Answers from the tags of a ledger.

    Tags below `settled` that were accepted must be visible. Accepted tags above it, and those of
    unknown fate, may be: any answer that some choice among them explains is exact.
    """

    def __init__(
        self, ledger: Ledger, *, drop_zero_fraction: bool = False, raw_time: bool = False
    ) -> None:
        self._ledger = ledger
        self._drop_zero_fraction = drop_zero_fraction
        self._raw_time = raw_time

    def expected(self, query: ProfileQuery, *, settled: int) -> ProfileAnswer:
        """The answer if only the tags that must be visible are."""
        lists: list[list[Tag]] = []
        for action in range(len(ACTIONS)):
            found = self._candidates(query, action, settled)
            room = min(_limit(query), max(0, DEPTH - found.newer_certain))
            certain = [index for index, is_certain in found.in_range if is_certain]
            lists.append([self._tag(index) for index in certain[:room]])
        return ProfileAnswer(query.cookie, *lists)

    def judge(self, query: ProfileQuery, body: bytes, *, settled: int) -> Verdict:
        """Grade the answer to `query`, sent when `settled` was the settled index."""
        candidates = [self._candidates(query, action, settled) for action in range(len(ACTIONS))]
        empty = _limit(query) == 0 or not any(
            certain for _, certain in chain.from_iterable(found.in_range for found in candidates)
        )
        try:
            answer = _decode(body)
        except msgspec.DecodeError as error:
            return Verdict(f"not a profile: {error}", empty)
        if answer.cookie != query.cookie:
            return Verdict(f"cookie is {answer.cookie!r}", empty)
        for name, given, found in zip(
            ("views", "buys"), (answer.views, answer.buys), candidates, strict=True
        ):
            difference = self._difference(given, found, _limit(query))
            if difference is not None:
                return Verdict(f"{name}{difference}", empty)
        return Verdict(None, empty)

    def _candidates(self, query: ProfileQuery, action: int, settled: int) -> _Candidates:
        in_range: list[tuple[int, bool]] = []
        if query.number is None:
            return _Candidates(in_range, 0, 0)
        fates = self._ledger.fate
        first = self._ledger.instants.first_at(query.from_ms)
        stop = self._ledger.instants.first_at(query.to_ms)
        newer_certain = newer_possible = certain_count = 0
        for index in self._ledger.newest_first(query.number, action):
            # Older than the range, or deeper than the depth whatever else is visible.
            if index < first or certain_count == DEPTH:
                break
            fate = fates[index]
            if fate in (UNSENT, REFUSED):
                continue
            certain = fate == ACCEPTED and index < settled
            certain_count += certain
            if index < stop:
                in_range.append((index, certain))
            elif certain:
                newer_certain += 1
            else:
                newer_possible += 1
        return _Candidates(in_range, newer_certain, newer_possible)

    def _difference(self, given: list[Tag], found: _Candidates, limit: int) -> str | None:
        """The first difference, or None where some set of visible tags explains the list.

        Assumes that no two tags of a ledger are equal in every field.
        """
        if len(given) > limit:
            return f" has {len(given)} tags, limit {limit}"
        rest = iter(found.in_range)
        for position, tag in enumerate(given):
            for index, certain in rest:
                if self._is_same(tag, index):
                    break
                if certain:
                    return f"[{position}] is not the expected tag {self._tag(index)}"
            else:
                return f"[{position}] is a tag too many: {tag}"
        # `room` is how many of the newer possible tags the depth still allows to be visible.
        room = DEPTH - found.newer_certain - len(given)
        if room < 0:
            return f" has tags from beyond the newest {DEPTH}"
        if len(given) == limit or room <= found.newer_possible:
            return None
        missing = next((index for index, certain in rest if certain), None)
        return None if missing is None else f"[{len(given)}] is missing: {self._tag(missing)}"

    def _is_same(self, tag: Tag, index: int) -> bool:
        ms = self._ledger.instants.at(index)
        if parse_tag_time(tag.time) != ms:
            return False
        expected = self._tag(index)
        if not self._raw_time:
            expected = msgspec.structs.replace(expected, time=tag.time)
        return tag == expected

    def _tag(self, index: int) -> Tag:
        ledger = self._ledger
        population = ledger.population
        product = ledger.products.item(index)
        device, action = divmod(ledger.kinds.item(index), len(ACTIONS))
        price = population.prices(
            ledger.products[index : index + 1], ledger.variations[index : index + 1]
        )
        return Tag(
            time=tag_time(ledger.instants.at(index), drop_zero_fraction=self._drop_zero_fraction),
            cookie=population.cookie(ledger.cookies.item(index)),
            country=population.countries[ledger.countries.item(index)],
            device=DEVICES[device],
            action=ACTIONS[action],
            origin=population.origins[ledger.origins.item(index)],
            product_info=ProductInfo(
                product_id=population.product_ids[product],
                brand_id=population.brands[population.product_brands.item(product)],
                category_id=population.categories[population.product_categories.item(product)],
                price=price.item(),
            ),
        )


def _limit(query: ProfileQuery) -> int:
    return LIMIT_DEFAULT if query.limit is None else min(query.limit, DEPTH)
