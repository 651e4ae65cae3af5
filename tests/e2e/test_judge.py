"""The process that judges what is dear to judge, beside a server."""

import gzip
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from apps.audiences.tags import a_tag, encoded
from e2e.process import PATIENCE_SECONDS, Server

Serve = Callable[..., Server]
BATCH = gzip.compress(b"\n".join(encoded(a_tag(cookie=f"c{n}")) for n in range(100)))


def children(pid: int) -> list[int]:
    found: list[str] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            found += (task / "children").read_text().split()
    return list(map(int, found))


def test_it_is_started_when_needed_replaced_when_killed_and_ends_with_the_server(
    serve: Serve,
) -> None:
    """Reliability 42."""
    server = serve()
    client = server.client()
    assert children(server.process.pid) == []

    def accepted() -> int:
        answer = client.post("/user_tags/batch", BATCH, Content_Encoding="gzip")
        assert answer.status == 200
        return int(answer.json["accepted"])

    assert accepted() == 100
    (judge,) = children(server.process.pid)
    os.kill(judge, signal.SIGKILL)
    assert accepted() == 100
    (other,) = children(server.process.pid)
    assert other != judge
    assert "worker.died" in server.errors.read_text()
    os.kill(server.process.pid, signal.SIGKILL)
    until = time.monotonic() + PATIENCE_SECONDS
    while Path(f"/proc/{other}").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
