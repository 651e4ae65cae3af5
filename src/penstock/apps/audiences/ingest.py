"""`POST /user_tags` and its batch: bytes in, validated events out; nothing else is consulted."""

import json
from typing import Annotated, NoReturn

import msgspec
from msgspec import Meta

from penstock.apps.audiences.events import WORD_BYTES_MAX, TagRecorded
from penstock.apps.audiences.events.spelling import Product, Tag
from penstock.apps.audiences.events.times import parse_tag, spell_tag
from penstock.apps.audiences.settings import Settings
from penstock.core.edge import Known, Received, Reply, Response
from penstock.core.edge.reading import check_type, fault, types
from penstock.core.errors import Rejected, TooLarge

TAG_BYTES_MAX = 65_536
BATCH_TAGS_MAX = 1_000
BATCH_LINES_MAX = 10_000
"""Blank ones among them: millions of these would be millions of objects."""
BATCH_BYTES_MAX = 4_194_304

IDEMPOTENCY_KEY_MAX = 64
TAG_MEDIA = ("application/json",)
BATCH_MEDIA = ("application/x-ndjson", "application/ndjson", "application/jsonl", *TAG_MEDIA)

_TAG_TYPES = types(TAG_MEDIA)
_BATCH_TYPES = types(BATCH_MEDIA)
_MEMBERS = 11
_WORDS = 8
_QUOTES = 2 * (_MEMBERS + _WORDS)
"""Quotation marks in a tag whose product is a number, when no member is repeated or unknown."""
_JSON_SPACE = b" \t\n\r"
_SHOWN_MAX = 200


_TAG_MEMBERS = frozenset(Tag.__struct_fields__)
_PRODUCT_MEMBERS = frozenset(Product.__struct_fields__)
_decode = msgspec.json.Decoder(Tag).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_decode_any = json.JSONDecoder(parse_int=bool, parse_float=bool).decode
"""Numbers may be of any size here, and dear to read; what they are does not matter."""


class RefusedLine(msgspec.Struct, frozen=True):
    """A line of a batch that was refused; the others are not concerned."""

    line: Annotated[int, Meta(ge=1, description="Its number, blank ones counted.")]
    error: Annotated[str, Meta(description="The code that its tag would be refused with alone.")]
    field: Annotated[
        str, Meta(description="The member that is wrong; empty where the whole line is.")
    ]
    message: Annotated[str, Meta(description="What is wrong with it.")]


class BatchAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a batch."""

    accepted: Annotated[int, Meta(ge=0, description="Tags that are durable now.")]
    rejected: Annotated[list[RefusedLine], Meta(description="In the order of the lines.")]
    duplicate: Annotated[
        int, Meta(ge=0, description="Of a repeat: tags that were stored before, all that it has.")
    ] = 0


class _Repeated(ValueError):
    """An object names a member twice."""

    def __init__(self, whole: str, field: str) -> None:
        super().__init__(f"a member of {whole} is given twice")
        self.field = field


def record_tag(received: Received, known: Known[Settings, None]) -> Reply:
    """One tag (AU-20 to AU-30). Raise `Rejected` or `UnsupportedType`."""
    check_type(received, _TAG_TYPES)
    return Reply(
        (_event(received.body, _horizon(received, known.settings)),),
        idempotency_key=_idempotency_key(received),
    )


def record_batch(received: Received, known: Known[Settings, None]) -> Reply:
    """Tags, one a line; each is accepted or refused by itself (AU-31)."""
    check_type(received, _BATCH_TYPES)
    latest_ms = _horizon(received, known.settings)
    body = received.body
    pieces = body.split(b"\n", BATCH_LINES_MAX)
    if len(pieces) > BATCH_LINES_MAX:
        raise TooLarge(f"a batch has at most {BATCH_LINES_MAX} lines, blank ones among them")
    lines = [
        (number, line) for number, line in enumerate(pieces, start=1) if line and not line.isspace()
    ]
    if len(lines) > BATCH_TAGS_MAX:
        raise TooLarge(f"a batch has at most {BATCH_TAGS_MAX} tags; this one has {len(lines)}")
    key = _idempotency_key(received)
    events = _events_at_once(body, lines, latest_ms)
    rejected: list[RefusedLine] = []
    if events is None:
        events = []
        for number, line in lines:
            try:
                if len(line) > TAG_BYTES_MAX:
                    raise TooLarge(f"a tag has at most {TAG_BYTES_MAX:,} bytes")
                events.append(_event(line, latest_ms))
            except (Rejected, TooLarge) as error:
                field = error.field if isinstance(error, Rejected) else ""
                rejected.append(RefusedLine(number, error.code, field, error.message))
    answer = BatchAnswer(len(events), rejected)
    again = msgspec.structs.replace(answer, duplicate=len(events))
    repeated = Response.json(again) if key else None
    return Reply(events, Response.json(answer), key, len(rejected), repeated)


def _events_at_once(
    body: bytes, lines: list[tuple[int, bytes]], latest_ms: float
) -> list[TagRecorded] | None:
    """All tags of a faultless batch in a few calls; None when a line needs a look of its own."""
    if not _plain(body) or any(len(line) > TAG_BYTES_MAX for _, line in lines):
        return None
    try:
        tags: list[Tag] = [_decode(line) for _, line in lines]
        if body.count(b'"') != sum(map(_quotes, tags)):
            return None
        events = [_convert(tag) for tag in tags]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return events if all(event.time_ms <= latest_ms for event in events) else None


def _event(body: bytes, latest_ms: float) -> TagRecorded:
    try:
        tag: Tag = _decode(body)
        if body.count(b'"') != _quotes(tag):
            _refuse_repeated_members(body)
        if not _plain(body):
            _refuse_long_words(tag)
    except msgspec.ValidationError as error:
        text = str(error)
        raise Rejected(text[:_SHOWN_MAX], code="bad_field", field=fault(text)) from None
    except (_LongWord, _Repeated) as error:
        raise Rejected(str(error), code="bad_field", field=error.field) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Rejected(f"the tag is not a JSON object: {error}", code="bad_json") from None
    try:
        event = _convert(tag)
    except ValueError:
        _refuse_time(tag.time)
    if event.time_ms > latest_ms:
        raise Rejected(
            f"the time {tag.time} lies too far in the future: now, none is taken after "
            f"{spell_tag(int(latest_ms), 3)}",
            code="bad_time",
            field="time",
        )
    return event


def _convert(tag: Tag) -> TagRecorded:
    time_ms, digits = parse_tag(tag.time)
    product = tag.product_info
    return TagRecorded(
        time_ms,
        digits,
        tag.cookie,
        tag.country,
        tag.device,
        tag.action,
        tag.origin,
        product.product_id,
        product.brand_id,
        product.category_id,
        product.price,
    )


def _plain(body: bytes) -> bool:
    """Whether every character of its strings is a byte, also once they are decoded."""
    return body.isascii() and b"\\" not in body


def _quotes(tag: Tag) -> int:
    """The decoder keeps the last of repeated members without a word. But all eleven are there, so
    one more of any kind shows as more quotation marks than these (AU-23).
    """
    return _QUOTES + 2 if isinstance(tag.product_info.product_id, str) else _QUOTES


def _refuse_repeated_members(body: bytes) -> None:
    """For bodies with escapes or unknown members. Raise `_Repeated` or `ValueError`.

    A decoder loses all but the last of repeated members, and at least one string with each: what it
    keeps is counted, so that no code of ours has to look at every object. What cannot hold a second
    member anywhere is not even decoded.
    """
    body.decode()  # the decoder skips what it does not know without a look whether it is UTF-8
    tag = _members(body)
    product_info = bytes(tag["product_info"])
    product = _members(product_info)
    if _strings(body) != _strings_of(tag):
        raise _Repeated("the tag", "")
    if _strings(product_info) != _strings_of(product):
        raise _Repeated("product_info", "product_info")
    unknown = [tag[name] for name in tag.keys() - _TAG_MEMBERS]
    unknown += [product[name] for name in product.keys() - _PRODUCT_MEMBERS]
    values = b"[%b]" % b",".join(unknown)
    if b"{" not in values or b',"' not in values.translate(None, _JSON_SPACE):
        return
    if _strings(values) != _strings(_encode(_decode_any(values.decode()))):
        raise _Repeated("what is inside an unknown member", "")


def _strings_of(members: dict[str, msgspec.Raw]) -> int:
    """How many strings there are in an object that names each of its members once."""
    return len(members) + _strings(b",".join(members.values()))


def _strings(text: bytes) -> int:
    """How many strings there are in JSON: pairs of quotation marks that are not escaped."""
    quotes = text.count(b'"')
    if b"\\" in text:
        quotes -= text.replace(b"\\\\", b"").count(b'\\"')
    return quotes // 2


class _LongWord(ValueError):
    """A word is longer in bytes than it is in characters."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} has more than {WORD_BYTES_MAX} bytes")
        self.field = field


def _refuse_long_words(tag: Tag) -> None:
    product = tag.product_info
    named = {
        "cookie": tag.cookie,
        "country": tag.country,
        "origin": tag.origin,
        "product_info.product_id": product.product_id,
        "product_info.brand_id": product.brand_id,
        "product_info.category_id": product.category_id,
    }
    for name, word in named.items():
        if isinstance(word, str) and len(word.encode()) > WORD_BYTES_MAX:
            raise _LongWord(name)


def _refuse_time(text: str) -> NoReturn:
    raise Rejected(
        f"{text[:64]!r} is not a time; write it like YYYY-MM-DDThh:mm:ss.sssZ",
        code="bad_time",
        field="time",
    )


def _horizon(received: Received, settings: Settings) -> float:
    """The latest time a tag may have, in epoch milliseconds (AU-30)."""
    hours = settings.max_future_skew_hours
    return received.at_ms + hours * 3_600_000 if hours else float("inf")


def _idempotency_key(received: Received) -> str:
    given = received.headers.get(b"idempotency-key")
    if given is None:
        return ""
    if not 1 <= len(given) <= IDEMPOTENCY_KEY_MAX or not all(0x21 <= c <= 0x7E for c in given):
        raise Rejected("Idempotency-Key takes 1 to 64 visible ASCII characters", code="bad_field")
    return given.decode()
