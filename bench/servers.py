"""Servers under measurement: started, pinned, awaited, stopped; each in a folder of its own."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

READY_SECONDS = 30.0
STOP_SECONDS = 30.0


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def memory_mb(self) -> dict[str, float]:
        memory = psutil.Process(self.process.pid).memory_full_info()
        return {"rss": memory.rss / 1e6, "pss": memory.pss / 1e6, "uss": memory.uss / 1e6}

    def positions(self) -> tuple[int, int]:
        """Records in the log, and of the projection that is furthest behind."""
        stages = self.get("/api/pipeline")
        end: int = stages["topics"][0]["end"]
        positions: Counter[str] = Counter()
        for stage in stages["projections"]:
            positions[stage["projection"]] += stage["position"]
        return end, min(positions.values(), default=0)


def penstock(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "penstock"), *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    folder: Path,
    *,
    core: int | None = None,
    ready: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A process that listens on `port`, pinned to a core if one is named."""

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stderr=log,
            env=os.environ | dict(environment or {}),
            preexec_fn=pin,  # noqa: PLW1509 - pins itself
        )
    server = Server(process, port, folder)
    try:
        _await(server, ready)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serving(
    folder: Path,
    *options: str,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> AbstractContextManager[Server]:
    """A Penstock on a free port, ready, with its data in the folder."""
    port = free_port()
    command = penstock("serve", "--data", str(folder / "data"), "--port", str(port), *options)
    return running(command, port, folder, core=core, ready="/readyz", environment=environment)


def _await(server: Server, path: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError((server.folder / "server.log").read_text()[-2000:])
        try:
            if path:
                server.get(path)
            else:
                socket.create_connection(("127.0.0.1", server.port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"no answer on port {server.port} after {READY_SECONDS} s")
