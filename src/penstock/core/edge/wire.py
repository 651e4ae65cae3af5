"""An answer's bytes on the wire, and the request's id in them."""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

from penstock.core.edge import Response

REQUEST_ID = b"x-request-id"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_REQUEST_ID_BYTES_MAX = 128
_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}

Headers = Mapping[bytes, bytes]


def request_id_of(headers: Headers) -> bytes:
    """That of a trusted proxy, if it is one that can be repeated safely; otherwise nothing."""
    given = headers.get(REQUEST_ID, b"")
    if not given:
        return given
    sound = len(given) <= _REQUEST_ID_BYTES_MAX and all(0x20 < c < 0x7F for c in given)
    return given if sound else b""


def date_line(epoch_seconds: float) -> bytes:
    """The line that every answer of this second has."""
    return f"date: {formatdate(epoch_seconds, usegmt=True)}\r\n".encode()


def status_of(response: object) -> int:
    """Of what a handler made, which may be no response at all: that is a defect, 500."""
    if isinstance(response, Response) and response.status in (*_STATUS_LINES,):
        return response.status
    return HTTPStatus.INTERNAL_SERVER_ERROR.value


def render(
    response: Response,
    date: bytes,
    *,
    request_id: bytes = b"",
    lines: bytes = b"",
    keep_alive: bool = True,
    old: bool = False,
    body: bool = True,
) -> bytes:
    """`lines`: more of the head, whole. `old`: to HTTP/1.0, which has to be told that the
    connection stays. `body`: all of the answer, not only its head.
    """
    parts = [_STATUS_LINES[response.status], date]
    for name, value in response.headers:
        parts += (name, b": ", value, b"\r\n")
    if response.status not in _WITHOUT_BODY:
        parts.append(b"content-length: %d\r\n" % len(response.body))
    if request_id and (REQUEST_ID, request_id) not in response.headers:
        parts += (REQUEST_ID, b": ", request_id, b"\r\n")
    parts.append(lines)
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    elif old:
        parts.append(b"connection: keep-alive\r\n")
    parts.append(b"\r\n")
    if body:
        parts.append(response.body)
    return b"".join(parts)
