"""The pure half of ingest: one tag in, and what becomes of it."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audiences.tags import NOW_MS, Tag, a_tag, encoded, instant, plain, received
from apps.audiences.validity import tag_of
from penstock.apps.audiences.events import TagRecorded
from penstock.apps.audiences.events.times import parse_tag
from penstock.apps.audiences.ingest import record_batch, record_tag
from penstock.apps.audiences.settings import Settings
from penstock.core.edge import Known, Received, Reply
from penstock.core.edge.knowing import Knowledge
from penstock.core.errors import PenstockError, Rejected, UnsupportedType

ALWAYS = Knowledge(Settings(max_future_skew_hours=0.0), None)
HANDLERS = (record_tag, record_batch)
WORDS = ("cookie", "country", "origin", "product_id", "brand_id", "category_id")
MEMBERS = (*WORDS, "time", "device", "action", "price", "product_info")

Handler = Callable[[Received, Known[Settings, None]], Reply]


def recorded(body: bytes) -> TagRecorded:
    (event,) = record_tag(received(body), ALWAYS).events
    assert isinstance(event, TagRecorded)
    return event


def refused(body: bytes) -> str:
    """The code, of a body that is refused with 400."""
    with pytest.raises(Rejected) as raised:
        record_tag(received(body), ALWAYS)
    assert raised.value.status == 400
    assert len(str(raised.value)) < 500
    return raised.value.code


def spelled(tag: Tag, escape: bool = False) -> bytes:
    return json.dumps(tag, ensure_ascii=escape).encode()


# -- what is accepted ---------------------------------------------------------------------------


def test_au_20_every_field_of_a_tag_becomes_part_of_the_event() -> None:
    tag = a_tag()
    event = msgspec.structs.asdict(recorded(encoded(tag)))
    expected = plain(tag)
    time_ms, digits = parse_tag(expected.pop("time"))
    assert event == {"time_ms": time_ms, "fraction_digits": digits, **expected}


def test_au_24_the_answer_is_204_without_a_body() -> None:
    reply = record_tag(received(encoded(a_tag())), ALWAYS)
    assert (reply.response.status, reply.response.body) == (204, b"")


@pytest.mark.parametrize("product_id", [0, 12486, 2**63 - 1, "12486", "SKU-9", " ", "é" * 128])
def test_au_21_a_product_is_a_word_or_a_number_and_stays_what_it_is(product_id: int | str) -> None:
    event = recorded(encoded(a_tag(product_id=product_id)))
    assert event.product_id == product_id
    assert type(event.product_id) is type(product_id)


@pytest.mark.parametrize("price", [-(2**31), -1, 0, 2**31 - 1])
def test_au_20_a_price_is_any_signed_32_bit_number(price: int) -> None:
    assert recorded(encoded(a_tag(price=price))).price == price


@pytest.mark.parametrize("escape", [False, True])
@pytest.mark.parametrize(
    "word", ["é" * 128, "日" * 85, "😀" * 64, "x" * 256, "\0", '"', "\\", "a\nb"]
)
@pytest.mark.parametrize("name", WORDS)
def test_au_20_words_of_up_to_256_bytes_are_taken_however_they_are_spelled(
    name: str, word: str, *, escape: bool
) -> None:
    assert getattr(recorded(spelled(a_tag(**{name: word}), escape)), name) == word


@pytest.mark.parametrize(
    "time", ["2022-03-01T00:00:01Z", "2022-03-01T00:00:01.5Z", "2022-03-01T02:00:01.123456+02:00"]
)
def test_au_06_the_number_of_digits_is_part_of_the_event(time: str) -> None:
    event = recorded(encoded(a_tag(time=time)))
    assert (event.time_ms, event.fraction_digits) == parse_tag(time)


def test_au_03_the_order_of_members_does_not_matter() -> None:
    tag = a_tag()
    tag["product_info"] = dict(reversed(tag["product_info"].items()))
    assert recorded(encoded(dict(reversed(tag.items())))) == recorded(encoded(a_tag()))


@pytest.mark.parametrize(
    "extra", ['"x":1', '"x":{"y":[null,1e400,"\\""]}', '"Cookie":"z"', '"time ":0', '"":""']
)
def test_au_23_unknown_members_are_ignored_at_both_levels(extra: str) -> None:
    body = encoded(a_tag()).decode()
    outer = body.replace("{", "{" + extra + ",", 1)
    inner = body.replace('"product_info":{', '"product_info":{' + extra + ",")
    assert recorded(outer.encode()) == recorded(inner.encode()) == recorded(body.encode())


def test_au_23_space_around_a_tag_and_within_it_is_ignored() -> None:
    body = json.dumps(a_tag(), indent=2).encode()
    assert recorded(b" \r\n\t" + body + b"\n ") == recorded(encoded(a_tag()))


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize(
    "given_type",
    [None, "", "application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"],
)
def test_au_02_json_or_no_type_at_all_is_taken(given_type: str | None, handler: Handler) -> None:
    body = encoded(a_tag())
    request = received(body) if given_type is None else received(body, content_type=given_type)
    assert len(handler(request, ALWAYS).events) == 1


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize(
    "given_type", ["text/plain", "application/jsonx", "application", "text/json;application/json"]
)
def test_au_02_any_other_explicit_type_is_answered_415(given_type: str, handler: Handler) -> None:
    with pytest.raises(UnsupportedType) as raised:
        handler(received(encoded(a_tag()), content_type=given_type), ALWAYS)
    assert (raised.value.status, raised.value.code) == (415, "unsupported_type")


def test_au_27_equal_bodies_are_events_of_their_own() -> None:
    reply = record_batch(received(encoded(a_tag()) + b"\n" + encoded(a_tag())), ALWAYS)
    assert len(reply.events) == 2
    assert record_tag(received(encoded(a_tag())), ALWAYS).idempotency_key == ""


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEMBERS)
def test_au_22_a_missing_member_and_null_are_refused(name: str) -> None:
    without = a_tag()
    (without if name in without else without["product_info"]).pop(name)
    assert refused(encoded(without)) == "bad_field"
    assert refused(encoded(a_tag(**{name: None}))) == "bad_field"


@pytest.mark.parametrize("wrong", [1, 1.5, True, [], {}, ["x"], ""])
@pytest.mark.parametrize("name", [*WORDS, "device", "action"])
def test_au_22_a_member_of_the_wrong_type_or_empty_is_refused(name: str, wrong: object) -> None:
    if name == "product_id" and type(wrong) is int:
        return
    assert refused(encoded(a_tag(**{name: wrong}))) == "bad_field"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("device", "pc"), ("device", "PHONE"), ("device", "PC "), ("device", "x" * 60_000),
        ("action", "view"), ("action", "CLICK"), ("action", "BUY\0"),
    ],
)  # fmt: skip
def test_au_22_only_the_known_words_in_capitals_are_taken(name: str, word: str) -> None:
    assert refused(encoded(a_tag(**{name: word}))) == "bad_field"


@pytest.mark.parametrize("number", ["1.0", "1e2", "0.5", "1e400", "-0.0", "9" * 400, "true", '"1"'])
def test_au_22_a_price_that_is_no_whole_number_is_refused(number: str) -> None:
    assert refused(with_number("price", number)) == "bad_field"


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 2**64])
def test_au_22_a_price_out_of_range_is_refused(number: int) -> None:
    assert refused(with_number("price", str(number))) == "bad_field"


@pytest.mark.parametrize("number", ["-1", str(2**63), str(2**64), "1.0", "1e3", "true", "9" * 400])
def test_au_21_a_product_number_is_whole_and_below_2_to_63(number: str) -> None:
    assert refused(with_number("product_id", number)) == "bad_field"


@pytest.mark.parametrize("number", ["01", "+1", "1.", ".5", "0x1", "NaN", "Infinity", "-", "1_0"])
@pytest.mark.parametrize("name", ["price", "product_id", "unknown"])
def test_au_02_what_json_does_not_call_a_number_is_refused(name: str, number: str) -> None:
    assert refused(with_number(name, number)) == "bad_json"


@pytest.mark.parametrize("escape", [False, True])
@pytest.mark.parametrize("word", ["x" * 257, "é" * 129, "日" * 86, "😀" * 65, "é" * 200])
@pytest.mark.parametrize("name", WORDS)
def test_au_20_words_of_more_than_256_bytes_are_refused(
    name: str, word: str, *, escape: bool
) -> None:
    assert refused(spelled(a_tag(**{name: word}), escape)) == "bad_field"


@pytest.mark.parametrize("time", ["", "yesterday", "2022-03-01T00:00:00", "2022-02-30T00:00:00Z"])
def test_au_07_a_tag_of_no_time_is_refused(time: str) -> None:
    assert refused(encoded(a_tag(time=time))) == "bad_time"


@pytest.mark.parametrize(
    ("known", "repeated"),
    [
        ('"cookie":', '"cookie":"z","cookie":'),
        ('"cookie":', '"\\u0063ookie":"z","cookie":'),
        ('"cookie":', '"\\u0063ookie":"z","co\\u006fkie":'),
        ('"price":', '"price":1,"price":'),
        ('"price":', '"p\\u0072ice":1,"price":'),
        ('"product_id":', '"product_id":"x","product_id":'),
        ('"product_info":', '"product_info":{},"product_info":'),
        ('"cookie":', '"x":1,"x":2,"cookie":'),
        ('"price":', '"x":{"y":1,"y":1},"price":'),
    ],
)
def test_au_23_a_member_given_twice_is_refused_at_both_levels(known: str, repeated: str) -> None:
    body = encoded(a_tag()).decode()
    assert known in body
    assert refused(body.replace(known, repeated).encode()) == "bad_field"


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b'{"time":', b"\xef\xbb\xbf{}", b"\xff", b"{'time':1}",
        b'{"time":"\xc3\x28"}', b'{"time":"a\nb"}', b'{"time":"\\ud800"}', b'{"\\x":1}', b"{,}",
        b'{"x":' * 10_000, b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
)  # fmt: skip
def test_au_02_what_is_not_json_in_utf_8_is_refused(body: bytes) -> None:
    assert refused(body) == "bad_json"


@pytest.mark.parametrize("value", [b"\xff", b"\xed\xa0\x80", b"\x00", b"\\ud800", b"\n"])
def test_au_02_a_member_that_is_ignored_must_be_json_in_utf_8_too(value: bytes) -> None:
    assert refused(encoded(a_tag())[:-1] + b',"x":"' + value + b'"}') == "bad_json"


@pytest.mark.parametrize("after", [b"x", b"{}", b",", b"\0", b"]", encoded(a_tag())])
def test_au_23_anything_but_space_after_the_tag_is_refused(after: bytes) -> None:
    assert refused(encoded(a_tag()) + b" " + after) == "bad_json"


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b"nul", b"1", b'"x"', b"[" + encoded(a_tag()) + b"]", b"[" * 10_000, b"{}x"],
)
def test_au_22_json_that_is_no_object_is_refused(body: bytes) -> None:
    assert refused(body) in ("bad_json", "bad_field")


# -- the clock, and repeats -----------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "late_ms"), [(24.0, 0), (0.5, 0), (24.0, 1), (0.5, 1)])
def test_au_30_a_tag_may_be_ahead_of_the_clock_by_so_much(hours: float, late_ms: int) -> None:
    tag = a_tag(time=instant(NOW_MS + int(hours * 3_600_000) + late_ms))
    skew = Knowledge(Settings(max_future_skew_hours=hours), None)
    if not late_ms:
        assert record_tag(received(encoded(tag)), skew).events
        return
    with pytest.raises(Rejected) as raised:
        record_tag(received(encoded(tag)), skew)
    assert raised.value.code == "bad_time"
    assert str(raised.value).endswith(instant(NOW_MS + int(hours * 3_600_000))), "the latest"
    batch = record_batch(received(encoded(a_tag()) + b"\n" + encoded(tag)), skew).response
    (refused,) = json.loads(batch.body)["rejected"]
    assert (refused["line"], refused["error"], refused["field"]) == (2, "bad_time", "time")


def test_au_30_zero_lets_any_future_in_and_the_past_is_always_let_in() -> None:
    assert recorded(encoded(a_tag(time="9999-12-31T23:59:59.999Z"))).time_ms > NOW_MS
    assert record_tag(
        received(encoded(a_tag(time="0001-01-01T00:00:00Z"))), Knowledge(Settings(), None)
    ).events


@pytest.mark.parametrize("key", ["k", "~" * 64, '!"#/{}'])
@pytest.mark.parametrize("handler", HANDLERS)
def test_au_28_a_visible_ascii_key_goes_with_the_events(handler: Handler, key: str) -> None:
    reply = handler(received(encoded(a_tag()), idempotency_key=key), ALWAYS)
    assert reply.idempotency_key == key


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "a\t", "é", "\x7f"])
@pytest.mark.parametrize("handler", HANDLERS)
def test_au_28_any_other_key_is_refused(handler: Handler, key: str) -> None:
    with pytest.raises(Rejected) as raised:
        handler(received(encoded(a_tag()), idempotency_key=key), ALWAYS)
    assert raised.value.code == "bad_field"


# -- whatever comes -------------------------------------------------------------------------------


def with_number(name: str, number: str) -> bytes:
    """A tag with this spelling as the member's value, added when it is unknown."""
    marker = 987_654_321
    tag = a_tag(**{name: marker}) if name != "unknown" else {**a_tag(), name: marker}
    return encoded(tag).replace(str(marker).encode(), number.encode())


