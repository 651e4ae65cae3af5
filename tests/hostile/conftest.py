"""One server of each host for a whole module; standard error is JSON, as in production."""

from collections.abc import Iterator

import pytest

from e2e.process import Client, Server

HOSTS = {"lane": (), "asgi": ("--no-fast-lane",)}


@pytest.fixture(scope="module", params=HOSTS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """`penstock serve` and `penstock serve --no-fast-lane`: the same is promised of both."""
    folder = tmp_path_factory.mktemp("hostile") / "data"
    running = Server(folder, *HOSTS[request.param], environment={"PENSTOCK_LOG_FORMAT": "json"})
    yield running
    running.kill()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A well-behaved one."""
    one = Client(server.port)
    yield one
    one.close()
