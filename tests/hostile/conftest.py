"""One server for a whole module; standard error is JSON, as in production.

Heads are remembered, as they are by default. That a server that parses each anew puts the same
bytes on the wire is held by `tests/e2e/test_hosts.py`.
"""

from collections.abc import Iterator

import pytest

from e2e.process import Client, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile") / "data"
    running = Server(folder, environment={"PENSTOCK_LOG_FORMAT": "json"})
    running.until_ready()
    yield running
    running.kill()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A well-behaved one."""
    one = Client(server.port)
    yield one
    one.close()
