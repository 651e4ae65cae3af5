"""The batch: lines are judged one by one, and all at once when none has a fault."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audiences.tags import a_tag, encoded, received
from penstock.apps.audiences.ingest import (
    BATCH_LINES_MAX,
    BATCH_TAGS_MAX,
    TAG_BYTES_MAX,
    record_batch,
    record_tag,
)
from penstock.apps.audiences.settings import Settings
from penstock.core.edge import Reply
from penstock.core.edge.knowing import Knowledge
from penstock.core.errors import Rejected, TooLarge
from penstock.core.events import Event

ALWAYS = Knowledge(Settings(max_future_skew_hours=0.0), None)
GOOD = encoded(a_tag())
BROKEN = b"{"
"""A last line that nothing but the slow path can judge."""


def batch(body: bytes) -> tuple[list[Event], list[dict[str, Any]]]:
    """What became of it: its events, and line and code of every refusal."""
    events, refused = told(body)
    return events, [{"line": one["line"], "error": one["error"]} for one in refused]


def told(body: bytes) -> tuple[list[Event], list[dict[str, Any]]]:
    reply = record_batch(received(body), ALWAYS)
    assert reply.response.status == 200
    answer = json.loads(reply.response.body)
    assert list(answer) == ["accepted", "rejected"]
    assert answer["accepted"] == len(reply.events)
    assert len(answer["rejected"]) == reply.rejected
    for refused in answer["rejected"]:
        assert list(refused) == ["line", "error", "field", "message"]
        assert refused["message"]
    return list(reply.events), answer["rejected"]


def alone(line: bytes) -> tuple[list[Event], dict[str, Any]]:
    """What becomes of a line by itself: its event, or how it is refused."""
    try:
        if len(line) > TAG_BYTES_MAX:
            raise TooLarge("a tag has at most 65,536 bytes")
        reply: Reply = record_tag(received(line), ALWAYS)
    except TooLarge as error:
        return [], {"error": error.code, "field": "", "message": error.message}
    except Rejected as error:
        return [], {"error": error.code, "field": error.field, "message": error.message}
    return list(reply.events), {}


def test_au_31_a_batch_says_how_many_and_which_lines_were_refused() -> None:
    lines = [GOOD, b"", b"nonsense", encoded(a_tag(time="soon")), b"  ", encoded(a_tag(price="1"))]
    events, rejected = told(b"\n".join([*lines, GOOD]))
    assert len(events) == 2
    assert [(one["line"], one["error"], one["field"]) for one in rejected] == [
        (3, "bad_json", ""),
        (4, "bad_time", "time"),
        (6, "bad_field", "product_info.price"),
    ]
    assert rejected[2]["message"] == "Expected `int`, got `str` - at `$.product_info.price`"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (encoded(a_tag(cookie="é" * 200)), "cookie"),
        (encoded(a_tag(brand_id="é" * 200)), "product_info.brand_id"),
        (GOOD.replace(b'"price"', b'"prize"'), "product_info.price"),
        (GOOD.replace(b'"cookie"', b'"cake"'), "cookie"),
        (GOOD.replace(b'"price"', b'"price":1,"price"'), "product_info"),
        (encoded(a_tag(device="' - at `$.cookie`")), "device"),
        (encoded(a_tag(time="9999-01-01T00:00:00Z")), "time"),
        (b"[]", ""),
        (b"\xff", ""),
    ],
)
def test_au_31_a_refused_line_names_the_member_that_is_wrong(line: bytes, field: str) -> None:
    reply = record_batch(received(line), Knowledge(Settings(), None))
    (refused,) = json.loads(reply.response.body)["rejected"]
    assert refused["field"] == field
    assert 0 < len(refused["message"]) <= 300


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n \n\t\n"])
@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\n\n", b"\n \t\n"])
def test_au_31_blank_lines_and_carriage_returns_are_no_tags(separator: bytes, end: bytes) -> None:
    events, rejected = batch(separator.join([GOOD, GOOD, GOOD]) + end)
    assert (len(events), rejected) == (3, [])


@pytest.mark.parametrize("body", [b"", b"\n", b" \n\r\n"])
def test_au_31_a_batch_of_nothing_is_accepted_as_such(body: bytes) -> None:
    assert batch(body) == ([], [])


def test_au_31_tags_keep_the_order_of_their_lines() -> None:
    cookies = [f"c{n}" for n in range(BATCH_TAGS_MAX)]
    events, rejected = batch(b"\n".join(encoded(a_tag(cookie=cookie)) for cookie in cookies))
    assert rejected == []
    assert [getattr(event, "cookie", "") for event in events] == cookies


@pytest.mark.parametrize("line", [GOOD, BROKEN])
def test_au_31_more_than_a_thousand_tags_are_answered_413(line: bytes) -> None:
    batch(b"\n\n".join([line] * BATCH_TAGS_MAX))
    with pytest.raises(TooLarge) as raised:
        record_batch(received(b"\n".join([line] * (BATCH_TAGS_MAX + 1))), ALWAYS)
    assert (raised.value.status, raised.value.code) == (413, "too_large")


def test_au_31_blank_lines_count_among_ten_thousand() -> None:
    """Four mebibytes of them were four million objects."""
    events, rejected = batch(GOOD + b"\n" * (BATCH_LINES_MAX - 2) + b"\n" + GOOD)
    assert (len(events), rejected) == (2, [])
    for blank in (b"\n", b" \n"):
        with pytest.raises(TooLarge) as raised:
            record_batch(received(blank * BATCH_LINES_MAX), ALWAYS)
        assert (raised.value.status, raised.value.code) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "accepted", "rejected"),
    [
        (GOOD + GOOD, 0, {1: "bad_json"}),
        (GOOD + b" " + GOOD + b"\n" + GOOD, 1, {1: "bad_json"}),
        (GOOD.replace(b',"brand', b',\n"brand'), 0, {1: "bad_json", 2: "bad_field"}),
        (GOOD[:-1] + b" " * TAG_BYTES_MAX + b"}\n" + GOOD, 1, {1: "too_large"}),
        (b"[" + GOOD + b"]", 0, {1: "bad_field"}),
    ],
)
def test_au_31_a_line_is_one_tag_whole_and_within_its_limit(
    body: bytes, accepted: int, rejected: dict[int, str]
) -> None:
    events, refused = batch(body)
    assert len(events) == accepted
    assert refused == [{"line": line, "error": code} for line, code in rejected.items()]


@pytest.mark.parametrize("given_type", ["application/x-ndjson", "application/jsonl; x=y"])
def test_au_31_a_batch_may_call_itself_lines_of_json(given_type: str) -> None:
    assert len(record_batch(received(GOOD, content_type=given_type), ALWAYS).events) == 1


lines = st.one_of(
    st.builds(
        lambda product, escape: json.dumps(a_tag(product_id=product), ensure_ascii=escape).encode(),
        st.integers(-1, 3) | st.text(max_size=3) | st.just("é" * 200),
        st.booleans(),
    ),
    st.sampled_from(
        [
            GOOD, GOOD + b"\r", b" " + GOOD, GOOD + GOOD, GOOD[:-1], GOOD[:-1] + b',"x":[{},{}]}',
            GOOD[:-1] + b',"cookie":"z"}', GOOD[:-1] + b',"x":"\\"\\""}', b"", b" ", b"\x0b", b"{}",
            b"\0", b"\xff", BROKEN, b"}", GOOD[:-1] + b" " * 70_000 + b"}",
        ]
    ),
)  # fmt: skip


@settings(max_examples=100)
@given(drawn=st.lists(lines, max_size=6))
def test_au_31_a_line_fares_in_a_batch_as_it_fares_alone(drawn: list[bytes]) -> None:
    body = b"\n".join(drawn)
    expected: list[Event] = []
    refused = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        if line.strip():
            found, refusal = alone(line)
            expected.extend(found)
            refused.extend([{"line": number, **refusal}] if refusal else [])
    assert told(body) == (expected, refused)


@settings(max_examples=100)
@given(drawn=st.lists(lines, max_size=6))
def test_au_31_a_fault_elsewhere_changes_nothing_for_the_other_lines(drawn: list[bytes]) -> None:
    body = b"\n".join([*drawn, BROKEN])
    events, rejected = batch(body)
    assert rejected[-1] == {"line": body.count(b"\n") + 1, "error": "bad_json"}
    assert batch(b"\n".join(drawn)) == (events, rejected[:-1])
