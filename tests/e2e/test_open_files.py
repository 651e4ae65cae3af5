"""Every client is an open file: the limit of them is as high as the system lets it be."""

import resource
import socket
from collections.abc import Callable, Iterator

import pytest

from e2e.certificates import penstock
from e2e.process import PATIENCE_SECONDS, Server

pytestmark = pytest.mark.e2e

SOFT, CLIENTS = 256, 400
ASKED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def few_files() -> Iterator[Callable[[], None]]:
    """What is started has a low soft limit until `many` is called; the test needs more itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = hard if hard != resource.RLIM_INFINITY else 4_096
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, hard))
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (many, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_clients_than_the_soft_limit_of_files_are_served(
    serve: Callable[..., Server], few_files: Callable[[], None]
) -> None:
    server = serve("--role", "edge")  # the warehouse, where it is loaded, raises it as well
    few_files()
    clients = [
        socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
        for _ in range(CLIENTS)
    ]
    for client in clients:
        client.sendall(ASKED)
    answers = [client.recv(1_024)[:12] for client in clients]
    for client in clients:
        client.close()
    assert answers == [b"HTTP/1.1 200"] * CLIENTS


def test_the_doctor_tells_what_serve_will_have_and_what_the_shell_has(
    tmp_path_factory: pytest.TempPathFactory, few_files: Callable[[], None]
) -> None:
    examined = penstock(tmp_path_factory.mktemp("doctor"), "doctor")
    (line,) = [line for line in examined.stdout.splitlines() if line.startswith("open files")]
    assert str(SOFT) in line or "no limit" in line
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert str(hard) in line or "no limit" in line
