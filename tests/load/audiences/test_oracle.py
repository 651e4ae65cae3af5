"""The oracle against brute force, its own properties, and answers that must not pass."""

import json
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from load.audiences.listed import Event, ledger_of, plain
from load.reference import JsonTag, Store, answer_query
from penstock.load.audiences.aggregates import COUNT, SUM_PRICE, AggregateOracle, AggregateQuery
from penstock.load.audiences.instants import MINUTE_MS, STREAM_START_MS, tag_time
from penstock.load.audiences.profiles import ProfileOracle, ProfileQuery
from penstock.load.fates import ACCEPTED, INDETERMINATE, PENDING, REFUSED, UNSENT

SPAN_MS = 4 * MINUTE_MS
LISTS = ((COUNT,), (SUM_PRICE,), (COUNT, SUM_PRICE), (SUM_PRICE, COUNT))


@st.composite
def histories(draw: st.DrawFn, fates: tuple[int, ...] = (ACCEPTED,)) -> list[Event]:
    """Few cookies, coarse times: ties, minute edges and full lists are common."""
    count = draw(st.integers(1, 12))
    step = draw(st.sampled_from([1, 30_000, 59_999]))
    return [
        Event(
            time=tag_time(
                STREAM_START_MS + step * draw(st.integers(0, SPAN_MS // step - 1)) % SPAN_MS,
                drop_zero_fraction=draw(st.booleans()),
            ),
            cookie=draw(st.sampled_from("AB")),
            action=draw(st.sampled_from(["VIEW", "VIEW", "BUY"])),
            origin=draw(st.sampled_from(["O1", "O2"])),
            product_id=number if draw(st.booleans()) else f"SKU-{number}",
            brand=draw(st.sampled_from(["B1", "B2"])),
            category=draw(st.sampled_from(["C1", "C2"])),
            price=draw(st.sampled_from([-5, 0, 7, 2_147_483_647])),
            fate=draw(st.sampled_from(fates)),
        )
        for number in range(count)
    ]


offsets = st.integers(0, SPAN_MS) | st.sampled_from([0, 30_000, 60_000, 120_000, SPAN_MS])
limits = st.none() | st.integers(0, 5) | st.just(200)


@st.composite
def profile_queries(draw: st.DrawFn) -> ProfileQuery:
    start, end = sorted((draw(offsets), draw(offsets)))
    return a_profile(start, end, limit=draw(limits), cookie=draw(st.sampled_from("ABZ")))


@st.composite
def aggregate_queries(draw: st.DrawFn) -> AggregateQuery:
    start, end = sorted((draw(st.integers(-1, 5)), draw(st.integers(-1, 5))))
    return AggregateQuery(
        from_ms=STREAM_START_MS + start * MINUTE_MS,
        to_ms=STREAM_START_MS + end * MINUTE_MS,
        action=draw(st.sampled_from(["VIEW", "BUY"])),
        aggregates=draw(st.sampled_from(LISTS)),
        origin=draw(st.sampled_from([None, "O1", "NOPE"])),
        brand_id=draw(st.sampled_from([None, "B1", "NOPE"])),
        category_id=draw(st.sampled_from([None, "C2"])),
    )


def a_profile(start: int, end: int, *, limit: int | None = None, cookie: str = "A") -> ProfileQuery:
    return ProfileQuery(
        cookie=cookie,
        number=None,
        from_ms=STREAM_START_MS + start,
        to_ms=STREAM_START_MS + end,
        limit=limit,
    )


def known(query: ProfileQuery, numbers: dict[str, int]) -> ProfileQuery:
    return ProfileQuery(
        cookie=query.cookie,
        number=numbers.get(query.cookie),
        from_ms=query.from_ms,
        to_ms=query.to_ms,
        limit=query.limit,
    )


def store_of(events: list[Event]) -> Store:
    store = Store()
    for event in events:
        store.accept(event.json())
    return store


def profile_verdict(
    events: list[Event], query: ProfileQuery, answer: JsonTag, settled: int | None = None
) -> str | None:
    ledger, numbers = ledger_of(events)
    oracle = ProfileOracle(ledger)
    body = json.dumps(answer).encode()
    settled = ledger.size if settled is None else settled
    return oracle.judge(known(query, numbers), body, settled=settled).difference


def aggregate_verdict(events: list[Event], query: AggregateQuery, answer: JsonTag) -> str | None:
    ledger, _ = ledger_of(events)
    body = json.dumps(answer).encode()
    return AggregateOracle(ledger).judge(query, body, settled=ledger.size).difference


@given(histories(), profile_queries())
def test_au_44_profiles_agree_with_brute_force(events: list[Event], query: ProfileQuery) -> None:
    ledger, numbers = ledger_of(events)
    expected = answer_query(store_of(events), query.target)
    oracle = ProfileOracle(ledger)
    answer = plain(oracle.expected(known(query, numbers), settled=ledger.size))
    for tag in [*answer["views"], *answer["buys"], *expected["views"], *expected["buys"]]:
        tag.pop("time")
    assert answer == expected
    right = answer_query(store_of(events), query.target)
    assert profile_verdict(events, query, right) is None


@given(histories(), aggregate_queries())
def test_au_62_aggregates_agree_with_brute_force(
    events: list[Event], query: AggregateQuery
) -> None:
    ledger, _ = ledger_of(events)
    expected = answer_query(store_of(events), query.target)
    assert plain(AggregateOracle(ledger).expected(query, settled=ledger.size)) == expected
    assert aggregate_verdict(events, query, expected) is None


@given(histories(), profile_queries(), st.data())
def test_au_103_any_change_of_a_profile_is_found(
    events: list[Event], query: ProfileQuery, data: st.DataObject
) -> None:
    answer = answer_query(store_of(events), query.target)
    name = data.draw(st.sampled_from(["views", "buys"]))
    tags = answer[name]
    if not tags:
        tags.append(events[0].json())
    else:
        position = data.draw(st.integers(0, len(tags) - 1))
        change = data.draw(st.sampled_from(["drop", "repeat", "field", "swap"]))
        if change == "drop":
            tags.pop(position)
        elif change == "repeat":
            tags.insert(position, tags[position])
        elif change == "swap" and len(tags) > 1:
            tags.append(tags.pop(0))
        else:
            tags[position] = {**tags[position], "country": "DE"}
    assert profile_verdict(events, query, answer) is not None


@given(histories(), aggregate_queries(), st.data())
def test_au_103_any_change_of_an_aggregate_is_found(
    events: list[Event], query: AggregateQuery, data: st.DataObject
) -> None:
    answer = answer_query(store_of(events), query.target)
    if not answer["rows"]:
        answer["rows"].append(["x"])
    else:
        row = data.draw(st.sampled_from(answer["rows"]))
        column = data.draw(st.integers(0, len(row) - 1))
        changes = [f"{row[column]} ", f"0{row[column]}", "17", "x"]
        row[column] = data.draw(st.sampled_from([c for c in changes if c != row[column]]))
    assert aggregate_verdict(events, query, answer) is not None


MIXED = (ACCEPTED, ACCEPTED, INDETERMINATE, PENDING, REFUSED, UNSENT)


def worlds(events: list[Event], certain: list[Event]) -> list[list[Event]]:
    """Every set of visible tags that the sender's knowledge allows, in acceptance order."""
    free = [e for e in events if e not in certain and e.fate not in (REFUSED, UNSENT)]
    return [
        [event for event in events if event in certain or event in chosen]
        for size in range(len(free) + 1)
        for chosen in combinations(free, size)
    ]


@given(histories(MIXED), profile_queries(), st.data())
def test_au_26_a_profile_passes_exactly_if_some_choice_of_unsure_tags_explains_it(
    events: list[Event], query: ProfileQuery, data: st.DataObject
) -> None:
    events = events[:7]
    settled = data.draw(st.integers(0, len(events)))
    in_order = sorted(events, key=lambda event: event.ms)
    certain = [event for event in in_order[:settled] if event.fate == ACCEPTED]
    allowed = [answer_query(store_of(w), query.target) for w in worlds(events, certain)]
    for answer in allowed:
        assert profile_verdict(events, query, answer, settled) is None
    other = answer_query(
        store_of([event for event in events if data.draw(st.booleans())]), query.target
    )
    assert (profile_verdict(events, query, other, settled) is None) == (other in allowed)


@given(histories(MIXED), aggregate_queries())
def test_au_26_an_aggregate_passes_if_some_choice_of_unsure_tags_explains_it(
    events: list[Event], query: AggregateQuery
) -> None:
    events = events[:7]
    certain = [event for event in events if event.fate == ACCEPTED]
    for world in worlds(events, certain):
        assert aggregate_verdict(events, query, answer_query(store_of(world), query.target)) is None
    refused = [event for event in events if event.fate in (REFUSED, UNSENT)]
    unsure = [e for e in events if e.fate in (INDETERMINATE, PENDING)]
    if not unsure:
        answer = answer_query(store_of(certain + refused), query.target)
        right = answer_query(store_of(certain), query.target)
        assert (aggregate_verdict(events, query, answer) is None) == (answer == right)


@given(histories(), aggregate_queries(), st.integers(0, 6))
def test_au_141_a_split_range_gives_the_same_rows(
    events: list[Event], query: AggregateQuery, cut: int
) -> None:
    ledger, _ = ledger_of(events)
    oracle = AggregateOracle(ledger)
    middle = min(query.to_ms, query.from_ms + cut * MINUTE_MS)
    parts = [
        AggregateQuery(
            from_ms=start,
            to_ms=end,
            action=query.action,
            aggregates=query.aggregates,
            origin=query.origin,
            brand_id=query.brand_id,
            category_id=query.category_id,
        )
        for start, end in ((query.from_ms, middle), (middle, query.to_ms))
    ]
    rows = [row for part in parts for row in oracle.expected(part, settled=ledger.size).rows]
    assert rows == oracle.expected(query, settled=ledger.size).rows


@given(histories(), st.sampled_from(["VIEW", "BUY"]), st.sampled_from(["origin", "brand_id"]))
def test_au_140_filtered_counts_and_sums_add_up_to_the_whole(
    events: list[Event], action: str, name: str
) -> None:
    ledger, _ = ledger_of(events)
    oracle = AggregateOracle(ledger)

    def cells(**filters: str) -> list[tuple[int, int]]:
        query = AggregateQuery(
            from_ms=STREAM_START_MS,
            to_ms=STREAM_START_MS + SPAN_MS,
            action=action,
            aggregates=(COUNT, SUM_PRICE),
            **filters,
        )
        return [(c.tags, c.total) for _, c in oracle.cells(query, settled=ledger.size)]

    first = cells(**{name: "O1" if name == "origin" else "B1"})
    second = cells(**{name: "O2" if name == "origin" else "B2"})
    added = [(a + c, b + d) for (a, b), (c, d) in zip(first, second, strict=True)]
    assert added == cells()


@given(histories(), offsets, offsets, offsets)
def test_au_142_adjacent_profile_ranges_concatenate(
    events: list[Event], one: int, two: int, three: int
) -> None:
    ledger, numbers = ledger_of(events)
    oracle = ProfileOracle(ledger)
    start, middle, end = sorted((one, two, three))
    early, late, both = (
        oracle.expected(known(a_profile(*ends), numbers), settled=ledger.size)
        for ends in ((start, middle), (middle, end), (start, end))
    )
    assert both.views == late.views + early.views
    assert both.buys == late.buys + early.buys


@given(histories(), profile_queries())
def test_au_143_a_limit_cuts_each_list(events: list[Event], query: ProfileQuery) -> None:
    ledger, numbers = ledger_of(events)
    oracle = ProfileOracle(ledger)
    limit = 200 if query.limit is None else query.limit
    whole = a_profile(
        query.from_ms - STREAM_START_MS, query.to_ms - STREAM_START_MS, cookie=query.cookie
    )
    full = oracle.expected(known(whole, numbers), settled=ledger.size)
    cut = oracle.expected(known(query, numbers), settled=ledger.size)
    assert (cut.views, cut.buys) == (full.views[:limit], full.buys[:limit])
