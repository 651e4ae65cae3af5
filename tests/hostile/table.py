"""What a server has to make of some bytes: a row of the table, and what rows are made of."""

from typing import Literal, NamedTuple

from apps.audiences.tags import a_tag, encoded

TAG = encoded(a_tag(cookie="table"))
RANGE = b"time_range=2022-03-01T00:00:00_2022-03-01T00:01:00"
PROFILE = b"/user_profiles/nobody?" + RANGE
AGGREGATES = b"/aggregates?" + RANGE + b"&action=BUY&aggregates=COUNT"

Then = Literal["kept", "closed", "either"]
"""What is to become of the connection; `either` where no rule says, but it must be one of them."""
Statuses = frozenset[int]


class Row(NamedTuple):
    """Bytes and what is to come of them; each 204 is an event that is stored, and nothing else."""

    rule: str
    """The section of the RFC (of this page, where none says so) and what it says."""
    sent: bytes
    answers: tuple[Statuses, ...]
    """Of each answer, those that are right."""
    then: Then = "either"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Fields that the last answer has, and what their values contain."""
    method: bytes = b"POST"
    told: bool = True
    """Whether the last answer of a connection that closes has to say so."""
    events: bool = True
    """Whether a 204 stands for an event."""


def served(
    rule: str, sent: bytes, *statuses: int, then: Then = "kept", answers: int = 1, told: bool = True
) -> Row:
    """It is answered; 204 where nothing else is said."""
    return Row(rule, sent, (frozenset(statuses or (204,)),) * answers, then, told=told)


def refused(rule: str, sent: bytes, *statuses: int, then: Then = "either") -> Row:
    """One answer, 400 where nothing else is said."""
    return Row(rule, sent, (frozenset(statuses or (400,)),), then)


def torn(rule: str, sent: bytes, *statuses: int) -> Row:
    """Nobody knows where it ends: one answer, and nothing behind it is read."""
    return refused(rule, sent, *statuses, then="closed")


def lenient(rule: str, sent: bytes, *statuses: int) -> Row:
    """The rule lets a server take it or refuse it."""
    return Row(rule, sent, (frozenset((204, *(statuses or (400,)))),), "either")


def post(
    *fields: bytes,
    body: bytes = TAG,
    line: bytes = b"POST /user_tags HTTP/1.1",
    host: bytes | None = b"Host: x",
    sized: bool = True,
) -> bytes:
    """One tag, well spelt but for what is said."""
    lines = [line, *([] if host is None else [host]), *fields]
    if sized:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(line: bytes, *fields: bytes) -> bytes:
    return post(*fields, body=b"", line=line, sized=False)


def chunked(body: bytes, *fields: bytes, line: bytes = b"POST /user_tags HTTP/1.1") -> bytes:
    """`body` is framed already."""
    return post(b"Transfer-Encoding: chunked", *fields, body=body, line=line, sized=False)


def chunks(extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """A tag in two chunks, both with an extension."""
    half = len(TAG) // 2
    pieces = (TAG[:half], TAG[half:])
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces)
    return framed + b"0%b\r\n%b\r\n" % (extension, trailers)
