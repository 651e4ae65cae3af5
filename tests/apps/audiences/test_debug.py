"""Expected answers: how two answers are compared, and that a comparison harms nothing."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audiences.tags import a_tag, encoded
from penstock.apps.audiences.routes.debug import compare, first_difference
from penstock.apps.audiences.settings import Settings
from penstock.core.clock import SystemClock
from penstock.core.edge import Received
from penstock.core.state import History
from penstock.core.warehouse import Row, Value

LINE_BYTES_MAX = 4_096
ANSWER = {"cookie": "c", "views": [a_tag(cookie="c")], "buys": []}


class Noting:
    """A context that keeps what it is told."""

    def __init__(self) -> None:
        self.settings = Settings(query_debug=True)
        self.clock = SystemClock()
        self.counts: Counter[str] = Counter()
        self.warnings: list[dict[str, object]] = []

    async def query(self, sql: str, parameters: Mapping[str, Value]) -> list[Row]:
        raise AssertionError

    async def first(self, space: str, groups: Sequence[bytes], limit: int) -> list[History]:
        raise AssertionError

    async def caught_up(self, projection: str, timeout_seconds: float) -> bool:
        raise AssertionError

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] += by

    def warn(self, event: str, **fields: object) -> None:
        self.warnings.append({"event": event, **fields})


def compared(body: bytes, answer: Any = ANSWER, query: bytes = b"", cookie: str = "c") -> Noting:
    context = Noting()
    request = Received("POST", (cookie,), query, {}, body, "", 0)
    compare("user_profiles", request, encoded(answer), context)
    return context


@pytest.mark.parametrize(
    "body", [b"", b"  \n", b"{}", b" { } ", encoded(ANSWER), json.dumps(ANSWER, indent=2).encode()]
)
def test_au_101_a_body_that_expects_nothing_or_the_answer_is_no_mismatch(body: bytes) -> None:
    context = compared(body)
    assert (context.counts, context.warnings) == ({}, [])


def test_au_103_the_order_of_members_is_ignored() -> None:
    tag = dict(reversed(a_tag(cookie="c").items()))
    assert not compared(encoded({"buys": [], "views": [tag], "cookie": "c"})).counts


@pytest.mark.parametrize("time", ["2022-03-01T00:00:00.5Z", "2022-03-01T00:00:00.500Z"])
def test_au_103_tag_times_are_compared_as_instants(time: str) -> None:
    expected, got = ({"views": [a_tag(time=t)]} for t in (time, "2022-03-01T00:00:00.50Z"))
    assert first_difference(expected, got) == ""


@pytest.mark.parametrize(
    ("expected", "got", "path"),
    [
        ({"cookie": "a"}, {"cookie": "b"}, "$.cookie"),
        ({"views": []}, {"views": [1]}, "$.views"),
        ({"views": [1, 2]}, {"views": [2, 1]}, "$.views[0]"),
        ({"views": [a_tag(price=1)]}, {"views": [a_tag(price=2)]}, "$.views[0].product_info.price"),
        ({"views": [a_tag(product_id=1)]}, {"views": [a_tag(product_id="1")]}, ".product_id"),
        ({"a": 1}, {}, "$.a"),
        ({}, {"a": 1}, "$.a"),
        ({"a": 1}, {"a": True}, "$.a"),
        ({"a": None}, {}, "$.a"),
        ([], {}, "$"),
        ({"rows": [["1"]]}, {"rows": [["2"]]}, "$.rows[0][0]"),
        ({"rows": [["1"]]}, {"rows": [[1]]}, "$.rows[0][0]"),
        (
            {"time": "2022-03-01T00:00:00.001Z"}, {"time": "2022-03-01T00:00:00Z"}, "$.time"
        ),
        ({"cookie": "2022-03-01T00:00:00.0Z"}, {"cookie": "2022-03-01T00:00:00Z"}, "$.cookie"),
        ({"time": "soon"}, {"time": "2022-03-01T00:00:00Z"}, "$.time"),
    ],
)  # fmt: skip
def test_au_103_the_first_difference_is_named_by_its_path(
    expected: object, got: object, path: str
) -> None:
    difference = first_difference(expected, got)
    assert path in difference.partition(":")[0]
    assert first_difference(got, expected)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(left=json_values, right=json_values)
def test_au_103_answers_are_equal_exactly_when_their_json_is(left: object, right: object) -> None:
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert (first_difference(left, right) == "") is same
    assert first_difference(left, left) == ""


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
    b"1e400",
    b"{} {}",
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
