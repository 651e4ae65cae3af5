"""Both hosts of ingest, the fast lane and ASGI, put the same bytes on the wire.

The date and the request id of an error may differ; nothing else.
"""

import re
import socket
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2e.process import PATIENCE_SECONDS, Server

TAG = (
    b'{"time":"2022-03-01T00:00:00.649Z","cookie":"hosts","country":"PL","device":"PC",'
    b'"action":"VIEW","origin":"O","product_info":{"product_id":1,"brand_id":"B",'
    b'"category_id":"C","price":1}}'
)
_VARIES = re.compile(rb"(?im)^(date|x-request-id): [^\r\n]*\r\n")
_LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""Ends every exchange, so that its end is known."""


def post(path: bytes, body: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = [b"POST %b HTTP/%b" % (path, version), b"Host: x", *headers]
    if not any(line.lower().startswith(b"transfer-encoding") for line in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return post(b"/user_tags", framed + b"0\r\n\r\n", b"Transfer-Encoding: chunked")


REQUESTS = (
    post(b"/user_tags", TAG),
    post(b"/user_tags", TAG, b"Content-Type: application/json; charset=utf-8"),
    post(b"/user_tags", TAG, b"X-Request-Id: mine"),
    post(b"/user_tags", TAG, b"Idempotency-Key: one"),
    post(b"/user_tags", TAG, b"Idempotency-Key: " + b"k" * 65),
    post(b"/user_tags", TAG, b"Content-Type: text/plain"),
    post(b"/user_tags", TAG, b"Content-Encoding: gzip"),
    post(b"/user_tags", TAG, b"X-Forwarded-For: 10.0.0.1"),
    post(b"/user_tags", b""),
    post(b"/user_tags", b"{"),
    post(b"/user_tags", TAG.replace(b'"PC"', b'"pc"')),
    post(b"/user_tags", b" " * 65_537),
    post(b"/user_tags?x=1", TAG),
    post(b"/user_tags", TAG, b"X-Large: " + b"x" * 17_000),
    chunked(TAG, 7),
    chunked(b" " * 70_000, 9_000),
    post(b"/user_tags/batch", TAG + b"\n" + TAG),
    post(b"/user_tags/batch", TAG + b"\nnonsense\n\n" + TAG),
    post(b"/user_tags/batch", b""),
    b"GET /user_tags HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("hosts")
    servers = [Server(folder / "lane"), Server(folder / "asgi", "--no-fast-lane")]
    yield servers
    for server in servers:
        server.kill()


def answers(server: Server, pieces: Sequence[bytes]) -> bytes:
    """All that comes back until the server closes, without what may vary."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # refused and closed before all was sent; what was answered is compared
        received = []
        try:
            while data := connection.recv(65_536):
                received.append(data)
        except ConnectionError:
            pass
    return _VARIES.sub(b"", b"".join(received))


@pytest.mark.parametrize("request_bytes", REQUESTS, ids=range(len(REQUESTS)))
def test_every_kind_of_request_gets_the_same_answer(
    hosts: list[Server], request_bytes: bytes
) -> None:
    lane, asgi = (answers(host, [request_bytes, _LAST]) for host in hosts)

    assert lane == asgi
    assert lane.startswith(b"HTTP/1.1 ")


def test_old_and_closing_connections_get_the_same_answer(hosts: list[Server]) -> None:
    for last in (
        post(b"/user_tags", TAG, version=b"1.0"),
        post(b"/user_tags", TAG, b"Connection: close"),
        post(b"/user_tags", TAG, b"Expect: 100-continue", b"Connection: close"),
    ):
        lane, asgi = (answers(host, [last]) for host in hosts)

        assert lane == asgi
        assert b" 204 " in lane


def test_conflicting_lengths_are_refused_alike(hosts: list[Server]) -> None:
    """What a proxy and a server could read differently is read by neither."""
    for smuggled in (
        post(b"/user_tags", TAG, b"Content-Length: 5"),
        post(b"/user_tags", TAG, b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        post(b"/user_tags", TAG, b"Transfer-Encoding: chunked, identity"),
        post(b"/user_tags", TAG, b"X-Folded: a\r\n b"),
        b"POST /user_tags HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
    ):
        lane, asgi = (answers(host, [smuggled, _LAST]) for host in hosts)

        assert lane == asgi


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    requests=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 4_000), max_size=8),
)
def test_pipelined_requests_in_any_pieces_are_answered_alike_and_in_order(
    hosts: list[Server], requests: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(requests) + _LAST
    bounds = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[low:high] for low, high in pairwise(bounds)]

    lane, asgi = (answers(host, pieces) for host in hosts)

    assert lane == asgi
