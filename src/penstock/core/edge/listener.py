"""A listening socket: connections in, with TLS or without, and an end that loses nothing."""

import asyncio
import socket
import ssl
from contextlib import suppress
from functools import partial
from time import perf_counter

from penstock.core.edge.connection import Connection
from penstock.core.edge.desk import Edge

BACKLOG = 2_048
_ACCEPTED_AT_ONCE = 64
_HANDSHAKE_SECONDS_MIN = 0.1
_GRACE_SECONDS = 0.1
"""After the last connection was accepted: requests that are on their way are still read."""
_GOODBYE_SECONDS = 0.5
"""After that nobody is waited for who has all its answers. A client of TLS that idles does not see
our goodbye, and would be waited for until it said its own.
"""
_LOOK_SECONDS = 0.01


class Listener:
    def __init__(self, edge: Edge, context: ssl.SSLContext | None = None) -> None:
        self._edge = edge
        self._context = context
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None

    async def open(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if self._context is None:
            make = partial(Connection, self._edge)
            self._server = await loop.create_server(make, sock=listening, backlog=BACKLOG)
        else:
            listening.setblocking(False)  # noqa: FBT003 - it is named so
            self._socket = listening
            loop.add_reader(listening, self._accept, listening, self._context)

    async def sweep(self) -> None:
        """Give up on those that are waited for too long, until cancelled."""
        await self._edge.floor.sweep(self._edge.expect)

    async def close(self, seconds: float, forced: asyncio.Event) -> None:
        """Accept nobody any more, answer what has begun to arrive, and hang up.

        What is not done in time, or by the time that `forced` is set, is broken off.
        """
        loop = asyncio.get_running_loop()
        if self._server is not None:
            self._server.close()
        if self._socket is not None:
            loop.remove_reader(self._socket)
            self._socket.close()
        present, tasks = self._edge.floor.present, self._edge.tasks
        for guest in tuple(present):
            guest.last_call()
        began = loop.time()
        while (present or tasks) and loop.time() < began + seconds and not forced.is_set():
            elapsed = loop.time() - began
            for guest in tuple(present):
                if elapsed > _GRACE_SECONDS:
                    guest.shutdown()
                if elapsed > _GOODBYE_SECONDS:
                    guest.hang_up()
            await asyncio.sleep(_LOOK_SECONDS)
        for guest in tuple(present):
            guest.abort()
        for task in tuple(tasks):
            task.cancel()

    def _accept(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        """Some of those that wait; the loop comes back for the others."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, address = listening.accept()
            except OSError:  # nobody else waits, or whoever did has gone
                return
            accepted.setblocking(False)  # noqa: FBT003 - it is named so
            Handshake(self._edge, context, accepted, str(address[0])).begin()


class Handshake:
    """A connection before it is secured: it has a place on the floor like all others, and no longer
    than the head of a request would have.
    """

    works = False
    requests = 0

    def __init__(
        self, edge: Edge, context: ssl.SSLContext, accepted: socket.socket, peer: str
    ) -> None:
        self._edge = edge
        self._context = context
        self._accepted = accepted
        self.peer = peer
        self.idle_since = perf_counter()

    def begin(self) -> None:
        edge = self._edge
        if edge.floor.enter(self, counts=not edge.is_proxy(self.peer)):
            self._shaking = edge.start(self._shake_hands())
        else:
            self._leave()
            self._accepted.close()

    async def _shake_hands(self) -> None:
        seconds = max(self._edge.settings.head_seconds_max, _HANDSHAKE_SECONDS_MIN)
        try:
            # What is said in a handshake that fails is of no use to anybody here.
            with suppress(OSError):
                await self._edge.loop.connect_accepted_socket(
                    partial(Connection, self._edge),
                    self._accepted,
                    ssl=self._context,
                    ssl_handshake_timeout=seconds,
                )
        finally:
            self._leave()

    def _leave(self) -> None:
        self._edge.floor.leave(self)

    def sweep(self, now: float) -> bool:
        """Its time is bounded already."""
        del now
        return False

    def take_turn(self) -> None:
        """It has none."""

    def last_call(self) -> None:
        """It has not asked for anything yet."""

    def evict(self) -> None:
        self._shaking.cancel()

    shutdown = hang_up = abort = evict
