"""Query debug: a query may carry the answer its sender expects; a difference is counted and said.

The answer itself never depends on it (AU-100 to AU-103). What is expected is read as the type that
the answer has: reading ends where it cannot be the answer, however much follows.
"""

from collections.abc import Callable
from functools import cache, partial
from types import GenericAlias
from typing import Any

import msgspec

from penstock.apps.audiences.events import spelling
from penstock.apps.audiences.events.times import parse_tag
from penstock.core.edge import Received
from penstock.core.manifest import Context

_SHOWN_MAX = 280
"""Characters of each part of a log line. Escaped twice, five such parts stay below 4 KiB."""
_JSON_SPACE = b" \t\n\r"

Read = Callable[[bytes], Any]


class _Product(spelling.Product, frozen=True, gc=False, forbid_unknown_fields=True):
    pass


class _Tag(spelling.Tag, frozen=True, gc=False, forbid_unknown_fields=True):
    product_info: _Product


class _Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cookie: str
    views: list[_Tag]
    buys: list[_Tag]


read_profile: Read = msgspec.json.Decoder(_Profile).decode
_read_any = msgspec.json.Decoder(msgspec.Raw).decode


@cache
def read_aggregates(columns: int, rows: int) -> Read:
    """As many of both as the answer has."""
    row: Any = GenericAlias(tuple, (str,) * columns)
    fields = [("columns", row), ("rows", GenericAlias(tuple, (row,) * rows))]
    shape = msgspec.defstruct("Aggregates", fields, frozen=True, forbid_unknown_fields=True)
    decode: Read = msgspec.json.Decoder(shape).decode
    return decode


async def compare(
    operation: str, read: Read, received: Received, answer: bytes, context: Context
) -> None:
    """Does nothing for a body that expects nothing: absent, empty or `{}`."""
    if not received.body:
        return
    try:
        difference = await context.run(partial(_difference, read, received.body, answer))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        context.count("audiences.debug_unparsed")
        return
    if difference:
        context.count("audiences.debug_mismatches")
        context.warn(
            "query.mismatch",
            operation=operation,
            query=_brief(received.query.decode("latin-1")),
            parameters=[_brief(parameter) for parameter in received.parameters],
            difference=difference,
            expected_bytes=len(received.body),
            answer_bytes=len(answer),
        )


def _difference(read: Read, body: bytes, answer: bytes) -> str:
    """Raise `MsgspecError`, `ValueError` or `RecursionError` for what is not JSON."""
    if body.isspace():
        return ""
    body.decode()  # the decoder skips without a look whether it is UTF-8
    if bytes(_read_any(body)).translate(None, _JSON_SPACE) == b"{}":
        return ""
    try:
        expected = read(body)
    except msgspec.ValidationError as error:
        return _brief(str(error))
    return first_difference(expected, read(answer))


def first_difference(expected: Any, got: Any, path: str = "$") -> str:
    """Where and how two answers of one shape differ; empty when they are equal by AU-103."""
    if expected == got:
        return ""
    if isinstance(expected, msgspec.Struct):
        pairs = [
            (f"{path}.{name}", getattr(expected, name), getattr(got, name))
            for name in expected.__struct_fields__
        ]
    elif isinstance(expected, list | tuple):
        if len(expected) != len(got):
            return f"{path}: expected {len(expected)} elements, got {len(got)}"
        pairs = [
            (f"{path}[{index}]", *pair)
            for index, pair in enumerate(zip(expected, got, strict=True))
        ]
    elif path.endswith(".time") and _same_instant(expected, got):
        return ""
    else:
        return f"{path}: expected {_shown(expected)}, got {_shown(got)}"
    for at, left, right in pairs:
        if difference := first_difference(left, right, at):
            return difference
    return ""


def _same_instant(expected: str, got: str) -> bool:
    try:
        return parse_tag(expected)[0] == parse_tag(got)[0]
    except ValueError:
        return False


def _shown(value: Any) -> str:
    return _brief(msgspec.json.encode(value).decode())


def _brief(text: str) -> str:
    """Its start, in printable ASCII: the log's own escaping can at most double it."""
    return ascii(text[:_SHOWN_MAX])[1:-1][:_SHOWN_MAX]
