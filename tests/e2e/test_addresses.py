"""Where a server may listen, and that it is found there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from e2e.certificates import penstock
from support.process import Connection, Process


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Serve on a host; the URL that is announced."""
    started: list[Process] = []

    def start(host: str) -> str:
        started.append(Process(tmp_path / "data", {"PENSTOCK_HOST": host}))
        return started[-1].url

    yield start
    for process in started:
        process.end()


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::1", "[::1]"),
        ("::", "[::]"),
    ],
)
def test_the_announced_address_answers_clients_and_the_tools(
    serving: Callable[[str], str], tmp_path: Path, host: str, place: str
) -> None:
    url = serving(host)
    assert url == f"http://{place}:{urlsplit(url).port}"
    connection = Connection(url)
    assert connection.ask("GET", "/healthz")[0] == 200
    connection.close()
    topics = penstock(tmp_path / "data", "topics")
    assert topics.returncode == 0, topics.stderr


def test_all_addresses_of_ipv6_are_those_of_ipv4_too(serving: Callable[[str], str]) -> None:
    port = urlsplit(serving("::")).port
    connection = Connection(f"http://127.0.0.1:{port}")
    assert connection.ask("GET", "/healthz")[0] == 200
    connection.close()
