"""The head of a request, to the letter of RFC 9110 and 9112: bytes in, what they say out.

What is not in the grammar is refused, and a connection that carried it ends: nobody can know where
the next request would begin. Nothing is repaired but what the RFCs ask for: empty lines before a
request, white space around a field's value, a list that came in several lines.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from penstock.core.errors import (
    ExpectationFailed,
    HeadersTooLarge,
    Rejected,
    Unimplemented,
    VersionNotSupported,
)

END = b"\r\n\r\n"
CHUNKED = -1
"""In the place of a length: the body says by itself where it ends."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
_REQUEST = re.compile(rb"(%b) ([\x21-\x7e]++) HTTP/(\d)\.(\d)\r\n" % _TOKEN)
_FIELDS = re.compile(rb"(?:%b:%b\r\n)*+" % (_TOKEN, _VALUE))
_IS_TOKEN = re.compile(_TOKEN)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*+)([^?]*+)(?:\?(.*+))?")
_AUTHORITY = re.compile(
    rb"(?P<name>(?:[!$&'()*+,;=\-._~0-9A-Za-z]|%[0-9A-Fa-f]{2})*+|\[(?P<address>[0-9A-Fa-f:.]++)\])"
    rb"(?::(?P<port>\d{0,5}+))?"
)
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_PORT_MAX = 65_535
_LENGTH_DIGITS_MAX = 18
"""Beyond any limit, and still a number that costs nothing to read."""

_ONCE = frozenset((
    b"age", b"authorization", b"content-length", b"content-location", b"content-range",
    b"content-type", b"date", b"expires", b"from", b"host", b"idempotency-key",
    b"if-modified-since", b"if-range", b"if-unmodified-since", b"last-modified", b"max-forwards",
    b"origin", b"proxy-authorization", b"range", b"referer", b"user-agent",
))  # fmt: skip
"""Fields of one value, of which a second line is refused. All others are lists."""

Fields = dict[bytes, bytes]
"""By name in lower case; the lines of a list joined in their order."""


class Parsed(NamedTuple):
    """What a head says."""

    method: str
    path: bytes
    """As it came, not decoded; `*` where the request is about the server."""
    query: bytes
    fields: Fields
    host: str
    """The name in the target, or else in the field Host: lower-case, without a port."""
    length: int
    """Bytes of the body that follows, or `CHUNKED`."""
    keep_alive: bool
    old: bool
    """HTTP/1.0: it hears no interim answers, and has to be told that the connection stays."""
    expects: bool
    """It waits for a word before it sends its body."""


def parse(head: bytes, fields_max: int) -> Parsed:
    """`head` ends with the first empty line. Raise the `PenstockError` that it is answered with."""
    line = _REQUEST.match(head)
    if line is None:
        raise Rejected("this is not a request line of HTTP/1.1")
    name, target, major, minor = line.groups()
    if major != b"1":
        raise VersionNotSupported
    if b"#" in target:
        raise Rejected("a fragment is no part of a request's target")
    old = minor == b"0"
    fields = _fields(head, line.end(), fields_max)
    given, host = fields.get(b"host"), ""
    if given is not None:
        host = _named(given, empty=True)
    elif not old:
        raise Rejected("HTTP/1.1 asks for the field Host")
    method = name.decode()
    path, query, asked = _target(method, target)
    length = _length(fields, old=old)
    expect = fields.get(b"expect")
    if expect is not None and not old and _listed(expect) != {b"100-continue"}:
        raise ExpectationFailed
    return Parsed(
        method,
        path,
        query,
        fields,
        asked or host,
        length,
        _keeps_alive(fields.get(b"connection"), old=old),
        old,
        expect is not None and not old and length != 0,
    )


def skip_empty_lines(arrived: bytearray) -> None:
    """Those before a request, which some clients send after the one before it."""
    if arrived[:1] == b"\r" and (found := _EMPTY_LINES.match(arrived)):
        del arrived[: found.end()]


