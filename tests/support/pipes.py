"""The edge on a transport of the tests' own: no socket, no waiting, every cut is where it is put.

Thousands of connections a second can be tried that way, and what a real transport forgives, such
as a write after the end, is noticed.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import h11

from penstock.core.edge.connection import Connection
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.errors import PenstockError
from penstock.core.log import Minute
from penstock.core.settings import Settings
from support.hosts import Rig
from support.logs import account, contents

_PATIENCE_SECONDS = 60.0
_QUIET_TURNS = 12
"""So many turns of the loop with nothing new mean that the connection waits for its client."""


class Exchange(NamedTuple):
    answered: bytes
    methods: list[bytes]
    """Of the requests whose heads were understood, in order."""
    stored: list[bytes]
    account: Minute
    closed: bool
    """Whether the server closed, rather than the client."""


class Pipe(asyncio.Transport):
    """Delivers what it is fed while reading is not paused, as a transport has to."""

    def __init__(self, protocol: Connection, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = bytearray()
        self.wronged: list[str] = []
        """What must not be done to a transport."""
        self.closing = False
        self.ended = False
        """Whether the server closed its half."""
        self._protocol = protocol
        self._loop = loop
        self._waiting: deque[bytes] = deque()
        self._paused = False
        self._written = asyncio.Event()
        self._read = 0

    def feed(self, piece: bytes) -> None:
        self._waiting.append(piece)
        self._deliver()

    def feed_end(self) -> None:
        """The client closes its half, once all it sent is delivered."""
        if self._waiting or self._paused:
            self._loop.call_soon(self.feed_end)
        elif not self.closing and not self._protocol.eof_received():
            self.close()

    def _deliver(self) -> None:
        while self._waiting and not self._paused and not self.closing:
            self._protocol.data_received(self._waiting.popleft())

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def write(self, data: Any) -> None:
        if self.closing or self.ended:
            self.wronged.append(f"written after the end: {bytes(data)!r}")
        else:
            self.written += data
            self._written.set()

    async def read(self) -> bytes:
        """What was written since the last time, once that is anything."""
        await asyncio.wait_for(self._written.wait(), _PATIENCE_SECONDS)
        self._written.clear()
        data, self._read = bytes(self.written[self._read :]), len(self.written)
        return data

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


class _Noting(Connection):
    """Keeps the methods that answers belong to: without them, answers cannot be told apart. And
    what went wrong within it, which it would answer with 500.
    """

    def __init__(self, edge: Dispatcher) -> None:
        super().__init__(edge)
        self.methods: list[bytes] = []
        self.defects: list[BaseException] = []

    def _begin(self, spelling: bytes) -> None:
        self.methods.append(b"HEAD" if spelling.startswith(b"HEAD ") else b"POST")
        super()._begin(spelling)

    def break_off(
        self, error: PenstockError, cause: BaseException | None = None, **how: bool
    ) -> None:
        if cause is not None:
            self.defects.append(cause)
        super().break_off(error, cause, **how)


async def asked(
    edge: Dispatcher, method: str, pieces: Sequence[bytes]
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to one request; h11 reads them."""
    connection = Connection(edge)
    pipe = Pipe(connection, edge.loop)
    connection.connection_made(pipe)
    for piece in pieces:
        pipe.feed(piece)
        await asyncio.sleep(0)
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "tests")]))
    reader.send(h11.EndOfMessage())
    status, headers, body = 0, {}, b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            reader.receive_data(await pipe.read())
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
    pipe.close()
    return status, headers, bytes(body)


class Served:
    """Connections one after the other, all of one edge; with heads remembered, or without."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, remembers: bool) -> None:
        self._loop = loop
        self._settings = Settings(remember_heads=remembers)
        self._escaped: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self._escaped.append(context))

    def serve(self, *connections: Sequence[bytes]) -> list[Exchange]:
        """What became of each connection's pieces; heads are remembered from one to the next."""
        return self._loop.run_until_complete(self._serve(connections))

    def close(self) -> None:
        self._loop.close()

    async def _serve(self, connections: Sequence[Sequence[bytes]]) -> list[Exchange]:
        rig = Rig(self._settings)
        rig.edge.attach(self._loop)
        exchanges = [await self._exchange(rig, pieces) for pieces in connections]
        rig.edge.close()
        return exchanges

    async def _exchange(self, rig: Rig, pieces: Sequence[bytes]) -> Exchange:
        connection = _Noting(rig.edge)
        pipe = Pipe(connection, self._loop)
        connection.connection_made(pipe)
        for piece in pieces:
            pipe.feed(piece)
            await self._settle(rig, connection, pipe)
        closed = pipe.closing or pipe.ended
        pipe.feed_end()  # what is not complete by now is torn
        await self._settle(rig, connection, pipe)
        assert pipe.closing, "all is said, and the client has gone"
        assert pipe.wronged == []
        assert connection.defects == []
        assert rig.edge.in_flight == 0
        assert rig.edge.connections.held == 0
        assert not rig.edge.connections.present
        assert not rig.edge.tasks
        assert self._escaped == []
        written = bytes(pipe.written)
        return Exchange(written, connection.methods, contents(rig.log), account(rig.log), closed)

    async def _settle(self, rig: Rig, connection: Connection, pipe: Pipe) -> None:
        quiet, before = 0, (0, 0, 0, 0)
        while quiet < _QUIET_TURNS:
            # What is judged on a thread of its own comes back in its own time, and so do turns that
            # had to rest.
            busy = connection.is_judged_elsewhere or rig.edge.turn.is_behind
            await asyncio.sleep(0.001 if busy else 0)
            now = (len(pipe.written), connection.requests, rig.edge.in_flight, rig.log.commits)
            quiet, before = (quiet + 1 if now == before and not busy else 0), now
