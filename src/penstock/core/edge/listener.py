"""A listening socket: connections in, with TLS or without, and an end that loses nothing."""

import asyncio
import socket
import ssl
from contextlib import suppress
from time import perf_counter
from typing import Any

from penstock.core.edge.connection import Connection
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.door import Door

_ARRIVAL_SECONDS = 0.00005
_SECURED_ARRIVAL_SECONDS = 0.0005
"""What it costs the loop to go on with one who was let in, and with one who speaks TLS."""
_HANDSHAKE_SECONDS_MIN = 0.1
_GRACE_SECONDS = 0.1
"""After the last connection was accepted: requests that are on their way are still read."""
_GOODBYE_SECONDS = 0.5
"""After that nobody is waited for who has all its answers. A client of TLS that idles does not see
our goodbye, and would be waited for until it said its own.
"""
_LOOK_SECONDS = 0.01


class Listener:
    def __init__(self, edge: Dispatcher, context: ssl.SSLContext | None = None) -> None:
        self._edge = edge
        self._context = context
        self._door: Door | None = None

    def open(self, listening: socket.socket) -> None:
        listening.setblocking(False)  # noqa: FBT003 - it is named so
        secured = self._context is not None
        seconds = _SECURED_ARRIVAL_SECONDS if secured else _ARRIVAL_SECONDS
        self._door = Door(self._edge, listening, self._let_in, seconds, tells=not secured)
        self._door.open()

    async def sweep(self) -> None:
        """Give up on those that are waited for too long, until cancelled."""
        await self._edge.connections.sweep(self._edge.expect)

    async def close(self, seconds: float, forced: asyncio.Event) -> None:
        """Accept nobody any more, answer what has begun to arrive, and hang up.

        What is not done in time, or by the time that `forced` is set, is broken off.
        """
        loop = asyncio.get_running_loop()
        if self._door is not None:
            self._door.close()
            self._door = None
        present, tasks = self._edge.connections.present, self._edge.tasks
        began = loop.time()
        while (present or tasks) and loop.time() < began + seconds and not forced.is_set():
            elapsed = loop.time() - began
            for guest in tuple(present):
                guest.last_call()
                if elapsed > _GRACE_SECONDS:
                    guest.shutdown()
                if elapsed > _GOODBYE_SECONDS:
                    guest.hang_up()
            await asyncio.sleep(_LOOK_SECONDS)
        for guest in tuple(present):
            guest.abort()
        for task in tuple(tasks):
            task.cancel()

    def _let_in(self, accepted: socket.socket, peer: str) -> None:
        accepted.setblocking(False)  # noqa: FBT003 - it is named so
        Arrival(self._edge, self._context, accepted, peer).begin()


class Arrival:
    """A connection before it can speak: it has a place among all others, and no longer
    than the head of a request would have.
    """

    requests = 0

    def __init__(
        self, edge: Dispatcher, context: ssl.SSLContext | None, accepted: socket.socket, peer: str
    ) -> None:
        self._edge = edge
        self._context = context
        self._accepted = accepted
        self.peer = peer
        self.idle_since = perf_counter()
        self.works = context is None
        """What is to be done here without TLS is ours, and done in a moment."""

    def begin(self) -> None:
        edge = self._edge
        if (
            edge.connections.enter(self, counts=not edge.is_proxy(self.peer))
            or self._context is None
        ):
            self._arriving = edge.start(self._arrive())
            self._arriving.add_done_callback(self._leave)
        else:  # who has not shaken hands can be told nothing
            self._leave()
            self._accepted.close()

    async def _arrive(self) -> None:
        secured: dict[str, Any] = {}
        if self._context is not None:
            seconds = max(self._edge.settings.head_seconds_max, _HANDSHAKE_SECONDS_MIN)
            secured = {"ssl": self._context, "ssl_handshake_timeout": seconds}
        # What is said in a handshake that fails is of no use to anybody here.
        with suppress(OSError):
            await self._edge.loop.connect_accepted_socket(
                self._connection, self._accepted, **secured
            )

    def _connection(self) -> Connection:
        return Connection(self._edge, self._leave)

    def _leave(self, arriving: "asyncio.Task[None] | None" = None) -> None:
        """It has arrived, or does not."""
        self._edge.connections.leave(self)
        if arriving is not None and arriving.cancelled():
            self._accepted.close()

    def sweep(self, now: float) -> bool:
        """Its time is bounded already."""
        del now
        return False

    def has_sent(self) -> bool:
        """Nothing that could be understood yet."""
        return False

    def last_call(self) -> None:
        """It has not asked for anything yet."""

    def evict(self) -> None:
        if not self.works:
            self.abort()

    def abort(self) -> None:
        self._arriving.cancel()

    shutdown = hang_up = evict
