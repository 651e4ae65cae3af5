"""Parameters of the two queries: what is read, and what is refused with which code."""

from collections.abc import Callable
from itertools import permutations
from urllib.parse import parse_qsl, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.apps.audiences.routes.requests import (
    AggregatesRequest,
    ProfileRequest,
    aggregates_request,
    profile_request,
)
from penstock.core.errors import Rejected
from support.effort import cpu_seconds

MINUTE = 60_000
START = 1_646_092_800_000
"""2022-03-01T00:00:00."""
RANGE = "time_range=2022-03-01T00:01:00_2022-03-01T00:03:00"
AGGREGATES = f"{RANGE}&action=VIEW&aggregates=COUNT"


def profile(query: str, cookie: str = "c") -> ProfileRequest:
    return profile_request(cookie, query.encode())


def aggregates(query: str) -> AggregatesRequest:
    return aggregates_request(query.encode())


def refused_profile(query: str, cookie: str = "c") -> str:
    with pytest.raises(Rejected) as raised:
        profile(query, cookie)
    assert raised.value.status == 400
    return raised.value.code


def refused(query: str) -> str:
    with pytest.raises(Rejected) as raised:
        aggregates(query)
    assert raised.value.status == 400
    return raised.value.code


# -- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("00:00:00.000", "00:00:01.001", (0, 1_001)),
        ("00:00:00", "00:00:01", (0, 1_000)),
        ("00:00:00.5", "00:00:00.75", (500, 750)),
        ("00:00:00.001", "00:00:00.001", (1, 1)),
    ],
)
def test_au_09_a_profile_range_is_precise_to_the_millisecond(
    start: str, end: str, expected: tuple[int, int]
) -> None:
    request = profile(f"time_range=2022-03-01T{start}_2022-03-01T{end}")
    assert (request.start_ms - START, request.end_ms - START) == expected


@pytest.mark.parametrize("fraction", ["", ".0", ".00", ".000"])
def test_au_10_an_aggregate_range_is_read_in_whole_minutes(fraction: str) -> None:
    query = AGGREGATES.replace("_2022", f"{fraction}_2022").replace("&act", f"{fraction}&act")
    wanted = aggregates(query).wanted
    assert (wanted.start_minute, wanted.end_minute) == (START // MINUTE + 1, START // MINUTE + 3)


BAD_RANGES = [
    "",
    "time_range=",
    "time_range=_",
    "time_range=2022-03-01T00:00:00",
    "time_range=2022-03-01T00:00:00_",
    "time_range=_2022-03-01T00:00:00",
    "time_range=2022-03-01T00:00:00Z_2022-03-01T00:01:00Z",
    "time_range=2022-03-01T00:00:00_2022-03-01T00:01:00Z",
    "time_range=2022-03-01T00:00:00.000Z_2022-03-01T00:01:00",
    "time_range=2022-03-01T00:00:00_2022-03-01T00:01:00_2022-03-01T00:02:00",
    "time_range=2022-03-01T00:00:00_2022-03-01T00:01:00_",
    "time_range=2022-03-01T00:00:00__2022-03-01T00:01:00",
    "time_range=2022-03-01T00:02:00_2022-03-01T00:01:00",
    "time_range=2022-03-01 00:00:00_2022-03-01 00:01:00",
    "time_range=2022-03-01+00:00:00_2022-03-01+00:01:00",
    "time_range=2022-02-29T00:00:00_2022-03-01T00:00:00",
    "time_range=2022-03-01T00:00:00.0000_2022-03-01T00:01:00.0000",
    "time_range=1646092800_1646092860",
    "time_range= 2022-03-01T00:00:00_2022-03-01T00:01:00",
    "Time_range=2022-03-01T00:00:00_2022-03-01T00:01:00",
    "time_range=2022-03-01T00:00:00_2022-03-01T00:01:00?limit=5",
    f"{RANGE}&{RANGE}",
    f"{RANGE}&time_range=",
]


@pytest.mark.parametrize("query", BAD_RANGES)
def test_au_08_a_missing_misspelt_repeated_or_reversed_range_is_refused(query: str) -> None:
    assert refused_profile(query) == "bad_range"
    assert refused(f"{query}&action=VIEW&aggregates=COUNT") == "bad_range"


@pytest.mark.parametrize("fraction", [".001", ".5", ".100"])
def test_au_10_an_aggregate_range_with_a_fraction_is_refused(fraction: str) -> None:
    assert refused(AGGREGATES.replace("_2022", f"{fraction}_2022")) == "bad_range"


def test_au_11_an_empty_range_is_a_range() -> None:
    empty = "time_range=2022-03-01T00:01:00_2022-03-01T00:01:00"
    assert profile(empty).start_ms == profile(empty).end_ms
    wanted = aggregates(f"{empty}&action=BUY&aggregates=COUNT").wanted
    assert wanted.start_minute == wanted.end_minute


@pytest.mark.parametrize(
    ("start", "end"),
    [("00:00:30", "00:02:00"), ("00:00:00", "00:01:59"), ("00:00:01", "00:01:01")],
)
def test_au_61_both_ends_of_an_aggregate_range_are_whole_minutes(start: str, end: str) -> None:
    query = f"time_range=2022-03-01T{start}_2022-03-01T{end}&action=VIEW&aggregates=COUNT"
    assert refused(query) == "range_unaligned"


def test_au_61_an_aggregate_range_has_at_most_ten_minutes() -> None:
    rest = "&action=VIEW&aggregates=COUNT"
    ten = aggregates("time_range=2022-03-01T23:55:00_2022-03-02T00:05:00" + rest).wanted
    assert ten.end_minute - ten.start_minute == 10
    eleven = "time_range=2022-03-01T23:55:00_2022-03-02T00:06:00" + rest
    assert refused(eleven) == "range_too_long"


# -- profiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "effective"),
    [("0", 0), ("1", 1), ("199", 199), ("200", 200), ("201", 200), ("2147483647", 200), ("007", 7)],
)
def test_au_41_a_limit_is_at_most_200(limit: str, effective: int) -> None:
    assert profile(f"{RANGE}&limit={limit}").limit == effective


