"""What holds for any stream of tags, against a model of the contract in plain Python.

Each example has ten minutes and cookies of its own, later than those of the examples before.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, count, pairwise
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audiences.served import Ask, Served
from apps.audiences.tags import Tag, a_tag, encoded, instant, plain, time_ms

pytestmark = pytest.mark.slow

MINUTE_MS = 60_000
WINDOW_MS = 10 * MINUTE_MS
START = 1_646_092_800_000
DEPTH = 200
FILTERS = {
    "origin": ("O1", "O2", "O_3"),
    "brand_id": ("B1", "B 2"),
    "category_id": ("C1", "C/2", "ć"),
}
SUBSETS = [subset for size in range(4) for subset in combinations(FILTERS, size)]
Words = Mapping[str, str]
NOTHING: Words = {}
BOUNDED = settings(max_examples=12)

Drawn = Sequence[tuple[int, str, str, str, str, str, int]]

drawn_tags = st.lists(
    st.tuples(
        st.one_of(
            st.integers(0, WINDOW_MS - 1),
            st.sampled_from([0, MINUTE_MS - 1, MINUTE_MS, 2 * MINUTE_MS, WINDOW_MS - 1]),
        ),
        st.sampled_from(["VIEW", "BUY"]),
        st.sampled_from(["a", "b"]),
        *(st.sampled_from(words) for words in FILTERS.values()),
        st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**31), 2**31 - 1, 0]),
    ),
    max_size=40,
)
splits = st.integers(0, WINDOW_MS)


@pytest.fixture(scope="module")
def windows() -> Iterator[int]:
    """Starts of windows. The newest tag moves the retention, so they only go forward."""
    return count(START, WINDOW_MS)


class Stream:
    """Tags accepted in their order, and what the contract says about them."""

    def __init__(self, served: Served, window: int, tags: Sequence[Tag]) -> None:
        self.served = served
        self.window = window
        self.tags = tags

    def send(self) -> "Stream":
        self.served.tags(self.tags)
        self.served.settle()
        return self

    def minutes(self, start: int = 0, end: int = 10) -> str:
        first, last = (instant(self.window + minute * MINUTE_MS)[:19] for minute in (start, end))
        return f"time_range={first}_{last}"

    def rows(
        self, action: str, filters: Words = NOTHING, span: tuple[int, int] = (0, 10)
    ) -> list[list[str]]:
        query = f"{self.minutes(*span)}&action={action}&aggregates=COUNT&aggregates=SUM_PRICE"
        return self.served.rows(f"{query}&{urlencode(filters)}")

    def expected_rows(self, action: str, filters: Words = NOTHING) -> list[list[str]]:
        wanted = {"action": action, **filters}
        rows = []
        for minute in range(10):
            start = self.window + minute * MINUTE_MS
            prices = [
                tag["product_info"]["price"]
                for tag in self.tags
                if wanted.items() <= plain(tag).items()
                and start <= time_ms(tag) < start + MINUTE_MS
            ]
            cells = [instant(start)[:19], action, *filters.values()]
            rows.append([*cells, str(len(prices)), str(sum(prices))])
        return rows

    def profile(
        self, cookie: str, start: int, end: int, limit: int = DEPTH
    ) -> dict[str, list[Tag]]:
        first, last = (instant(self.window + ms)[:-1] for ms in (start, end))
        query = f"time_range={first}_{last}&limit={limit}"
        answer = self.served.profile(self.cookie(cookie), query)
        assert answer.status == 200
        assert answer.json["cookie"] == self.cookie(cookie)
        return {"views": answer.json["views"], "buys": answer.json["buys"]}

    def expected_profile(self, cookie: str, start: int, end: int) -> dict[str, list[Tag]]:
        def newest(action: str) -> list[Tag]:
            mine = [
                tag
                for tag in reversed(self.tags)
                if (tag["cookie"], tag["action"]) == (self.cookie(cookie), action)
            ]
            kept = sorted(mine, key=time_ms, reverse=True)[:DEPTH]
            return [tag for tag in kept if start <= time_ms(tag) - self.window < end]

        return {"views": newest("VIEW"), "buys": newest("BUY")}

    def cookie(self, name: str) -> str:
        return f"{self.window}-{name}"


def stream(served: Served, windows: Iterator[int], drawn: Drawn) -> Stream:
    window = next(windows)
    tags = [
        a_tag(
            time=instant(window + ms),
            action=action,
            cookie=f"{window}-{cookie}",
            origin=origin,
            brand_id=brand,
            category_id=category,
            product_id=index,
            price=price,
        )
        for index, (ms, action, cookie, origin, brand, category, price) in enumerate(drawn)
    ]
    return Stream(served, window, tags)


@BOUNDED
@given(drawn=drawn_tags)
def test_au_73_every_combination_of_filters_counts_and_sums_exactly(
    served: Served, windows: Iterator[int], drawn: Drawn
) -> None:
    sent = stream(served, windows, drawn).send()
    for action in ("VIEW", "BUY"):
        for subset in SUBSETS:
            filters = {name: FILTERS[name][len(drawn) % len(FILTERS[name])] for name in subset}
            assert sent.rows(action, filters) == sent.expected_rows(action, filters)


@BOUNDED
@given(drawn=drawn_tags)
def test_au_140_the_parts_of_each_dimension_add_up_to_the_whole(
    served: Served, windows: Iterator[int], drawn: Drawn
) -> None:
    sent = stream(served, windows, drawn).send()
    for action in ("VIEW", "BUY"):
        whole = [[int(cell) for cell in row[-2:]] for row in sent.rows(action)]
        for name, words in FILTERS.items():
            parts = [sent.rows(action, {name: word}) for word in words]
            sums = [
                [sum(int(row[cell]) for row in rows) for cell in (-2, -1)]
                for rows in zip(*parts, strict=True)
            ]
            assert sums == whole


@BOUNDED
@given(drawn=drawn_tags, cuts=st.lists(st.integers(0, 10), max_size=3).map(sorted))
def test_au_141_a_range_is_the_rows_of_its_parts(
    served: Served, windows: Iterator[int], drawn: Drawn, cuts: list[int]
) -> None:
    sent = stream(served, windows, drawn).send()
    bounds = [0, *cuts, 10]
    parts = [sent.rows("VIEW", span=span) for span in pairwise(bounds)]
    assert [row for part in parts for row in part] == sent.rows("VIEW")


@BOUNDED
@given(drawn=drawn_tags, bounds=st.tuples(splits, splits, splits).map(sorted))
def test_au_142_adjacent_ranges_join_newest_first(
    served: Served, windows: Iterator[int], drawn: Drawn, bounds: list[int]
) -> None:
    low, middle, high = bounds
    sent = stream(served, windows, drawn).send()
    whole = sent.profile("a", low, high)
    older, newer = sent.profile("a", low, middle), sent.profile("a", middle, high)
    for kind in ("views", "buys"):
        assert whole[kind] == (newer[kind] + older[kind])[:DEPTH]
    assert whole == sent.expected_profile("a", low, high)


@BOUNDED
@given(drawn=drawn_tags, limits=st.lists(st.integers(0, 250), max_size=4))
def test_au_143_a_limit_cuts_the_same_lists(
    served: Served, windows: Iterator[int], drawn: Drawn, limits: list[int]
) -> None:
    sent = stream(served, windows, drawn).send()
    for cookie in ("a", "b"):
        whole = sent.profile(cookie, 0, WINDOW_MS)
        for limit in limits:
            cut = sent.profile(cookie, 0, WINDOW_MS, limit)
            assert cut == {kind: tags[:limit] for kind, tags in whole.items()}


@BOUNDED
@given(drawn=drawn_tags, order=st.randoms(use_true_random=False))
def test_au_144_the_order_of_sending_does_not_matter(
    served: Served, windows: Iterator[int], drawn: Drawn, order: random.Random
) -> None:
    distinct = list({tag[0]: tag for tag in drawn}.values())
    sent = stream(served, windows, distinct)
    shuffled = list(sent.tags)
    order.shuffle(shuffled)
    served.tags(shuffled)
    served.settle()
    for action in ("VIEW", "BUY"):
        assert sent.rows(action) == sent.expected_rows(action)
    for cookie in ("a", "b"):
        assert sent.profile(cookie, 0, WINDOW_MS) == sent.expected_profile(cookie, 0, WINDOW_MS)


def test_au_45_a_long_stream_keeps_exactly_the_newest_of_each_list(
    served: Served, windows: Iterator[int]
) -> None:
    rng = random.Random(45)
    drawn = [
        (rng.randrange(5_000), rng.choice(["VIEW", "BUY"]), "a", "O1", "B1", "C1", rng.randrange(9))
        for _ in range(3_000)
    ]
    sent = stream(served, windows, drawn).send()
    for _ in range(20):
        start, end = sorted(rng.randrange(5_001) for _ in range(2))
        assert sent.profile("a", start, end) == sent.expected_profile("a", start, end)
    assert sent.profile("a", 0, 5_000) == sent.expected_profile("a", 0, 5_000)


def test_au_145_every_204_is_counted_once_and_nothing_else_is(
    served: Served, windows: Iterator[int]
) -> None:
    window = next(windows)
    good = [
        encoded(a_tag(time=instant(window + n), cookie=f"{window}-{n % 7}")) for n in range(300)
    ]
    bodies = good + [b"{"] * 50 + [body[:-1] for body in good[:50]]
    random.Random(145).shuffle(bodies)
    asks = [Ask("/user_tags", body=body) for body in bodies]
    statuses = [
        answer.status
        for start in range(0, len(asks), 64)
        for answer in served.at_once(asks[start : start + 64])
    ]
    assert (statuses.count(204), statuses.count(400)) == (300, 100)
    served.settle()
    counted = Stream(served, window, []).rows("VIEW")
    assert [row[-2] for row in counted] == ["300", *["0"] * 9]


@pytest.mark.parametrize("settled", [True, False])
def test_au_146_a_restart_changes_no_answer(
    served: Served, windows: Iterator[int], *, settled: bool
) -> None:
    rng = random.Random(146)

    def one() -> tuple[int, str, str, str, str, str, int]:
        origin, brand, category = (rng.choice(words) for words in FILTERS.values())
        action, cookie = rng.choice(["VIEW", "BUY"]), rng.choice("ab")
        return rng.randrange(WINDOW_MS), action, cookie, origin, brand, category, rng.randrange(9)

    drawn = [one() for _ in range(1_500)]
    sent = stream(served, windows, drawn)
    third = len(sent.tags) // 3
    for start in (0, third, 2 * third):
        served.tags(sent.tags[start : start + third])
        if settled:
            served.settle()
        served.reopen()
    served.settle()
    for action in ("VIEW", "BUY"):
        for subset in SUBSETS:
            filters = {name: FILTERS[name][0] for name in subset}
            assert sent.rows(action, filters) == sent.expected_rows(action, filters)
    for cookie in ("a", "b"):
        assert sent.profile(cookie, 0, WINDOW_MS) == sent.expected_profile(cookie, 0, WINDOW_MS)
