"""The edge over a socket, asked with raw pieces of requests."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import msgspec

from penstock.core.clock import Clock
from penstock.core.edge import Received, Reply, Response
from penstock.core.edge.connection import Connection
from penstock.core.edge.connections import Connections
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.endpoints import AnswerEndpoint, IngestEndpoint, Way
from penstock.core.edge.origins import Origins
from penstock.core.errors import Rejected
from penstock.core.events import Undecodable
from penstock.core.ids import Ids
from penstock.core.log import Append, Done
from penstock.core.log.memory import MemoryLog
from penstock.core.settings import Settings
from penstock.core.telemetry import Registry
from penstock.core.worker import Worker
from support.clock import MovedClock
from support.lines import Lines
from support.notes import NOTES, Noted, codec

BODY_BYTES_MAX = 1_000
SWEEP_SECONDS = 0.02
BACKLOG = 1_024
"""As the server has it: asyncio's own hundred is too few for a hundred clients at once."""
SECRET = "the password is swordfish"  # no secret: the test looks for it in answers
NOTE, ASK, FAIL = "/note", "/ask/{name}", "/fail"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> tuple[int, str]:
        return self.status, msgspec.json.decode(self.body)["error"]


class HeldLog(MemoryLog):
    """Answers submissions only when it is let, as a slow disk would."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.held = False
        self._waiting: list[tuple[Sequence[Append], Done]] = []

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        if self.held:
            self._waiting.append((appends, done))
        else:
            super().submit(appends, done)

    def let_go(self) -> None:
        self.held = False
        for appends, done in self._waiting:
            super().submit(appends, done)
        self._waiting.clear()


class Rig:
    """An edge with three operations: note something, ask something, fail."""

    def __init__(self, settings: Settings | None = None, judge: Worker | None = None) -> None:
        self.clock = MovedClock()
        self.log = HeldLog(self.clock)
        self.lines = Lines()
        self.registry = Registry()
        self.edge = Dispatcher(
            settings or Settings(),
            log=self.log,
            clock=self.clock,
            ids=Ids(self.clock),
            logger=self.lines.logger,
            registry=self.registry,
            judge=judge,
        )
        self.registry.sources.append(self.edge)
        pages = Origins(self.edge.settings.origins) or None
        self.edge.add("POST", NOTE, replace(note_endpoint, pages=pages))
        for method, path, answer in (("GET", ASK, _answer), ("GET", FAIL, _fail)):
            self.edge.add(
                method,
                path,
                AnswerEndpoint(operation="tests.ask", body_bytes_max=BODY_BYTES_MAX, answer=answer),
            )


def _ingest(received: Received) -> Reply:
    if received.body == b"reject":
        raise Rejected("not this one", code="bad_field")
    if received.body == b"fail":
        raise ValueError(SECRET)
    if received.body == b"die":
        os._exit(7)
    if received.body == b"nothing":
        return Reply((), Response.json({"accepted": 0}), rejected=3)
    key = received.headers.get(b"idempotency-key", b"").decode()
    return Reply((Noted(len(received.body)),), idempotency_key=key)


note_endpoint = IngestEndpoint(
    operation="tests.note",
    body_bytes_max=BODY_BYTES_MAX,
    topic=NOTES.name,
    ways={Noted: Way(NOTES.name, codec.encode, codec.of, lambda _: b"")},
    ingest=_ingest,
)


async def _answer(received: Received) -> Response:
    return Response.json({"name": received.parameters[0], "query": received.query.decode()})


async def _fail(received: Received) -> Response:
    if received.query == b"stored":
        raise Undecodable(SECRET)
    raise ValueError(SECRET)


class Request(NamedTuple):
    method: str = "POST"
    path: str = NOTE
    pieces: tuple[bytes, ...] = (b"a note",)
    headers: tuple[tuple[str, str], ...] = ()
    sized: bool = True
    """Whether the length is announced."""
    complete: bool = True
    """Whether the body's end ever comes."""
    hang_up: bool = False
    """Close the connection after the last piece."""


class Host:
    """Asks over a socket; None when the connection was closed without an answer."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def ask(self, request: Request) -> Answer | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        length = sum(map(len, request.pieces)) + (not request.complete)
        given = [f"{name}: {value}" for name, value in request.headers]
        framing = f"content-length: {length}" if request.sized else "transfer-encoding: chunked"
        head = [f"{request.method} {request.path} HTTP/1.1", "host: tests", *given, framing]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        try:
            for piece in request.pieces:
                await asyncio.sleep(0.005)
                writer.write(piece if request.sized else b"%x\r\n%b\r\n" % (len(piece), piece))
            if request.complete and not request.sized:
                writer.write(b"0\r\n\r\n")
            if request.hang_up:
                await writer.drain()
                return None
            return await _parse(reader)
        finally:
            writer.close()


async def _parse(reader: asyncio.StreamReader) -> Answer | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(head[0].split(" ")[1]), headers, body)


class Served(NamedTuple):
    port: int
    connections: Connections
    tasks: set[asyncio.Task[None]]


@asynccontextmanager
async def served(rig: Rig) -> AsyncIterator[Served]:
    """The edge over a socket, swept often."""
    loop = asyncio.get_running_loop()
    edge = rig.edge
    edge.attach(loop)
    server = await loop.create_server(partial(Connection, edge), "127.0.0.1", 0, backlog=BACKLOG)
    sweeping = asyncio.create_task(edge.connections.sweep(edge.expect, SWEEP_SECONDS))
    try:
        yield Served(server.sockets[0].getsockname()[1], edge.connections, edge.tasks)
        assert not sweeping.done()
    finally:
        sweeping.cancel()
        server.close()
        for left in list(edge.connections.present):
            left.abort()
        await asyncio.sleep(0.01)
        edge.close()


@asynccontextmanager
async def hosted(rig: Rig) -> AsyncIterator[Host]:
    async with served(rig) as server:
        yield Host(server.port)
