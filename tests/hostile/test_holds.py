"""No request holds the event loop, whatever is in it (the watchdog's word, and not a clock's)."""

import re
import socket

import pytest

from attackers.requests import DEAR_NAMES, dear
from e2e.process import Client, Server
from hostile.exchange import everything

HELD = re.compile(rb"^penstock_loop_held_seconds (\S+)$", re.MULTILINE)
HELD_SECONDS = 0.05
"""Five times what is promised, for a machine that does other things too."""
PATIENCE_SECONDS = 20.0
ANSWERS = re.compile(rb"^HTTP/1\.1 (\d+)", re.MULTILINE)
AT_ONCE = 3
"""The first wakes a watchdog that rests, the others are seen."""


def held(client: Client) -> float:
    found = HELD.search(client.get("/metrics").body)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("name", DEAR_NAMES)
def test_the_loop_is_not_held_by(name: str, server: Server, client: Client) -> None:
    """Reliability 42."""
    held(client)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as connection:
        for _ in range(AT_ONCE):
            connection.sendall(dear(name))
        connection.shutdown(socket.SHUT_WR)
        statuses = set(ANSWERS.findall(everything(connection)))
    assert statuses <= {b"200", b"204", b"400", b"413", b"431"}
    assert statuses
    assert held(client) < HELD_SECONDS
