"""The contract's own test vectors, which the oracle must reproduce exactly."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from load.audiences.listed import Event, ledger_of, plain
from load.reference import instant
from penstock.load.audiences.aggregates import AggregateOracle, AggregateQuery
from penstock.load.audiences.profiles import ProfileOracle, ProfileQuery
from penstock.load.fates import ACCEPTED, INDETERMINATE

MAX = 2_147_483_647


def event(time: str, who: str, names: str, product: int | str, price: int) -> Event:
    cookie, action = who.split()
    origin, brand, category = names.split()
    return Event(
        time=f"2022-03-01T{time}Z",
        cookie=cookie,
        action=action,
        origin=origin,
        product_id=product,
        brand=brand,
        category=category,
        price=price,
    )


EVENTS = {
    "E1": event("00:00:00.000", "A VIEW", "O1 B1 C1", 11, 100),
    "E2": event("00:00:59.999", "A VIEW", "O1 B1 C2", 12, 250),
    "E3": event("00:01:00.000", "A BUY", "O2 B1 C1", 11, 1_000),
    "E4": event("00:01:00.001", "B VIEW", "O1 B2 C1", 13, 70),
    "E5": event("00:02:30.500", "A BUY", "O1 B1 C1", 11, MAX),
    "E6": event("00:02:30.501", "B BUY", "O1 B1 C1", 11, MAX),
    "E7": event("00:02:59.999", "A VIEW", "O2 B2 C2", 14, 0),
    "E8": event("00:01:30", "A VIEW", "O1 B1 C1", "SKU-9", -5),
}


def ms(time: str) -> int:
    return round(instant(f"2022-03-01T{time}").timestamp() * 1000)


def aggregate(
    times: str, action: str, aggregates: tuple[str, ...], **filters: str
) -> tuple[AggregateQuery, Any]:
    ledger, _ = ledger_of(list(EVENTS.values()))
    start, end = times.split("_")
    query = AggregateQuery(
        from_ms=ms(start), to_ms=ms(end), action=action, aggregates=aggregates, **filters
    )
    return query, plain(AggregateOracle(ledger).expected(query, settled=ledger.size))


WHOLE = "00:00:00_00:03:00"
ALL_FILTERS = {"origin": "O1", "brand_id": "B1", "category_id": "C1"}


@pytest.mark.parametrize(
    ("times", "asked", "filters", "columns", "rows"),
    [
        (WHOLE, "VIEW COUNT", {}, "count", ["2", "2", "1"]),
        (
            WHOLE,
            "BUY SUM_PRICE COUNT",
            ALL_FILTERS,
            "origin brand_id category_id sum_price count",
            ["O1 B1 C1 0 0", "O1 B1 C1 0 0", "O1 B1 C1 4294967294 2"],
        ),
        (
            WHOLE,
            "VIEW COUNT",
            {"category_id": "C1", "origin": "O1"},
            "origin category_id count",
            ["O1 C1 1", "O1 C1 2", "O1 C1 0"],
        ),
        (
            "00:01:00_00:02:00",
            "VIEW COUNT SUM_PRICE",
            {"brand_id": "B1"},
            "brand_id count sum_price",
            ["B1 1 -5"],
        ),
        (
            "00:00:00_00:02:00",
            "BUY COUNT SUM_PRICE",
            {"origin": "NOPE"},
            "origin count sum_price",
            ["NOPE 0 0", "NOPE 0 0"],
        ),
        ("00:01:00_00:01:00", "BUY COUNT", {}, "count", []),
    ],
    ids=["V1", "V2", "V3", "V4", "V5", "V6"],
)
def test_au_60_the_aggregate_vectors_hold(
    times: str, asked: str, filters: dict[str, str], columns: str, rows: list[str]
) -> None:
    action, *aggregates = asked.split()
    query, answer = aggregate(times, action, tuple(aggregates), **filters)
    assert answer["columns"] == ["1m_bucket", "action", *columns.split()]
    minutes = [int(times[3:5]) + number for number in range(len(rows))]
    assert answer["rows"] == [
        [f"2022-03-01T00:{minute:02d}:00", action, *row.split()]
        for minute, row in zip(minutes, rows, strict=True)
    ]
    assert query.target.startswith(f"/aggregates?time_range=2022-03-01T{times[:8]}_2022-03-01T")


def profile(
    events: list[Event], cookie: str, times: str, limit: int | None
) -> tuple[dict[str, Any], ProfileQuery, ProfileOracle]:
    ledger, numbers = ledger_of(events)
    start, end = times.split("_")
    query = ProfileQuery(
        cookie=cookie, number=numbers.get(cookie), from_ms=ms(start), to_ms=ms(end), limit=limit
    )
    oracle = ProfileOracle(ledger)
    return plain(oracle.expected(query, settled=ledger.size)), query, oracle


@pytest.mark.parametrize(
    ("cookie", "end", "limit", "views", "buys"),
    [
        ("A", "00:03:00.000", 200, "E7 E8 E2 E1", "E5 E3"),
        ("A", "00:02:30.500", 200, "E8 E2 E1", "E3"),
        ("A", "00:02:30.501", 200, "E8 E2 E1", "E5 E3"),
        ("A", "00:01:00.000", 1, "E2", ""),
        ("A", "00:03:00.000", 2, "E7 E8", "E5 E3"),
        ("A", "00:03:00.000", 0, "", ""),
        ("Z", "00:03:00.000", 200, "", ""),
        ("A", "00:03:00.000", None, "E7 E8 E2 E1", "E5 E3"),
    ],
    ids=["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"],
)
def test_au_44_the_profile_vectors_hold(
    cookie: str, end: str, limit: int | None, views: str, buys: str
) -> None:
    times = f"00:00:00.000_{end}"
    answer, query, oracle = profile(list(EVENTS.values()), cookie, times, limit)
    right = {
        "cookie": cookie,
        "views": [EVENTS[name].json() for name in views.split()],
        "buys": [EVENTS[name].json() for name in buys.split()],
    }
    # V8: E8 travels without its fraction; instants decide, the product's JSON type counts.
    assert oracle.judge(query, msgspec.json.encode(right), settled=8).difference is None
    for tag in [*answer["views"], *right["views"], *answer["buys"], *right["buys"]]:
        tag.pop("time")
    assert answer == right


def test_au_21_v8_the_type_of_a_product_id_counts() -> None:
    _, query, oracle = profile(list(EVENTS.values()), "A", "00:00:00.000_00:00:01.000", 200)
    for product_id, is_right in ((11, True), ("11", False), (12, False)):
        tag = EVENTS["E1"].json()
        tag["product_info"]["product_id"] = product_id
        body = msgspec.json.encode({"cookie": "A", "views": [tag], "buys": []})
        assert (oracle.judge(query, body, settled=8).difference is None) is is_right


def test_au_104_v8_raw_time_compares_the_spelling() -> None:
    ledger, numbers = ledger_of(list(EVENTS.values()))
    query = ProfileQuery(
        cookie="A", number=numbers["A"], from_ms=ms("00:01:30"), to_ms=ms("00:01:31"), limit=None
    )
    body = msgspec.json.encode({"cookie": "A", "views": [EVENTS["E8"].json()], "buys": []})
    for drop, raw, is_right in ((True, True, True), (False, True, False), (False, False, True)):
        oracle = ProfileOracle(ledger, drop_zero_fraction=drop, raw_time=raw)
        assert (oracle.judge(query, body, settled=8).difference is None) is is_right


def views_of_d(count: int) -> list[Event]:
    return [
        event(f"00:00:01.{number:03d}", "D VIEW", "O B C", number, 1) for number in range(count)
    ]


def test_au_45_v9_the_201st_view_pushes_out_the_oldest() -> None:
    views = views_of_d(201)
    late = event("00:00:00.999", "D VIEW", "O B C", "late", 1)
    for events in (views, [*views, late]):
        answer, _, _ = profile(events, "D", "00:00:00.000_00:01:00.000", 200)
        ids = [tag["product_info"]["product_id"] for tag in answer["views"]]
        assert ids == list(range(200, 0, -1))
        oldest, query, oracle = profile(events, "D", "00:00:01.000_00:00:01.001", 200)
        assert oldest["views"] == []
        wrong = {"cookie": "D", "views": [views[0].json()], "buys": []}
        assert oracle.judge(query, msgspec.json.encode(wrong), settled=202).difference is not None


def test_au_45_an_unsure_tag_makes_the_oldest_view_unsure() -> None:
    views = views_of_d(201)
    for fate, allowed in ((ACCEPTED, [True, False]), (INDETERMINATE, [True, True])):
        events = [*views[:200], replace(views[200], fate=fate)]
        _, query, oracle = profile(events, "D", "00:00:01.000_00:00:01.001", 200)
        bodies = [
            msgspec.json.encode({"cookie": "D", "views": found, "buys": []})
            for found in ([], [views[0].json()])
        ]
        verdicts = [oracle.judge(query, body, settled=201).difference for body in bodies]
        assert [verdict is None for verdict in verdicts] == allowed


def test_au_46_v10_of_equal_times_the_later_accepted_comes_first() -> None:
    first, second = (event("00:00:05", "T VIEW", "O B C", name, 1) for name in ("one", "two"))
    answer, query, oracle = profile([first, second], "T", "00:00:00.000_00:01:00.000", None)
    assert [tag["product_info"]["product_id"] for tag in answer["views"]] == ["two", "one"]
    swapped = {"cookie": "T", "views": [first.json(), second.json()], "buys": []}
    assert oracle.judge(query, msgspec.json.encode(swapped), settled=2).difference is not None
