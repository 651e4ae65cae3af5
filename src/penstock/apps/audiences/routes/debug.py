"""Query debug: a query may carry the answer its sender expects; a difference is counted and said.

The answer itself never depends on it (AU-100 to AU-103).
"""

from typing import Any

import msgspec

from penstock.apps.audiences.events.times import parse_tag
from penstock.core.edge import Received
from penstock.core.manifest import Context

_SHOWN_MAX = 280
"""Characters of each part of a log line. Escaped twice, five such parts stay below 4 KiB."""
_MISSING = object()


def compare(operation: str, received: Received, answer: bytes, context: Context) -> None:
    """Does nothing for a body that expects nothing: absent, empty or `{}`."""
    if not received.body.strip():
        return
    try:
        expected = msgspec.json.decode(received.body)
        got = expected if expected == {} else msgspec.json.decode(answer)
        difference = first_difference(expected, got)
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


def first_difference(expected: Any, got: Any, path: str = "$") -> str:
    """Where and how two answers differ; empty when they are equal by AU-103."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for name in [*expected, *(name for name in got if name not in expected)]:
            inner = first_difference(
                expected.get(name, _MISSING), got.get(name, _MISSING), f"{path}.{name}"
            )
            if inner:
                return inner
        return ""
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return f"{_brief(path)}: expected {len(expected)} elements, got {len(got)}"
        for index, (left, right) in enumerate(zip(expected, got, strict=True)):
            if inner := first_difference(left, right, f"{path}[{index}]"):
                return inner
        return ""
    if type(expected) is type(got) and (expected == got or _same_instant(path, expected, got)):
        return ""
    return f"{_brief(path)}: expected {_shown(expected)}, got {_shown(got)}"


def _same_instant(path: str, expected: Any, got: Any) -> bool:
    if not path.endswith(".time") or not isinstance(expected, str):
        return False
    try:
        return parse_tag(expected)[0] == parse_tag(got)[0]
    except ValueError:
        return False


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    return _brief(msgspec.json.encode(value).decode())


def _brief(text: str) -> str:
    """Its start, in printable ASCII: the log's own escaping can at most double it."""
    return ascii(text[:_SHOWN_MAX])[1:-1][:_SHOWN_MAX]
