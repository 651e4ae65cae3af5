"""A ClickHouse server for tests: the thin one, as a process of its own, and its faults."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from services.ports import free_ports
from support.clickhouse_http import PASSWORD, USER


class ThinServer:
    """Started when entered. What it holds survives `kill`, and `start` brings it back."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self._folder = folder
        self._certificate = certificate
        self._port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    def url(
        self,
        database: str = "penstock",
        *,
        user: str = USER,
        password: str = PASSWORD,
        options: str = "",
    ) -> str:
        scheme = "clickhouses" if self._certificate else "clickhouse"
        who = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"{scheme}://{who}@127.0.0.1:{self._port}/{database}{options}"

    def start(self) -> None:
        certificate = [str(self._certificate)] if self._certificate else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.clickhouse_http", str(self._folder), str(self._port),
             *certificate],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """At once, as by a power cut of the host."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def faults(self, **faults: float) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/faults", json.dumps(faults).encode(), method="POST"
        )
        urllib.request.urlopen(request).read()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