def test_au_40_without_a_limit_it_is_200() -> None:
    assert profile(RANGE).limit == 200


@pytest.mark.parametrize(
    "limit",
    ["", "-1", "-0", "+1", "%2B1", "1.0", "1e2", "ten", " 1", "1 ", "1_0", "2147483648", "٣", "0x1",
     "99999999999999999999", "null", "1&limit=1"],
)  # fmt: skip
def test_au_41_a_limit_that_is_no_plain_number_is_refused(limit: str) -> None:
    assert refused_profile(f"{RANGE}&limit={limit}") == "bad_limit"


@pytest.mark.parametrize("cookie", ["x" * 257, "é" * 129, "😀" * 65])
def test_au_49_a_cookie_of_more_than_256_bytes_is_refused(cookie: str) -> None:
    assert refused_profile(RANGE, cookie) == "bad_field"


@pytest.mark.parametrize("cookie", ["x" * 256, "é" * 128, "+", " ", "a/b", "%"])
def test_au_49_any_other_cookie_is_taken_as_it_is(cookie: str) -> None:
    assert profile(RANGE, cookie).cookie == cookie


# -- aggregates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["VIEW", "BUY"])
def test_au_60_an_action_is_view_or_buy(action: str) -> None:
    assert aggregates(f"{RANGE}&aggregates=COUNT&action={action}").wanted.action == action


@pytest.mark.parametrize(
    "action",
    ["", "&action=", "&action=view", "&action=CLICK", "&action=VIEW+", "&action=BUY&action=BUY"],
)
def test_au_60_any_other_action_is_refused(action: str) -> None:
    assert refused(f"{RANGE}&aggregates=COUNT{action}") == "bad_action"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "time_range is required: two times like"),
        (
            "time_range=2022-03-01T00:01:00Z_2022-03-01T00:03:00Z",
            "time_range has to be two times like",
        ),
        (RANGE, "action is required: VIEW or BUY"),
        (f"{RANGE}&action=view", "action has to be VIEW or BUY"),
    ],
)
def test_what_is_missing_and_what_is_misspelt_are_told_apart(query: str, told: str) -> None:
    with pytest.raises(Rejected) as raised:
        aggregates(query)
    assert str(raised.value).startswith(told)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["COUNT"], ["count"]),
        (["SUM_PRICE"], ["sum_price"]),
        (["COUNT", "SUM_PRICE"], ["count", "sum_price"]),
        (["SUM_PRICE", "COUNT"], ["sum_price", "count"]),
        (["sum_price", "count"], ["sum_price", "count"]),
        (["COUNT", "sum_price"], ["count", "sum_price"]),
        (["COUNT,SUM_PRICE"], ["count", "sum_price"]),
        (["SUM_PRICE,count"], ["sum_price", "count"]),
        (["SUM_PRICE%2CCOUNT"], ["sum_price", "count"]),
    ],
)
def test_au_68_aggregates_keep_the_order_of_the_request_in_either_case(
    words: list[str], expected: list[str]
) -> None:
    given = "&".join(f"aggregates={word}" for word in words)
    assert aggregates(f"{RANGE}&{given}&action=VIEW").aggregates == expected