def check_start(part: bytearray, looked_at: int) -> None:
    """Raise `Rejected` for the beginning of a head that no end can make one: its sender need not
    wait for a server that waits for more. Of so many bytes it was known before that they may be.
    """
    line_ended = part.find(b"\n", looked_at) >= 0
    if line_ended and (not _REQUEST.match(part) or _BARE_LINE_FEED.search(part, looked_at)):
        raise Rejected("this is not a request line of HTTP/1.1")
    if not looked_at and part[:1] != b"\r" and not _IS_TOKEN.match(part):
        raise Rejected("this is not HTTP")


def are_fields(block: bytes) -> bool:
    """Whether these are whole lines of fields, as of a head or of trailers."""
    return _FIELDS.fullmatch(block) is not None


def _fields(head: bytes, start: int, fields_max: int) -> Fields:
    end = len(head) - 2
    if _FIELDS.fullmatch(head, start, end) is None:
        raise Rejected("a header field is malformed")
    fields: Fields = {}
    lines = head[start : end - 2].split(b"\r\n") if end > start else []
    if len(lines) > fields_max:
        raise HeadersTooLarge(f"a request has at most {fields_max} headers")
    for line in lines:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name in fields:
            if name in _ONCE:
                raise Rejected(f"the header {name.decode()} is given twice", code="bad_field")
            value = fields[name] + (b"; " if name == b"cookie" else b", ") + value
        fields[name] = value
    return fields


def _named(authority: bytes, *, empty: bool = False) -> str:
    """Of a name or an address, and perhaps a port, the former. A field Host may be `empty`."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None or (found["address"] is not None and not _is_ipv6(found["address"])):
        raise Rejected("the host is neither a name nor an address")
    if not found["name"] and (found["port"] is not None or not empty):
        raise Rejected("the host has no name")
    if int(found["port"] or 0) > _PORT_MAX:
        raise Rejected(f"a port is at most {_PORT_MAX}")
    return found["name"].decode().lower().removesuffix(".")  # of the root


def _is_ipv6(address: bytes) -> bool:
    try:
        IPv6Address(address.decode())
    except AddressValueError:
        return False
    return True


def _target(method: str, target: bytes) -> tuple[bytes, bytes, str]:
    """Path, query and host, if it has one, of any of the four forms."""
    if target[0] == 0x2F:  # a slash: the form of almost all
        path, _, query = target.partition(b"?")
        return path, query, ""
    if target == b"*" and method == "OPTIONS":
        return target, b"", ""
    if method == "CONNECT":
        return target, b"", _named(target)
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Rejected("the target is neither a path nor a URL of http")
    return absolute[2] or b"/", absolute[3] or b"", _named(absolute[1])


def _length(fields: Fields, *, old: bool) -> int:
    """Where the body ends, if nothing about that is ambiguous."""
    announced = fields.get(b"content-length")
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if announced is not None or old:
            raise Rejected("a body has one length")
        names = [name.strip(b" \t").lower() for name in coding.split(b",")]
        if any(name != b"chunked" and _IS_TOKEN.fullmatch(name) for name in names):
            raise Unimplemented("the one transfer coding here is chunked")
        if names != [b"chunked"]:
            raise Rejected("a body is chunked once, or not at all")
        return CHUNKED
    if announced is None:
        return 0
    # Zeros in front may be thousands, which no conversion takes.
    digits = announced.lstrip(b"0")
    if not announced.isdigit() or len(digits) > _LENGTH_DIGITS_MAX:
        raise Rejected("Content-Length is not a number of bytes")
    return int(digits or b"0")


def _keeps_alive(connection: bytes | None, *, old: bool) -> bool:
    if connection is None:
        return not old
    options = _listed(connection)
    return b"close" not in options and (not old or b"keep-alive" in options)


def _listed(value: bytes) -> set[bytes]:
    return {member.strip(b" \t").lower() for member in value.split(b",")}
