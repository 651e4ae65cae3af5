"""The query mix (AU-123, AU-126, AU-128): a query depends on the seed, the rate and its number.

It also depends on the tags before `before`, which follow from the schedule, not from the server.
"""

from bisect import bisect_left
from itertools import islice
from random import Random

from penstock.load.audiences.aggregates import COUNT, FILTERS, SUM_PRICE, AggregateQuery
from penstock.load.audiences.instants import DAY_MS, MINUTE_MS, STREAM_START_MS
from penstock.load.audiences.ledger import DEPTH, Ledger
from penstock.load.audiences.population import ACTIONS
from penstock.load.audiences.profiles import ProfileQuery

_LISTS = ((COUNT,), (SUM_PRICE,), (COUNT, SUM_PRICE), (SUM_PRICE, COUNT))
_MINUTES_MAX = 10
# Tags that arrive while a query is under way deepen the profile and move the horizon.
_DEPTH_MARGIN = 50
_HORIZON_MS = DAY_MS - 15 * MINUTE_MS
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class QueryMix:
    """Queries about tags whose index is below `before`; no two numbers share randomness."""

    def __init__(self, ledger: Ledger, *, seed: int, rate: int) -> None:
        self._ledger = ledger
        self._prefix = f"{seed}/{rate}"

    def profile(self, number: int, *, before: int) -> ProfileQuery:
        random = seeded(f"{self._prefix}/profile/{number}")
        share = random.randrange(100)
        limit = _limit(random)
        if share < 5 or before == 0:
            return _unknown_profile(random, before, limit)
        cookie = self._hot_cookie(random, before) if share < 15 else None
        pivot = random.randrange(before)
        if cookie is None:
            cookie = self._ledger.cookies.item(pivot)
        oldest, pivot = self._within_depth(random, cookie, before, pivot)
        first = pivot - min(pivot - oldest, _distance(random, before))
        stop = min(before, pivot + 1 + _distance(random, before))
        edge = random.randrange(100)
        if edge < 15:
            first = pivot
        elif edge < 30:
            # The end is exclusive, so the pivot itself must not be returned.
            stop = pivot
            first = min(first, stop)
        return ProfileQuery(
            cookie=self._ledger.population.cookie(cookie),
            number=cookie,
            from_ms=STREAM_START_MS + first,
            to_ms=STREAM_START_MS + stop,
            limit=limit,
        )

    def aggregate(self, number: int, *, before: int, may_be_open: bool = False) -> AggregateQuery:
        """Ask for closed minutes, for the open one only while none is closed or if it may be."""
        random = seeded(f"{self._prefix}/aggregate/{number}")
        newest_ms = STREAM_START_MS + self._ledger.size
        stop_ms = (STREAM_START_MS + before) // MINUTE_MS * MINUTE_MS
        if may_be_open or stop_ms == STREAM_START_MS:
            stop_ms += MINUTE_MS
        oldest_ms = max(STREAM_START_MS, newest_ms - _HORIZON_MS)
        length_ms = random.randint(1, _MINUTES_MAX) * MINUTE_MS
        closed = max(1, (stop_ms - oldest_ms) // MINUTE_MS)
        to_ms = stop_ms - random.randrange(closed) * MINUTE_MS
        from_ms = to_ms - length_ms
        while from_ms < newest_ms - _HORIZON_MS:
            from_ms += MINUTE_MS
        family = random.randrange(len(ACTIONS) << len(FILTERS))
        return AggregateQuery(
            from_ms=from_ms,
            to_ms=max(from_ms, to_ms),
            action=ACTIONS[family % len(ACTIONS)],
            aggregates=random.choice(_LISTS),
            **self._filters(random, family // len(ACTIONS)),
        )

    def _filters(self, random: Random, subset: int) -> dict[str, str]:
        population = self._ledger.population
        product = random.randrange(len(population.product_ids))
        # Brand and category of one product, so that filtering by both can match.
        values = (
            random.choice(population.origins),
            population.brands[population.product_brands.item(product)],
            population.categories[population.product_categories.item(product)],
        )
        given = {
            name: value
            for bit, (name, value) in enumerate(zip(FILTERS, values, strict=True))
            if subset >> bit & 1
        }
        if given and random.randrange(10) == 0:
            given[random.choice(sorted(given))] = f"UNKNOWN_{random.randrange(1000)}"
        return given

    def _hot_cookie(self, random: Random, before: int) -> int | None:
        count = bisect_left(self._ledger.hot, (before + 1, 0))
        return self._ledger.hot[random.randrange(count)][1] if count else None

    def _within_depth(
        self, random: Random, cookie: int, before: int, pivot: int
    ) -> tuple[int, int]:
        """(oldest index that may be asked for, a pivot tag of this cookie not older)."""
        oldest, known = 0, []
        for action in range(len(ACTIONS)):
            newest = (i for i in self._ledger.newest_first(cookie, action) if i < before)
            tags = list(islice(newest, DEPTH - _DEPTH_MARGIN))
            known += tags
            if len(tags) == DEPTH - _DEPTH_MARGIN:
                oldest = max(oldest, tags[-1])
        known = [index for index in known if index >= oldest]
        return oldest, pivot if pivot in known else random.choice(known)


def seeded(text: str) -> Random:
    """Repeatable randomness, told apart by `text`."""
    return Random(text)  # noqa: S311 - a workload, not a secret


def _limit(random: Random) -> int | None:
    share = random.randrange(100)
    if share < 70:
        return DEPTH
    if share < 75:
        return None
    return random.randrange(1, DEPTH) if share < 99 else 0


def _distance(random: Random, before: int) -> int:
    """Evenly spread over the powers of two, so that short and long ranges both occur."""
    return random.randrange(1 << random.randint(1, max(1, before.bit_length())))


def _unknown_profile(random: Random, before: int, limit: int | None) -> ProfileQuery:
    first = random.randrange(max(1, before))
    return ProfileQuery(
        cookie="".join(random.choices(_ALPHABET, k=20)),
        number=None,
        from_ms=STREAM_START_MS + first,
        to_ms=STREAM_START_MS + first + _distance(random, before),
        limit=limit,
    )
