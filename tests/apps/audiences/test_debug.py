"""Expected answers: how two answers are compared, and that a comparison harms nothing."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audiences.tags import a_tag, encoded
from penstock.apps.audiences.events.times import parse_tag
from penstock.apps.audiences.routes.debug import compare, read_aggregates, read_profile
from penstock.apps.audiences.settings import Settings
from penstock.core.clock import SystemClock
from penstock.core.edge import Received
from penstock.core.entities import Entities
from penstock.core.projection import Fold
from penstock.core.projects import DEFAULT_PROJECT
from penstock.core.state import History
from penstock.core.warehouse import Row, Value
from support.effort import cpu_seconds

LINE_BYTES_MAX = 4_096
ANSWER = {"cookie": "c", "views": [a_tag(cookie="c")], "buys": []}
ROWS: dict[str, Any] = {"columns": ["1m_bucket", "action", "count"], "rows": [["m", "VIEW", "1"]]}

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


class Noting:
    """A context that keeps what it is told."""

    def __init__(self) -> None:
        self.settings = Settings(query_debug=True)
        self.clock = SystemClock()
        self.counts: Counter[str] = Counter()
        self.warnings: list[dict[str, object]] = []
        self.elsewhere = 0
        self.project = DEFAULT_PROJECT

    async def query(self, sql: str, parameters: Mapping[str, Value]) -> list[Row]:
        raise AssertionError

    async def first(self, space: str, groups: Sequence[bytes], limit: int) -> list[History]:
        raise AssertionError

    async def get(self, fold: Fold[Any, S], key: bytes) -> S:
        raise AssertionError

    async def run(self, work: Callable[[], T]) -> T:
        self.elsewhere += 1
        return work()

    async def caught_up(self, projection: str, timeout_seconds: float) -> bool:
        raise AssertionError

    async def edit(self, work: Callable[[Entities], T]) -> T:
        raise AssertionError

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] += by

    def warn(self, event: str, **fields: object) -> None:
        self.warnings.append({"event": event, **fields})


def compared(body: bytes, answer: Any = ANSWER, query: bytes = b"", cookie: str = "c") -> Noting:
    context = Noting()
    request = Received("POST", (cookie,), query, {}, body, "", 0)
    read = read_profile
    if "columns" in answer:
        read = read_aggregates(len(answer["columns"]), len(answer["rows"]))
    asyncio.run(compare("user_profiles", read, request, encoded(answer), context))
    return context


def difference(expected: object, got: Any) -> str:
    """Empty when they are equal."""
    context = compared(encoded(expected), got)
    assert not context.counts["audiences.debug_unparsed"]
    assert context.counts["audiences.debug_mismatches"] == len(context.warnings)
    return "".join(str(line["difference"]) for line in context.warnings)


@pytest.mark.parametrize(
    "body", [b"", b"  \n", b"{}", b" { } ", encoded(ANSWER), json.dumps(ANSWER, indent=2).encode()]
)
def test_au_101_a_body_that_expects_nothing_or_the_answer_is_no_mismatch(body: bytes) -> None:
    context = compared(body)
    assert (context.counts, context.warnings) == ({}, [])


def test_au_103_the_order_of_members_is_ignored() -> None:
    tag = dict(reversed(a_tag(cookie="c").items()))
    assert not compared(encoded({"buys": [], "views": [tag], "cookie": "c"})).counts


@pytest.mark.parametrize(
    "time", ["2022-03-01T00:00:00.5Z", "2022-03-01T00:00:00.500Z", "2022-03-01T01:00:00.5000+01:00"]
)
def test_au_103_tag_times_are_compared_as_instants(time: str) -> None:
    expected, got = (
        {**ANSWER, "views": [a_tag(time=t)]} for t in (time, "2022-03-01T00:00:00.50Z")
    )
    assert difference(expected, got) == ""


def profile(**tag: object) -> dict[str, Any]:
    return {**ANSWER, "views": [a_tag(cookie="c"), a_tag(**tag)]}


@pytest.mark.parametrize(
    ("expected", "got", "path"),
    [
        ({**ANSWER, "cookie": "a"}, {**ANSWER, "cookie": "b"}, "$.cookie"),
        ({**ANSWER, "views": []}, ANSWER, "$.views"),
        ({**ANSWER, "buys": ANSWER["views"]}, ANSWER, "$.buys"),
        (profile(price=1), profile(price=2), "$.views[1].product_info.price"),
        (profile(product_id=1), profile(product_id="1"), "$.views[1].product_info.product_id"),
        (profile(time="2022-03-01T00:00:00.001Z"), profile(time="2022-03-01T00:00:00Z"), ".time"),
        (profile(time="soon"), profile(time="2022-03-01T00:00:00Z"), "$.views[1].time"),
        (
            profile(cookie="2022-03-01T00:00:00.0Z"),
            profile(cookie="2022-03-01T00:00:00Z"),
            "$.views[1].cookie",
        ),
        ({**ROWS, "rows": [["m", "VIEW", "2"]]}, ROWS, "$.rows[0][2]"),
        ({**ROWS, "columns": ["1m_bucket", "action", "sum_price"]}, ROWS, "$.columns[2]"),
    ],
)
def test_au_103_the_first_difference_is_named_by_its_path(
    expected: object, got: Any, path: str
) -> None:
    assert path in difference(expected, got).partition(":")[0]
    assert difference(got, expected)


@pytest.mark.parametrize(
    ("expected", "got", "told"),
    [
        ([], ANSWER, "Expected `object`, got `array`"),
        (1e300, ANSWER, "Expected `object`, got `float`"),
        ({**ANSWER, "views": {}}, ANSWER, "Expected `array`, got `object` - at `$.views`"),
        ({**ANSWER, "x": 1}, ANSWER, "unknown field `x`"),
        ({"cookie": "c", "views": []}, ANSWER, "missing required field `buys`"),
        (profile(x=1), profile(), "unknown field `x` - at `$.views[1]`"),
        (profile(price=True), profile(price=1), "at `$.views[1].product_info.price`"),
        (profile(price=1.0), profile(price=1), "at `$.views[1].product_info.price`"),
        (profile(price=None), profile(price=1), "at `$.views[1].product_info.price`"),
        (ROWS, ANSWER, "unknown field `columns`"),
        ({**ROWS, "rows": []}, ROWS, "Expected `array` of length 1 - at `$.rows`"),
        (ROWS, {**ROWS, "rows": []}, "Expected `array` of length 0 - at `$.rows`"),
        ({**ROWS, "rows": [[]]}, ROWS, "Expected `array` of length 3 - at `$.rows[0]`"),
        ({**ROWS, "rows": ROWS["rows"] * 2}, ROWS, "Expected `array` of length 1 - at `$.rows`"),
        ({**ROWS, "rows": [["m", "VIEW", 1]]}, ROWS, "Expected `str`, got `int`"),
    ],
)
def test_au_103_what_cannot_be_the_answer_is_told_with_where_it_is_not(
    expected: object, got: Any, told: str
) -> None:
    assert told in difference(expected, got)


answers = st.builds(
    lambda cookie, views, buys: {"cookie": cookie, "views": views, "buys": buys},
    st.sampled_from("ab"),
    *[
        st.lists(
            st.builds(
                a_tag,
                product_id=st.sampled_from([1, "1", 2]),
                time=st.sampled_from(["2022-03-01T00:00:00.5Z", "2022-03-01T00:00:00.50Z"]),
                price=st.integers(0, 1),
            ),
            max_size=2,
        )
    ]
    * 2,
)


@given(left=answers, right=answers)
def test_au_103_answers_are_equal_exactly_when_their_json_is_but_for_times(
    left: Any, right: Any
) -> None:
    def comparable(answer: Any) -> str:
        lists = [
            [{**tag, "time": parse_tag(tag["time"])[0]} for tag in answer[k]]
            for k in answer
            if k != "cookie"
        ]
        return json.dumps([answer["cookie"], *lists], sort_keys=True)

    assert (difference(left, right) == "") is (comparable(left) == comparable(right))


def test_au_102_a_mismatch_is_counted_and_said_with_where_and_how_large() -> None:
    expected = encoded({**ANSWER, "cookie": "d"})
    context = compared(expected, query=b"time_range=x&limit=1")
    assert context.counts == {"audiences.debug_mismatches": 1}
    (line,) = context.warnings
    assert line["event"] == "query.mismatch"
    assert (line["operation"], line["query"]) == ("user_profiles", "time_range=x&limit=1")
    assert line["parameters"] == ["c"]
    assert line["difference"] == '$.cookie: expected "d", got "c"'
    assert (line["expected_bytes"], line["answer_bytes"]) == (len(expected), len(encoded(ANSWER)))


UNREADABLE = [
    b"{",
    b"\xff",
    b'"\xff"',
    b'{"cookie":"\xed\xa0\x80"}',
    b'"\\ud800"',
    b"\xef\xbb\xbf{}",
    b"NaN",
    b"{} {}",
    b'{"cookie":"c","views":[],"buys":[]',
    b'{"x":"\xff"}',
    b"[" * 100_000,
    b"[" * 5_000 + b"]" * 5_000,
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_au_102_a_body_that_cannot_be_read_is_counted_apart(body: bytes) -> None:
    context = compared(body)
    assert context.counts == {"audiences.debug_unparsed": 1}
    assert context.warnings == []


@pytest.mark.parametrize("depth", range(900, 1_001, 5))
def test_au_102_depth_never_breaks_a_comparison(depth: int) -> None:
    assert compared(b"[" * depth + b"]" * depth).counts.total() == 1


def test_au_102_answers_are_compared_off_the_event_loop() -> None:
    """A mebibyte is a matter of milliseconds, and the event loop has none."""
    context = compared(encoded(ANSWER))
    assert (context.elsewhere, context.counts) == (1, {})
    assert compared(b"").elsewhere == 0


@pytest.mark.slow
@pytest.mark.parametrize("answer", [ANSWER, ROWS], ids=["profile", "aggregates"])
@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        (b"", b" ", b""), (b"", b"[", b""), (b"[", b"[],", b"0]"), (b'"', b"\\u00e9", b'"'),
        (b"[", b"1.7976931348623157e-300,", b"0]"), (b"[", b"9" * 4_000 + b",", b"0]"),
        (b'{"cookie":"c","views":[],"buys":[', b"[],", b"0]}"),
        (b'{"cookie":"c","views":[],"buys":[', encoded(a_tag()) + b",", b"0]}"),
        (b'{"cookie":"c","views":[],"buys":[', encoded(a_tag(price="#")) + b",", b"0]}"),
        (b'{"columns":[', b'"",', b'""]}'), (b'{"rows":[', b"[],", b"0]}"),
        (b'{"rows":[', b'["","",""],', b"0]}"),
    ],
)  # fmt: skip
def test_au_102_no_body_takes_longer_than_its_bytes_allow(
    head: bytes, unit: bytes, tail: bytes, answer: dict[str, Any]
) -> None:
    """Ten times of what was measured, 10 nanoseconds a byte: no decoder lets others run."""
    unit = unit.replace(b'"#"', b"9" * 4_000)
    body = head + unit * ((1_048_576 - len(head + tail)) // len(unit)) + tail
    assert cpu_seconds(lambda: compared(body, answer)) < 10 * 10e-9 * 1_048_576


@given(body=st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_au_102_no_body_harms_the_query(body: bytes) -> None:
    assert compared(body).counts.total() <= 1


NASTY = ["x", "é", "😀", "\0", '"', "\\", "\x7f", "\u2028"]


@pytest.mark.parametrize("piece", NASTY)
def test_au_102_a_line_has_at_most_4_kib_whatever_is_in_it(piece: str) -> None:
    long = piece * 20_000
    cookie = piece * (256 // len(piece.encode()))
    for expected in ({long: 1}, {"cookie": long}, {"views": {"a": {long: long}}}, [long], long):
        context = compared(encoded(expected), query=long.encode()[:8_000], cookie=cookie)
        (line,) = context.warnings
        stamp = {"timestamp": "2026-01-01T00:00:00.000000Z", "level": "warning", "suppressed": 9999}
        assert len(json.dumps(line | stamp)) <= LINE_BYTES_MAX
        assert len(msgspec.json.encode(line | stamp)) <= LINE_BYTES_MAX
