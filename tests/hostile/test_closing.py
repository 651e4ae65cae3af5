"""Who is refused reads why, whatever was still on its way; who ends its own side gets its answers.

RFC 9112 section 9.6, and 9110 section 10.1.1 of those who ask before they send.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import pytest

from e2e.process import Client, Server
from hostile.exchange import REPEATS, WAIT_SECONDS, end, everything, one, posted, settled
from hostile.table import AGGREGATES, PROFILE, TAG, chunked, chunks, get, post
from support.answers import Answered, parse

MEGABYTE = b" " * 1_000_000
SILENT_SECONDS = 0.2


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found is not None, answer
    return int(found[1])


# -- refused while it is sending ------------------------------------------------------------------


@pytest.mark.parametrize("megabytes", [1, 5, 7])
def test_who_posts_too_much_reads_its_413(server: Server, megabytes: int) -> None:
    """As Python's own client does it: all of the body first, and then the answer is read."""
    for _ in range(REPEATS):
        assert posted(server.port, MEGABYTE * megabytes) == 413


REFUSED = {
    "a head that is too large": (431, post(b"X-A: " + b"b" * 17_000, body=MEGABYTE)),
    "no request line": (400, b"nonsense\r\nHost: x\r\n\r\n" + MEGABYTE),
    "two lengths": (400, post(b"Content-Length: 5", body=MEGABYTE)),
    "an unknown version": (505, post(line=b"POST /user_tags HTTP/3.0", body=MEGABYTE)),
    "no Host": (400, post(host=None, body=MEGABYTE)),
    "an unknown transfer coding": (501, chunked(MEGABYTE).replace(b"chunked", b"gzip, chunked")),
    "an unknown method": (501, post(line=b"XYZZY /user_tags HTTP/1.1", body=MEGABYTE)),
    "another path": (404, post(line=b"POST /nowhere HTTP/1.1", body=MEGABYTE)),
    "another coding": (415, post(b"Content-Encoding: other", body=MEGABYTE)),
    "a torn chunk": (400, chunked(b"nonsense\r\n" + MEGABYTE)),
    "a chunk that is too large": (413, chunked(b"f4240\r\n" + MEGABYTE + b"\r\n0\r\n\r\n")),
    "many chunks": (413, chunked((b"3e8\r\n" + b" " * 1_000 + b"\r\n") * 1_000 + b"0\r\n\r\n")),
    "too much, and HTTP/1.0": (413, post(line=b"POST /user_tags HTTP/1.0", body=MEGABYTE)),
    "too much, and close": (413, post(b"Connection: close", body=MEGABYTE)),
    "a request behind one that closes": (204, post(b"Connection: close") + post(body=MEGABYTE)),
    "garbage behind one that closes": (204, post(b"Connection: close") + MEGABYTE),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_who_is_refused_while_it_sends_reads_why(
    server: Server, client: Client, refused: str
) -> None:
    expected, sent = REFUSED[refused]
    before = end(client)
    for _ in range(REPEATS // 2):
        with connected(server) as connection:
            # Some answers leave as soon as the head is there; that must stop nobody who sends on.
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            (answer,) = parse(everything(connection))
        assert answer.status == expected or (expected, answer.status) == (505, 400)
    acknowledged = REPEATS // 2 if expected == 204 else 0
    assert settled(client) - before == acknowledged


@pytest.mark.parametrize("length", [b"70000", b"70000 ", b"\t70000\t", b"0070000"])
def test_an_announced_413_comes_before_the_body(server: Server, length: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(post(b"Content-Length:" + length, body=b"", sized=False))
        answer = one(connection)
        assert status(answer) == 413
        if b"connection: close" in answer.lower():
            assert everything(connection) is not None
        else:
            connection.sendall(b" " * 70_000 + post())
            assert status(one(connection)) == 204


@pytest.mark.parametrize("length", [b"100000000", b"9223372036854775807", b"9" * 19])
def test_a_413_for_more_than_will_be_drained_says_that_it_closes(
    server: Server, length: bytes
) -> None:
    with connected(server) as connection:
        connection.sendall(post(b"Content-Length: " + length, body=b"", sized=False))
        (answer,) = parse(everything(connection))
    assert answer.status in (400, 413)
    assert answer.closes


def test_a_chunk_that_is_too_large_is_refused_before_it_comes(server: Server) -> None:
    """Reliability 20."""
    with connected(server) as connection:
        connection.sendall(chunked(b"ffffffff\r\n"))
        assert status(one(connection)) == 413


def test_a_body_without_end_is_given_up(server: Server) -> None:
    """Reliability 20: the refusal is read by who reads meanwhile; the rest is nobody's any more."""
    with connected(server) as connection:
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(one(connection)))
        reader.start()
        connection.sendall(chunked(b""))
        with suppress(OSError):
            for _ in range(100):
                connection.sendall(b"f4240\r\n" + MEGABYTE + b"\r\n")
            pytest.fail("it took 100 MB of a body that may have 64 KiB")
        reader.join(WAIT_SECONDS)
    assert status(received[0]) == 413


# -- the client ends its side ---------------------------------------------------------------------

_HALF = post()[: -len(TAG) // 2]
ENDED = {
    "a tag": (post(), [204]),
    "three tags": (post() * 3, [204, 204, 204]),
    "a tag in chunks": (chunked(chunks()), [204]),
    "a tag that closes": (post(b"Connection: close"), [204]),
    "a tag of HTTP/1.0": (post(line=b"POST /user_tags HTTP/1.0"), [204]),
    "queries": (
        get(b"POST %b HTTP/1.1" % AGGREGATES) + get(b"POST %b HTTP/1.1" % PROFILE),
        [200, 200],
    ),
    "operators' paths": (
        b"".join(get(b"GET %b HTTP/1.1" % path) for path in (b"/readyz", b"/metrics", b"/healthz")),
        [200, 200, 200],
    ),
    "a hundred tags and queries": (
        (post() + get(b"POST %b HTTP/1.1" % AGGREGATES)) * 50,
        [204, 200] * 50,
    ),
    "what is refused": (post(body=b"{") + get(b"POST /nowhere HTTP/1.1"), [400, 404]),
}


@pytest.mark.parametrize("ended", ENDED)
def test_who_has_said_all_gets_all_answers(server: Server, client: Client, ended: str) -> None:
    sent, statuses = ENDED[ended]
    before = end(client)
    for _ in range(REPEATS // 4):
        with connected(server) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answers = parse(everything(connection))
        assert [answer.status for answer in answers] == statuses
    assert settled(client) - before == statuses.count(204) * (REPEATS // 4)


CUT = {
    "within a line": post()[:10],
    "within a head": post()[:40],
    "before a body": post()[: -len(TAG)],
    "within a body": _HALF,
    "within a chunk": chunked(chunks()[:20]),
    "before the last chunk": chunked(chunks()[: -len(b"0\r\n\r\n")]),
    "within trailers": chunked(chunks()[:-2] + b"X-A: b\r\n"),
    "behind a tag": post() + _HALF,
}


@pytest.mark.parametrize("cut", CUT)
def test_what_ends_too_early_is_not_executed_and_not_waited_for(
    server: Server, client: Client, cut: str
) -> None:
    whole = cut == "behind a tag"
    before = end(client)
    with connected(server) as connection:
        connection.sendall(CUT[cut])
        connection.shutdown(socket.SHUT_WR)
        answers = [answer.status for answer in parse(everything(connection))]
    assert answers[: int(whole)] == [204] * whole
    assert answers[int(whole) :] in ([], [400], [408])
    assert settled(client) - before == int(whole)


# -- asked before it is sent ----------------------------------------------------------------------


def asked(
    server: Server,
    *fields: bytes,
    line: bytes = b"POST /user_tags HTTP/1.1",
    wait_seconds: float = WAIT_SECONDS,
) -> list[int]:
    """Statuses of a client that sends its body once it is told to, or after a while."""
    head, _, body = post(*fields, line=line).partition(b"\r\n\r\n")
    with connected(server) as connection:
        connection.sendall(head + b"\r\n\r\n")
        connection.settimeout(wait_seconds)
        first = b""
        with suppress(TimeoutError):
            first = connection.recv(65_536)
        connection.settimeout(WAIT_SECONDS)
        statuses = [status(first)] if first else []
        if statuses in ([], [100]):
            connection.sendall(body)
            statuses.append(status(one(connection)))
        return statuses


@pytest.mark.parametrize(
    "fields",
    [
        (b"Expect: 100-continue",),
        (b"Expect: 100-continue ",),
        (b"Expect:\t100-continue\t",),
        (b"Expect:100-Continue",),
        (b"EXPECT: 100-CONTINUE",),
        (b"Expect: 100-continue", b"Expect: 100-continue"),
    ],
)
def test_who_waits_before_the_body_is_told_to_go_on(
    server: Server, fields: tuple[bytes, ...]
) -> None:
    assert asked(server, *fields) == [100, 204]


def test_who_speaks_http_1_0_is_told_nothing_that_it_does_not_know(server: Server) -> None:
    line = b"POST /user_tags HTTP/1.0"
    for fields in ((), (b"Connection: keep-alive",)):
        expects = (b"Expect: 100-continue", *fields)
        assert asked(server, *expects, line=line, wait_seconds=SILENT_SECONDS) == [204]


@pytest.mark.parametrize(
    ("fields", "line", "expected"),
    [
        ((b"Content-Encoding: other",), b"POST /user_tags HTTP/1.1", 415),
        ((), b"POST /nowhere HTTP/1.1", 404),
        ((), b"PUT /user_tags HTTP/1.1", 405),
        ((b"Host: y",), b"POST /user_tags HTTP/1.1", 400),
        ((b"X-A: " + b"b" * 17_000,), b"POST /user_tags HTTP/1.1", 431),
    ],
)
def test_who_waits_before_a_body_that_is_not_wanted_is_told_so(
    server: Server, fields: tuple[bytes, ...], line: bytes, expected: int
) -> None:
    assert asked(server, b"Expect: 100-continue", *fields, line=line) == [expected]


def test_another_expectation_is_refused_or_not_noticed(server: Server) -> None:
    told = asked(server, b"Expect: a-miracle", wait_seconds=SILENT_SECONDS)
    assert told[-1] in (204, 417)


# -- white space ----------------------------------------------------------------------------------


def test_a_key_is_the_same_with_white_space_around_it(server: Server, client: Client) -> None:
    key = str(uuid4()).encode()
    before = end(client)
    sent = b"".join(
        post(b"Idempotency-Key:" + k) for k in (key, b" " + key + b" ", b"\t%b\t" % key)
    )
    with connected(server) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answers: list[Answered] = parse(everything(connection))
    assert [answer.status for answer in answers] == [204, 204, 204]
    assert settled(client) - before == 1
