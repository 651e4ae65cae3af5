"""Both hosts on a transport of the tests' own: no socket, no waiting, every cut is where it is put.

Thousands of connections a second can be tried that way, and what a real transport forgives, such
as a write after the end, is noticed.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from penstock.core.edge.connection import Connection
from penstock.core.edge.heads import Heads
from penstock.core.edge.lane import LaneConnection
from penstock.core.errors import PenstockError
from penstock.core.log import Minute
from support.hosts import Rig
from support.logs import account, contents

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

    def __init__(self, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = bytearray()
        self.wronged: list[str] = []
        """What must not be done to a transport."""
        self.closing = False
        self._protocol = protocol
        self._loop = loop
        self._waiting: deque[bytes] = deque()
        self._paused = False

    def feed(self, piece: bytes) -> None:
        self._waiting.append(piece)
        self._deliver()

    def _deliver(self) -> None:
        while self._waiting and not self._paused and not self.closing:
            self._protocol.data_received(self._waiting.popleft())

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def write(self, data: Any) -> None:
        if self.closing:
            self.wronged.append(f"written after the end: {bytes(data)!r}")
        else:
            self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


class _Noting(Connection):
    """Keeps the methods that answers belong to: without them, answers cannot be told apart."""

    methods: list[bytes]

    def on_headers_complete(self) -> None:
        if not self.is_void():
            self.methods.append(self.parser.get_method())
        super().on_headers_complete()

    def refuse(self, error: PenstockError) -> None:
        if self._in_head and self.url:
            self.methods.append(self.parser.get_method())
        super().refuse(error)


class _Asgi(_Noting):
    pass


class _Lane(_Noting, LaneConnection):
    pass


class Host:
    """One of the two hosts; connections one after the other, each with an edge of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, lane: bool) -> None:
        self._loop = loop
        self._lane = lane
        self._escaped: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self._escaped.append(context))

    def serve(self, *connections: Sequence[bytes]) -> list[Exchange]:
        """What became of each connection's pieces; heads are remembered from one to the next."""
        return self._loop.run_until_complete(self._serve(connections))

    def close(self) -> None:
        self._loop.close()

    async def _serve(self, connections: Sequence[Sequence[bytes]]) -> list[Exchange]:
        rig, heads = Rig(), Heads()
        rig.edge.attach(self._loop)
        config = uvicorn.Config(
            rig.edge, lifespan="off", ws="none", log_config=None, access_log=False
        )
        config.load()
        return [await self._exchange(rig, config, heads, pieces) for pieces in connections]

    async def _exchange(
        self, rig: Rig, config: uvicorn.Config, heads: Heads, pieces: Sequence[bytes]
    ) -> Exchange:
        state = ServerState()
        connection = (
            _Lane(config, state, {}, self._loop, heads=heads)
            if self._lane
            else _Asgi(config, state, {}, self._loop)
        )
        methods: list[bytes] = []
        connection.methods = methods
        pipe = Pipe(connection, self._loop)
        connection.connection_made(pipe)
        for piece in pieces:
            pipe.feed(piece)
            await self._settle(rig, connection, pipe)
        closed = pipe.closing
        pipe.close()  # the client does now, if the server did not
        await self._settle(rig, connection, pipe)
        assert pipe.wronged == []
        assert rig.edge.in_flight == 0
        assert not state.connections
        assert not state.tasks
        assert self._escaped == []
        written = bytes(pipe.written)
        return Exchange(written, methods, contents(rig.log), account(rig.log), closed)

    async def _settle(self, rig: Rig, connection: Connection, pipe: Pipe) -> None:
        quiet, before = 0, (0, 0, 0, 0)
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0)
            now = (len(pipe.written), connection.requests, rig.edge.in_flight, rig.log.commits)
            quiet, before = (quiet + 1 if now == before else 0), now
