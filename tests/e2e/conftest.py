from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.process import Server

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers on one data folder; all of them end with the test."""
    started: list[Server] = []

    def start(*options: str, **environment: str) -> Server:
        named = {f"PENSTOCK_{name.upper()}": value for name, value in environment.items()}
        started.append(Server(tmp_path / "data", *options, environment=named))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="module", params=["remembered", "parsed"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One that serves a whole module, with heads remembered and with each parsed anew."""
    options = ["--forget-heads"] if request.param == "parsed" else []
    running = Server(tmp_path_factory.mktemp("server") / "data", *options)
    running.until_ready()
    yield running
    running.kill()
