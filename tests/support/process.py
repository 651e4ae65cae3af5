"""The real command line as a process of its own, and plain HTTP to it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

COMMAND = str(Path(sys.executable).with_name("penstock"))
PATIENCE_SECONDS = 180.0
_SERVES = re.compile(r"penstock \S+ serves (http://\S+)")


class Unsettled(Exception):
    """There was no answer: whether it was done is unknown."""


class Process:
    """`penstock serve` on a free port. `url` waits until it answers."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, *options: str
    ) -> None:
        self.folder = folder
        self._errors = folder.parent / f"{uuid4().hex}.stderr"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--port", "0", "--data", str(folder), *options],
                stderr=errors,
                env={**clean(), "PENSTOCK_DISK_FREE_BYTES_MIN": "0", **(environment or {})},
            )

    @property
    def url(self) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := _SERVES.search(self.errors())) is None:
            assert self.process.poll() is None, self.errors()
            assert time.monotonic() < deadline, self.errors()
            time.sleep(0.01)
        return found[1]

    def errors(self) -> str:
        return self._errors.read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            self.kill()


def clean() -> dict[str, str]:
    """The environment, without anybody's settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}


class Connection:
    """One kept-alive connection."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            str(address.hostname), address.port, timeout=PATIENCE_SECONDS
        )

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Raise `Unsettled` when the server went away before it answered."""
        try:
            self._connection.request(method, path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unsettled from error

    def json(self, method: str, path: str) -> Any:
        status, body = self.ask(method, path)
        assert status == 200, body
        return json.loads(body)

    def close(self) -> None:
        self._connection.close()


def caught_up(url: str) -> dict[str, Any]:
    """Wait until every projection has everything; the pipeline as it stands then."""
    connection = Connection(url)
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while True:
            pipeline: dict[str, Any] = connection.json("GET", "/api/pipeline")
            lags = [stage["lag_records"] for stage in pipeline["projections"]]
            if not any(lags):
                return pipeline
            assert time.monotonic() < deadline, pipeline
            time.sleep(0.02)
    finally:
        connection.close()
