"""Every client is an open file: the limit of them is as high as the system lets it be."""

import resource
import socket
from pathlib import Path

from e2e.certificates import penstock
from e2e.process import PATIENCE_SECONDS, Server

SOFT, CLIENTS = 256, 400
FEW_FILES = ("sh", "-c", f'ulimit -Sn {SOFT}; exec "$@"', "sh")
"""Starts what follows with a low soft limit; the tests need more files themselves."""
ASKED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def test_more_clients_than_the_soft_limit_of_files_are_served(tmp_path: Path) -> None:
    # An edge alone, for the warehouse, where it is loaded, raises the limit as well.
    """Reliability 43."""
    server = Server(tmp_path / "data", "--role", "edge", wrapper=FEW_FILES)
    clients = []
    try:
        for _ in range(CLIENTS):
            clients.append(socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS))
            clients[-1].sendall(ASKED)
        answers = [client.recv(1_024)[:12] for client in clients]
    finally:
        for client in clients:
            client.close()
        server.kill()
    assert answers == [b"HTTP/1.1 200"] * CLIENTS


def test_the_doctor_tells_what_serve_will_have_and_what_the_shell_has(tmp_path: Path) -> None:
    examined = penstock(tmp_path, "doctor", wrapper=FEW_FILES)
    (line,) = [line for line in examined.stdout.splitlines() if line.startswith("open files")]
    assert str(SOFT) in line or "no limit" in line
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert str(hard) in line or "no limit" in line
