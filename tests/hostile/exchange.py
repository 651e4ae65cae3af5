"""Some bytes to a server over a socket, and all that comes of them."""

import socket
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any

from e2e.process import Client, Server
from hostile.table import TAG, Row, post
from support.answers import Answered, parse

WAIT_SECONDS = 5.0
"""Longer than anything that is answered at once, and shorter than what gives up waiting."""
PIECES = 40
REPEATS = 20
"""Of what depends on who is faster, the refusal or what is still sent."""
BEHIND = post(b"Connection: close")
"""Stands behind all that is sent: answered where the connection is kept, and never stored else."""


def exchange(
    server: Server, pieces: Sequence[bytes], methods: Iterable[bytes] = ()
) -> list[Answered]:
    """All answers until the server closes. Raise where it does not, or an answer cannot be read."""
    with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BrokenPipeError, ConnectionResetError):  # it had enough; its answer counts
            for piece in pieces:
                connection.sendall(piece)
        return parse(everything(connection), methods)


def posted(port: int, body: bytes) -> int:
    """The status that Python's own client reads: it sends all of the body, and then reads."""
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    with closing(connection):
        connection.request("POST", "/user_tags", body)
        response = connection.getresponse()
        response.read()
        return response.status


def one(connection: socket.socket) -> bytes:
    """Until an answer without a body, or with a short one, is there."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65_536)
        assert data, received
        received += data
    return received


def everything(connection: socket.socket) -> bytes:
    """All bytes until the other side ends."""
    received = []
    while data := connection.recv(65_536):
        received.append(data)
    return b"".join(received)


def end(client: Client) -> int:
    """Of the log: how many events it has."""
    pipeline: dict[str, Any] = client.get("/api/pipeline").json
    (topic,) = pipeline["topics"]
    return int(topic["end"])


def settled(client: Client) -> int:
    """`end`, once a tag went through: what was on its way into the log before it is there."""
    assert client.post("/user_tags", TAG).status == 204
    return end(client) - 1


def check(server: Server, client: Client, row: Row) -> None:
    """Hold what comes of a row against it, sent at once and sent in pieces."""
    bounds = [len(row.sent) * n // PIECES for n in range(PIECES + 1)]
    before = end(client)
    stores = _check(server, row, [row.sent])
    stores += _check(server, row, [row.sent[low:high] for low, high in pairwise(bounds)])
    assert settled(client) - before == stores, "not what was answered is what was stored"


def _check(server: Server, row: Row, pieces: Sequence[bytes]) -> int:
    """How many events were acknowledged."""
    expected = len(row.answers)
    answers = exchange(server, [*pieces, BEHIND], [row.method] * expected)
    statuses = [answer.status for answer in answers]
    kept = len(answers) > expected
    right = [status in allowed for status, allowed in zip(statuses, row.answers, strict=False)]
    assert right == [True] * expected, f"{statuses}, not {[sorted(a) for a in row.answers]}"
    assert statuses[expected:] == [204] * kept, statuses
    assert row.then in ("either", "kept" if kept else "closed"), f"{row.then}, but {statuses}"
    last = answers[expected - 1]
    assert not row.told or last.closes != kept, f"what it says of the connection: {last.fields}"
    for name, part in row.fields:
        assert part in last.fields.get(name, b""), last.fields
    return statuses.count(204) if row.events else int(kept)
