"""A whole platform on this process's loop, asked without a socket."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog

from apps.audiences.tags import Tag, encoded
from penstock.core import settings as configuration
from penstock.core.clock import Clock, SystemClock
from penstock.core.health import Health
from penstock.core.pages import Pages
from penstock.core.platform import ROLES, Platform
from penstock.core.telemetry import Bounded
from penstock.main import manifests
from support.asking import PATIENT
from support.pipes import asked

T = TypeVar("T")
_SETTLED_SECONDS = 60.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and code."""
        return self.status, self.json["error"]


class Ask(NamedTuple):
    """A request."""

    path: str
    query: str = ""
    body: bytes = b""
    method: str = "POST"
    headers: Mapping[str, str] = {}
    pieces: int = 1
    """In how many the body arrives."""


class Served:
    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] = PATIENT,
        *,
        clock: Clock | None = None,
        roles: Sequence[str] = ROLES,
    ) -> None:
        self.folder = folder
        self.lines: list[dict[str, Any]] = []
        """What was logged, in order."""
        self._environment = environment
        self._clock = clock or SystemClock()
        self._roles = roles
        self._runner = asyncio.Runner()
        self._others = set(threading.enumerate())
        self.platform = self._open()

    def reopen(self) -> None:
        """Stop cleanly and start again on the same folder."""
        self._stop()
        self.platform = self._open()

    def close(self) -> None:
        self._stop()
        self._runner.close()

    def _stop(self) -> None:
        """A platform waits for nothing that hangs; who comes next needs the engine that it has."""
        self.platform.close()
        deadline = time.monotonic() + _SETTLED_SECONDS
        for thread in set(threading.enumerate()) - self._others:
            if thread.name.startswith("penstock-"):
                thread.join(deadline - time.monotonic())
                assert not thread.is_alive(), f"{thread.name} is left behind"

    # -- asking ---------------------------------------------------------------------------------

    def ask(self, ask: Ask) -> Answer:
        return self.run(self._ask(ask))

    def at_once(self, asks: Iterable[Ask]) -> list[Answer]:
        """All under way together, begun in this order."""

        async def gathered() -> list[Answer]:
            return list(await asyncio.gather(*map(self._ask, asks)))

        return self.run(gathered())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def get(self, path: str) -> Answer:
        return self.ask(Ask(path, method="GET"))

    def until(self, path: str, status: int) -> Answer:
        """What it answers once it answers so."""
        deadline = time.monotonic() + _SETTLED_SECONDS
        while (answer := self.get(path)).status != status:
            assert time.monotonic() < deadline, answer
            time.sleep(0.02)
        return answer

    def tag(self, tag: Tag) -> None:
        answer = self.ask(Ask("/user_tags", body=encoded(tag)))
        assert (answer.status, answer.body) == (204, b"")

    def tags(self, tags: Iterable[Tag]) -> None:
        """Accepted in this order."""
        listed = list(tags)
        for first in range(0, len(listed), 1000):
            lines = b"\n".join(encoded(tag) for tag in listed[first : first + 1000])
            answer = self.ask(Ask("/user_tags/batch", body=lines))
            assert answer.json["rejected"] == []

    def profile(self, cookie: str, query: str, body: bytes = b"") -> Answer:
        return self.ask(Ask(f"/user_profiles/{cookie}", query, body))

    def aggregates(self, query: str, body: bytes = b"") -> Answer:
        return self.ask(Ask("/aggregates", query, body))

    def rows(self, query: str) -> list[list[str]]:
        answer = self.aggregates(query)
        assert answer.status == 200, answer.body
        rows: list[list[str]] = answer.json["rows"]
        return rows

    def settle(self) -> None:
        """Until both views have everything that was accepted; waiting is not what is tested."""
        end = self.platform.follow.end("audiences.tags", 0)
        until = time.monotonic() + _SETTLED_SECONDS
        cursors = [c.cursors[0] for c in self.platform.consumers.values()]
        while any(cursor.position < end for cursor in cursors):
            assert time.monotonic() < until, [cursor.status() for cursor in cursors]
            time.sleep(0.002)

    def told(self) -> list[dict[str, Any]]:
        """The lines of requests: what works beside them may have something to say as well."""
        return [line for line in self.lines if line["event"].startswith("request.")]

    def metric(self, sample: str) -> float | None:
        """Value of a line of `/metrics`, by its name and labels; None when there is none."""
        answer = self.get("/metrics")
        for line in answer.body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return None

    # -- inside ---------------------------------------------------------------------------------

    def _open(self) -> Platform:
        structs = {application.name: application.settings for application in manifests()}
        settings, applications = configuration.load(
            self._environment, structs, {"data": str(self.folder)}
        )
        platform = Platform(
            settings,
            applications,
            manifests(),
            clock=self._clock,
            logger=self._logger(),
            roles=self._roles,
        )
        platform.edge.attach(self._runner.get_loop())
        health = Health(platform)
        health.offer()
        Pages(platform, health).offer()
        platform.start()
        until = time.monotonic() + _SETTLED_SECONDS
        while platform.watch._unread:  # a busy machine reads them for longer than a start waits
            assert time.monotonic() < until
            time.sleep(0.005)
        return platform

    def _logger(self) -> structlog.typing.FilteringBoundLogger:
        def keep(_: object, level: str, line: structlog.typing.EventDict) -> str:
            self.lines.append({**line, "level": level})
            raise structlog.DropEvent

        logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            None,
            processors=[Bounded(SystemClock()), structlog.processors.format_exc_info, keep],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )
        return logger

    async def _ask(self, ask: Ask) -> Answer:
        given = [f"{name}: {value}" for name, value in ask.headers.items()]
        query = f"?{ask.query}" if ask.query else ""
        lines = [f"{ask.method} {ask.path}{query} HTTP/1.1", "Host: tests", *given]
        size = len(ask.body) // ask.pieces + 1
        pieces = [ask.body[at : at + size] for at in range(0, len(ask.body), size)]
        if any(name.lower() == "transfer-encoding" for name in ask.headers):
            pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
        else:
            lines.append(f"Content-Length: {len(ask.body)}")
        head = "\r\n".join([*lines, "", ""]).encode()
        return Answer(*await asked(self.platform.edge, ask.method, [head, *pieces]))
