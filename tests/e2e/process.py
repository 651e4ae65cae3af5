"""The real command as a process of its own, and a client on one connection to it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from support.asking import PATIENT

PENSTOCK = Path(sys.executable).parent / "penstock"
PATIENCE_SECONDS = 45.0
"""Longest wait for anything; what is promised is not asserted by it."""
_SERVES = re.compile(r"serves (https?://127\.0\.0\.1:(\d+))")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, kept alive."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        self._connection.request(method, target, body, dict(headers or {}))
        response = self._connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, response.read())

    def get(self, target: str) -> Answer:
        return self.ask("GET", target)

    def until_ready(self) -> None:
        """What it starts with may take it a while."""
        eventually(lambda: "ready" if self.get("/readyz").status == 200 else "")

    def post(self, target: str, body: bytes = b"", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", target, body, named)

    def close(self) -> None:
        self._connection.close()


class Server:
    """`penstock serve` on a free port."""

    def __init__(
        self,
        data: Path,
        *options: str,
        environment: Mapping[str, str] = {},
        wrapper: Sequence[str] = (),
    ) -> None:
        self.errors = data.parent / f"{data.name}-{time.monotonic_ns()}.log"
        with self.errors.open("wb") as log:
            self.process = subprocess.Popen(
                [*wrapper, *command(data, options)],
                env=clean_environment(environment),
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.clients: list[Client] = []
        self.port = self._port()

    def client(self) -> Client:
        """A connection that ends with the server."""
        self.clients.append(Client(self.port))
        return self.clients[-1]

    def until_ready(self) -> None:
        """Its views were read, as after each start: whoever asks finds what there is."""
        with closing(Client(self.port)) as client:
            client.until_ready()

    def said(self) -> str:
        return self.errors.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        for client in self.clients:
            client.close()

    def _port(self) -> int:
        def port() -> str:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self.said()}")
            found = _SERVES.search(self.said())
            return found[2] if found else ""

        return int(eventually(port))


def command(data: Path, options: Sequence[str]) -> list[str]:
    return [str(PENSTOCK), "serve", "--data", str(data), "--port", "0", *options]


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")
    }
    return {**inherited, **PATIENT, **environment}


def failing(data: Path, *options: str, environment: Mapping[str, str] = {}) -> tuple[int, str]:
    """Status and standard error of a server that is not to come up."""
    ended = subprocess.run(
        command(data, options),
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return ended.returncode, ended.stderr


def eventually(question: Callable[[], str]) -> str:
    """The first answer that is not empty."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (answer := question()):
        if time.monotonic() > until:
            raise AssertionError("waited in vain")
        time.sleep(0.02)
    return answer