@pytest.mark.parametrize(
    "words",
    [[], [""], ["AVG"], ["COUNT", "COUNT"], ["COUNT", "count"], ["COUNT", "SUM_PRICE", "COUNT"],
     ["Count"], ["\u017fum_price"], ["COUNT,"], [","], ["COUNT,COUNT"], ["COUNT ,SUM_PRICE"],
     ["COUNT,SUM_PRICE", "COUNT"], ["COUNT;SUM_PRICE"], ["COUNT,AVG"], ["COUNT "],
     ["COUNT", ""], ["cOUNT"]],
)  # fmt: skip
def test_au_67_none_unknown_or_repeated_aggregates_are_refused(words: list[str]) -> None:
    given = "".join(f"&aggregates={quote_plus(word)}" for word in words)
    assert refused(f"{RANGE}&action=VIEW{given}") == "bad_aggregates"


@pytest.mark.parametrize("name", ["origin", "brand_id", "category_id"])
def test_au_70_an_empty_or_repeated_filter_is_refused(name: str) -> None:
    assert refused(f"{AGGREGATES}&{name}=") == "bad_field"
    assert refused(f"{AGGREGATES}&{name}") == "bad_field"
    assert refused(f"{AGGREGATES}&{name}=a&{name}=a") == "bad_field"


def test_au_64_filters_stand_in_their_own_order_whatever_the_requests() -> None:
    given = ["category_id=C", "origin=O", "brand_id=B"]
    for order in permutations(given):
        filters = aggregates(f"{'&'.join(order)}&{AGGREGATES}").filters
        assert list(filters.items()) == [("origin", "O"), ("brand_id", "B"), ("category_id", "C")]
    assert list(aggregates(f"category_id=C&{AGGREGATES}&origin=O").filters) == [
        "origin",
        "category_id",
    ]


# -- both -----------------------------------------------------------------------------------------


def test_au_13_the_order_of_parameters_does_not_matter() -> None:
    parts = [RANGE, "action=BUY", "aggregates=COUNT", "origin=O"]
    requests = [aggregates("&".join(order)) for order in permutations(parts)]
    assert all(request == requests[0] for request in requests)


@pytest.mark.parametrize(
    "extra",
    ["country=PL", "x=1&x=2", "x", "=", "&&", "limit=ten&limit=", "Origin=O", "cookie=c", "x=%00"],
)
def test_au_13_unknown_parameters_are_ignored(extra: str) -> None:
    assert aggregates(f"{extra}&{AGGREGATES}&{extra}") == aggregates(AGGREGATES)


@pytest.mark.parametrize("extra", ["action=view", "origin=", "aggregates=AVG", "limits=x", "&"])
def test_au_13_what_only_the_other_query_knows_is_unknown_here(extra: str) -> None:
    assert profile(f"{extra}&{RANGE}&{extra}") == profile(RANGE)


words = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() or "\0" in text)


@given(word=words, plus=st.booleans())
def test_au_12_values_are_decoded_as_forms_are_and_then_left_alone(word: str, plus: bool) -> None:
    spelled = quote_plus(word) if plus else quote_plus(word).replace("+", "%20")
    assert aggregates(f"{AGGREGATES}&origin={spelled}").filters == {"origin": word}


@pytest.mark.parametrize(
    ("spelled", "word"),
    [("a+b", "a b"), ("a%20b", "a b"), ("a%2Bb", "a+b"), ("%41", "A"), (" a ", " a "),
     ("a%26b=c", "a&b=c"), ("e%CC%81", "e\u0301"), ("%C3%A9", "é"), ("é", "é"), ("a=b", "a=b"),
     ("100%", "100%"), ("a;b", "a;b"), ("%zz", "%zz"), ("A___b", "A___b"), ("%61_", "a_")],
)  # fmt: skip
def test_au_12_spaces_colons_and_underscores_come_through(spelled: str, word: str) -> None:
    assert aggregates(f"{AGGREGATES}&category_id={spelled}").filters == {"category_id": word}


