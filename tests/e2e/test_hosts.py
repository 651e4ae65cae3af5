"""A server that remembers heads and one that parses each anew put the same bytes on the wire.

The date and the request id of an error may differ; nothing else.
"""

import gzip
import socket
import sys
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import brotli
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2e.process import PATIENCE_SECONDS, Client, Server, eventually
from support.answers import VARIES, parse
from support.messages import REFUSED, SMUGGLED, UPGRADE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TAG = (
    b'{"time":"2022-03-01T00:00:00.649Z","cookie":"hosts","country":"PL","device":"PC",'
    b'"action":"VIEW","origin":"O","product_info":{"product_id":1,"brand_id":"B",'
    b'"category_id":"C","price":1}}'
)
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


def coded(coding: bytes, body: bytes) -> bytes:
    return post(b"/user_tags", body, b"Content-Encoding: " + coding)


COMPRESSED = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
}
TORN = tuple(torn for torn in SMUGGLED.values() if b"chunked\r\n\r\n" not in torn)
"""In their heads: one with a torn body may be answered before it tears."""
BOMB = b" " * 30_000_000
PROFILE = b"/user_profiles/nobo%64y?time_range=2022-03-01T00:00:00.000_2022-03-01T00:01:00.000"
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
    # More zeros than a conversion of numbers takes.
    post(b"/user_tags", TAG).replace(b"Content-Length: ", b"Content-Length: " + b"0" * 5_000),
    post(b"/user_tags", b" " * 65_537).replace(
        b"Content-Length: ", b"Content-Length: " + b"0" * 5_000
    ),
    post(b"/user_tags?x=1", TAG),
    post(b"/user_tags", TAG, b"X-Large: " + b"x" * 17_000),
    chunked(TAG, 7),
    chunked(b" " * 70_000, 9_000),
    post(b"/user_tags/batch", TAG + b"\n" + TAG),
    post(b"/user_tags/batch", TAG + b"\nnonsense\n\n" + TAG),
    post(b"/user_tags/batch", b""),
    *(coded(name, compress(TAG)) for name, compress in COMPRESSED.items()),
    *(coded(name, compress(TAG)[:-3]) for name, compress in COMPRESSED.items()),
    *(coded(name, compress(TAG) + b"more") for name, compress in COMPRESSED.items()),
    *(coded(name, compress(BOMB)) for name, compress in COMPRESSED.items()),
    post(PROFILE, b""),
    post(PROFILE + b"&limit=5", b""),
    post(PROFILE + b"&limit=none", b""),
    post(PROFILE, b"", b"X-Request-Id: mine"),
    post(b"/user_profiles/%ff", b""),
    post(b"/user_profiles/", b""),
    post(b"/user_tags", TAG, *UPGRADE),
    post(b"/user_tags", TAG, b"Connection: Upgrade", b"Upgrade: websocket"),
    post(b"/user_tags", TAG, *[b"Many: x"] * 101),
    post(
        b"/user_tags",
        b"%x;name=value\r\n%b\r\n0\r\nContent-Encoding: gzip\r\nX-Request-Id: no\r\n\r\n"
        % (len(TAG), TAG),
        b"Transfer-Encoding: chunked",
    ),
    b"GET /user_tags HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("hosts")
    servers = [Server(folder / "known"), Server(folder / "anew", "--forget-heads")]
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
    return VARIES.sub(b"", b"".join(received))


@pytest.mark.parametrize("request_bytes", REQUESTS, ids=range(len(REQUESTS)))
def test_every_kind_of_request_gets_the_same_answer(
    hosts: list[Server], request_bytes: bytes
) -> None:
    known, anew = (answers(host, [request_bytes, _LAST]) for host in hosts)

    assert known == anew
    assert known.startswith(b"HTTP/1.1 ")


def test_old_and_closing_connections_get_the_same_answer(hosts: list[Server]) -> None:
    for last in (
        post(b"/user_tags", TAG, version=b"1.0"),
        post(b"/user_tags", TAG, b"Connection: close"),
        post(b"/user_tags", TAG, b"Expect: 100-continue", b"Connection: close"),
    ):
        known, anew = (answers(host, [last]) for host in hosts)

        assert known == anew
        assert b" 204 " in known


def test_a_client_that_waits_before_its_body_is_told_to_go_on(hosts: list[Server]) -> None:
    head, body = post(b"/user_tags", TAG, b"Expect: 100-continue").split(b"\r\n\r\n")
    for server in hosts:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection:
            connection.sendall(head + b"\r\n\r\n")
            assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("named", SMUGGLED)
def test_what_is_torn_is_told_so_after_all_answers_before_it(
    hosts: list[Server], named: str
) -> None:
    sound = post(b"/user_tags", TAG) + post(PROFILE, b"") + post(b"/user_tags", TAG)

    known, anew = (
        answers(host, [sound + SMUGGLED[named].replace(b"/note", b"/user_tags") + _LAST])
        for host in hosts
    )

    assert known == anew
    assert [answer.status for answer in parse(known)] == [
        *(204, 200, 204),
        REFUSED.get(named, 400),
    ]


def test_a_head_without_end_is_refused_alike(hosts: list[Server]) -> None:
    endless = b"POST /user_tags HTTP/1.1\r\nName: " + b"x" * 400_000

    known, anew = (answers(host, [post(b"/user_tags", TAG), endless]) for host in hosts)

    assert known == anew
    assert [answer.status for answer in parse(known)] == [204, 431]


def test_a_body_that_is_refused_early_hides_nothing_behind_it(hosts: list[Server]) -> None:
    large = post(b"/user_tags", b" " * 1_000_000)
    pieces = [large[:1_000], large[1_000:], post(b"/user_tags", TAG), _LAST]

    known, anew = (answers(host, pieces) for host in hosts)

    assert known == anew
    assert [answer.status for answer in parse(known)] == [413, 204, 200]


def balance(server: Server) -> list[Any]:
    """Of every topic: whether its account is even, and its sums over all minutes."""
    client = Client(server.port)
    topics = client.get("/api/pipeline").json["topics"]
    client.close()
    columns = ("received", "stored", "duplicate", "rejected")
    return [
        (
            topic["balanced"],
            topic["end"],
            [sum(minute[column] for minute in topic["minutes"]) for column in columns],
        )
        for topic in topics
    ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    requests=st.lists(st.sampled_from(REQUESTS + TORN), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 4_000), max_size=8),
)
def test_pipelined_requests_in_any_pieces_are_answered_alike_and_in_order(
    hosts: list[Server], requests: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(requests) + _LAST
    bounds = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[low:high] for low, high in pairwise(bounds)]

    known, anew = (answers(host, pieces) for host in hosts)

    assert known == anew
    assert parse(known, [b"HEAD" if request[:4] == b"HEAD" else b"POST" for request in requests])


def test_at_the_end_both_have_stored_and_refused_the_same(hosts: list[Server]) -> None:
    for host in hosts:
        answers(host, [*[post(b"/user_tags", TAG)] * 3, post(b"/user_tags", b"{"), _LAST])

    assert eventually(lambda: "alike" if balance(hosts[0]) == balance(hosts[1]) else "")
    assert balance(hosts[0])[0][0]
    assert balance(hosts[0])[0][1] >= 3
