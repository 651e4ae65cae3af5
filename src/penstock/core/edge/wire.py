"""An answer's bytes on the wire, and the request's id in them."""

from collections.abc import Mapping, Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from penstock.core.edge import Response
from penstock.core.edge.proxies import FORWARDED_FOR

REQUEST_ID = b"x-request-id"
_REQUEST_ID_BYTES_MAX = 128

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields as they came, names in lower case."""
Headers = Mapping[bytes, bytes]


def request_id_of(headers: Headers) -> bytes:
    """The client's own, if it is one that can be repeated safely; otherwise nothing."""
    given = headers.get(REQUEST_ID, b"")
    if not given:
        return given
    sound = len(given) <= _REQUEST_ID_BYTES_MAX and all(0x20 < c < 0x7F for c in given)
    return given if sound else b""


def by_name(fields: Fields) -> Headers:
    """The fields by name, of repeated ones the last. Only what each proxy on the way may add a line
    to is one list, whichever way it came.
    """
    headers = dict(fields)
    if len(headers) != len(fields) and FORWARDED_FOR in headers:
        lines = (value for name, value in fields if name == FORWARDED_FOR)
        headers[FORWARDED_FOR] = b", ".join(lines)
    return headers


def announced(headers: Headers) -> int:
    """Bytes of the body according to its Content-Length; 0 where there is none that counts."""
    length = headers.get(b"content-length", b"")
    # Zeros in front may be thousands, which no conversion takes; 20 digits are beyond any limit.
    return int(length.lstrip(b"0")[:20] or b"0") if length.isdigit() else 0


def head_of(response: Response, request_id: bytes) -> list[tuple[bytes, bytes]]:
    """The response's headers on the wire, its length and the request's id among them."""
    named = list(response.headers)
    if response.status != 204:
        named.append((b"content-length", b"%d" % len(response.body)))
    if request_id and (REQUEST_ID, request_id) not in named:
        named.append((REQUEST_ID, request_id))
    return named


def render(response: Response, fields: Fields, *, keep_alive: bool) -> bytes:
    lines = [STATUS_LINE[response.status]]
    for name, value in fields:
        lines += (name, b": ", value, b"\r\n")
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    lines += (b"\r\n", response.body)
    return b"".join(lines)