def test_au_12_a_range_may_be_percent_encoded() -> None:
    assert aggregates(AGGREGATES.replace(":", "%3A")) == aggregates(AGGREGATES)
    assert aggregates(AGGREGATES.replace("_2022", "%5F2022")) == aggregates(AGGREGATES)


@pytest.mark.parametrize("value", [b"%FF", b"\xff", b"%ED%A0%80", b"%C3", b"+%ff"])
def test_au_12_a_value_that_is_not_utf_8_is_refused_where_it_is_asked_for(value: bytes) -> None:
    with pytest.raises(Rejected) as raised:
        aggregates_request(f"{AGGREGATES}&origin=".encode() + value)
    assert raised.value.code == "bad_field"
    if value.isascii():
        assert profile_request("c", RANGE.encode() + b"&origin=" + value) == profile(RANGE)
        assert aggregates_request(f"{AGGREGATES}&x=".encode() + value) == aggregates(AGGREGATES)


@pytest.mark.parametrize("fields", [101, 8_000, 300_000])
@pytest.mark.parametrize("field", ["a", "", "x=1", "%61", "actions=VIEW", "tim"])
def test_au_13_any_number_of_unknown_parameters_is_ignored(field: str, fields: int) -> None:
    many = f"{field}&" * fields
    assert aggregates(f"{many}{AGGREGATES}&{many}") == aggregates(AGGREGATES)


def spelled_somehow(draw: st.DrawFn, name: str) -> str:
    """With some of its characters percent-encoded, in either case."""
    spelled = ([c, c, f"%{ord(c):02x}", f"%{ord(c):02X}"] for c in name)
    return "".join(draw(st.sampled_from(ways)) for ways in spelled)


@st.composite
def queries(draw: st.DrawFn) -> str:
    known = ["time_range", "action", "aggregates", "limit", "origin", "brand_id"]
    near = ["time+range", "Action", "action ", "ction", "origi", "aggregate", "", "%", "%6", "x"]
    values = [
        "2022-03-01T00:01:00_2022-03-01T00:03:00", "VIEW", "COUNT", "SUM_PRICE,COUNT", "7", "a+b",
        "a%2Bb", "%", "%zz", "é", "%C3%A9", "%FF", "", "a=b", "?", "#", ";", "\x00",
    ]  # fmt: skip
    fields = []
    for _ in range(draw(st.integers(0, 6))):
        name = spelled_somehow(draw, draw(st.sampled_from(known + near)))
        value = draw(st.sampled_from(values) | st.text(max_size=3))
        fields.append(name + draw(st.sampled_from(["=", "=", "=", "", "%3D", "=="])) + value)
    good = ["time_range=" + values[0], "action=VIEW", "aggregates=COUNT"]
    fields += [field for field in good if draw(st.booleans())]
    return "&".join(draw(st.permutations(fields)))


@settings(max_examples=150)
@given(query=queries() | st.text(max_size=30))
def test_au_12_parameters_are_those_that_a_form_would_have(query: str) -> None:
    """Against the standard library's reader, which takes milliseconds for ten thousand of them."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    again = urlencode(pairs, errors="surrogateescape")
    for read in (aggregates_request, lambda q: profile_request("c", q)):
        outcomes: list[object] = []
        for spelling in (query, again):
            try:
                outcomes.append(read(spelling.encode()))
            except Rejected as error:
                outcomes.append(error.code)
        assert outcomes[0] == outcomes[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "field", ["a", "", "ac", "action", "%61c", "x=y", "aggregates=COUNT", "limit=%31", "origin=+"]
)
def test_no_query_takes_longer_than_its_bytes_allow(field: str) -> None:
    """Ten times of what was measured, 100 nanoseconds a byte."""
    query = f"{field}&" * (65_536 // (len(field) + 1))
    for read in (aggregates_request, lambda q: profile_request("c", q)):

        def refuse(read: Callable[[bytes], object] = read) -> None:
            with pytest.raises(Rejected):
                read(query.encode())

        assert cpu_seconds(refuse) < 10 * 100e-9 * 65_536


@given(query=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_au_13_any_query_is_read_or_refused(query: bytes) -> None:
    for prefix in (b"", f"{AGGREGATES}&".encode(), b"time_range="):
        for read in (aggregates_request, lambda q: profile_request("c", q)):
            try:
                read(prefix + query)
            except Rejected as error:
                assert error.code  # noqa: PT017 - either outcome is right, nothing else is
