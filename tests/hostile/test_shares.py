"""One address takes no more than its share of the connections, and who works loses none.

All from addresses of the loopback, of which Linux has many.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from e2e.process import Client, Server
from hostile.exchange import WAIT_SECONDS, one
from hostile.table import post

CONNECTIONS_MAX = 60
MANY = 200
CROWD, NEIGHBOUR = "127.0.1.1", "127.0.0.2"
TURNS = 40
"""Enough for every idle connection to come and go while the others work."""


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        "PENSTOCK_LOG_FORMAT": "json",
        "PENSTOCK_CONNECTIONS_MAX": str(CONNECTIONS_MAX),
    }
    folder = tmp_path_factory.mktemp("bounded") / "data"
    running = Server(folder, "--role", "edge", environment=environment)
    yield running
    running.kill()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(opened: ExitStack, server: Server, address: str) -> socket.socket:
    connection = socket.create_connection(
        ("127.0.0.1", server.port), WAIT_SECONDS, source_address=(address, 0)
    )
    return opened.enter_context(connection)


def works(connection: socket.socket) -> bool:
    connection.sendall(post())
    return one(connection).startswith(b"HTTP/1.1 204 ")


def still_open(connections: list[socket.socket]) -> int:
    """How many the server has not closed; nothing was asked on them, so there is nothing else."""
    found = 0
    for connection in connections:
        connection.settimeout(0.0)
        try:
            connection.recv(1)
        except BlockingIOError:
            found += 1
        except ConnectionError:
            pass
    return found


def settled(connections: list[socket.socket], most: int) -> int:
    """How many are open once there are no more than these, or after a while."""
    until = time.monotonic() + WAIT_SECONDS
    while (found := still_open(connections)) > most and time.monotonic() < until:
        time.sleep(0.05)
    return found


def test_a_crowd_of_one_address_leaves_room_for_others(bounded: Server, opened: ExitStack) -> None:
    """Reliability 21 and 43."""
    crowd = [connect(opened, bounded, CROWD) for _ in range(MANY)]

    neighbours = [connect(opened, bounded, NEIGHBOUR) for _ in range(5)]
    assert all(map(works, neighbours))
    assert settled(crowd, CONNECTIONS_MAX - len(neighbours)) <= CONNECTIONS_MAX - len(neighbours)
    assert all(map(works, neighbours))


def test_who_works_is_not_closed_for_who_only_comes(bounded: Server, opened: ExitStack) -> None:
    """Of the same address: the idlest go first."""
    workers = [connect(opened, bounded, CROWD) for _ in range(5)]
    for _ in range(TURNS):
        for _ in range(MANY // TURNS):
            connect(opened, bounded, CROWD)
        assert all(map(works, workers))


def test_who_waits_for_an_answer_is_not_idle(bounded: Server, opened: ExitStack) -> None:
    """A body that is still coming is work too, as long as it comes."""
    slow = connect(opened, bounded, NEIGHBOUR)
    sent = post()
    slow.sendall(sent[:-TURNS])
    for byte in sent[-TURNS:]:
        for _ in range(MANY // TURNS):
            connect(opened, bounded, CROWD)
        slow.sendall(bytes([byte]))
    assert one(slow).startswith(b"HTTP/1.1 204 ")


def test_without_a_crowd_nobody_is_closed(bounded: Server, opened: ExitStack) -> None:
    few = [connect(opened, bounded, NEIGHBOUR) for _ in range(10)]
    client = Client(bounded.port)
    assert client.get("/healthz").status == 200
    client.close()
    assert still_open(few) == len(few)