def outcome(handler: Handler, body: bytes) -> list[TagRecorded] | None:
    """Events, or None for a refusal; any other exception is the test's failure."""
    try:
        reply = handler(received(body), ALWAYS)
    except PenstockError as error:
        return None if 400 <= error.status < 500 else pytest.fail(f"answered {error.status}")
    return [event for event in reply.events if isinstance(event, TagRecorded)]


SPICES = [
    b"\0", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\\udc00\\ud800",
    b"NaN", b"1e400", b"-0", b"1.0", str(2**63).encode(), str(2**63 - 1).encode(), b"9" * 5000,
    str(-(2**63)).encode(), b"null", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b" ", b"\n",
    b'"cookie":"x",', b'"c\\u006fokie":"x",', b'"price":1,', b'"pri\\u0063e":1,', b'"x":1,',
    b'"product_info":{},', b"[" * 10_000, b'{"x":' * 10_000, b"\\u00e9" * 200, "é".encode() * 200,
    encoded(a_tag()), b"Z", b".5", b"0", b"24", b"60", b"+01:00", b"x" * 257, b"\x0b", b"\r",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid body with a few pieces replaced, inserted or cut."""
    word = st.text(max_size=5) | st.sampled_from(["x" * 256, "é" * 128, "é" * 129])
    tag = a_tag(
        cookie=draw(word),
        product_id=draw(word | st.integers(-1, 2**63)),
        price=draw(st.sampled_from([0, -(2**31), 2**31 - 1, 2**31])),
        time=draw(
            st.sampled_from(
                ["2022-03-01T00:00:00Z", "2022-02-29T00:00:00.5Z", "2022-03-01T00:00:00.1234+01:00"]
            )
        ),
    )
    body = json.dumps(tag, ensure_ascii=draw(st.booleans())).encode()
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(body)))
        stop = min(len(body), start + draw(st.sampled_from([0, 0, 1, 2, 20])))
        piece = draw(st.sampled_from(SPICES) | st.binary(max_size=3))
        body = body[:start] + piece + body[stop:]
    return body


@settings(max_examples=150)
@given(body=mutated() | st.binary(max_size=200))
def test_au_22_exactly_the_valid_bodies_become_one_event(body: bytes) -> None:
    events = outcome(record_tag, body)
    expected = tag_of(body)
    if expected is None:
        assert events is None
    else:
        assert events is not None
        (event,) = events
        got: dict[str, Any] = msgspec.structs.asdict(event)
        assert (got.pop("time_ms"), got.pop("fraction_digits")) == parse_tag(expected.pop("time"))
        assert got == expected
        assert type(got["product_id"]) is type(expected["product_id"])


@settings(max_examples=100)
@given(body=st.lists(mutated() | st.binary(max_size=30), max_size=4).map(b"\n".join))
def test_au_31_any_bytes_at_all_give_events_or_a_refusal(body: bytes) -> None:
    for handler in HANDLERS:
        outcome(handler, body)
