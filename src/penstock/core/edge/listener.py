"""A listening socket: connections in, with TLS or without, and an end that loses nothing.

Whoever comes waits in the kernel's queue, at the door, until there is a place: who was let in and
has not spoken yet is not sent away for who comes next.
"""

import asyncio
import errno
import socket
import ssl
from contextlib import suppress
from time import perf_counter
from typing import Any

from penstock.core.edge.connection import Connection
from penstock.core.edge.dispatcher import Dispatcher

BACKLOG = 2_048
_ARRIVAL_SECONDS = 0.00005
_SECURED_ARRIVAL_SECONDS = 0.0005
"""What it costs the loop to go on with one who was let in, and with one who speaks TLS."""
_SHUT_SECONDS = 0.001
"""How long the door is shut where there is no place, and after as many as there was time for: a
loop that never rests keeps the interpreter from the log.
"""
_SHUT_SECONDS_MAX = 1.0
"""When nobody has left for so long, whoever comes is let in to be told so."""
_NO_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
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
        self._socket: socket.socket | None = None
        self._shut_since = 0.0
        """Since when the door is shut for want of a place; 0 while there are some."""
        self._reopening: asyncio.TimerHandle | None = None

    def open(self, listening: socket.socket) -> None:
        listening.setblocking(False)  # noqa: FBT003 - it is named so
        self._socket = listening
        self._open_door(listening)

    async def sweep(self) -> None:
        """Give up on those that are waited for too long, until cancelled."""
        await self._edge.connections.sweep(self._edge.expect)

    async def close(self, seconds: float, forced: asyncio.Event) -> None:
        """Accept nobody any more, answer what has begun to arrive, and hang up.

        What is not done in time, or by the time that `forced` is set, is broken off.
        """
        loop = asyncio.get_running_loop()
        self._close_door()
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

    # -- the door -------------------------------------------------------------------------------

    def _open_door(self, listening: socket.socket) -> None:
        self._reopening = None
        self._edge.loop.add_reader(listening, self._accept, listening)

    def _shut_door(self, listening: socket.socket) -> None:
        """For a moment."""
        loop = self._edge.loop
        loop.remove_reader(listening)
        self._reopening = loop.call_later(_SHUT_SECONDS, self._open_door, listening)

    def _close_door(self) -> None:
        if self._socket is None:
            return
        if self._reopening is not None:
            self._reopening.cancel()
        self._edge.loop.remove_reader(self._socket)
        with suppress(OSError):  # those that stand at the door have been told that they are in
            for _ in range(BACKLOG):
                self._let_in(*self._socket.accept())
        self._socket.close()

    def _accept(self, listening: socket.socket) -> None:
        """Some of those that wait; the loop comes back for the others."""
        turn = self._edge.turn
        for _ in turn.pieces():
            if not self._is_open():
                self._shut_door(listening)
                return
            try:
                accepted, address = listening.accept()
            except OSError as error:  # nobody else waits, or whoever did has gone
                if error.errno in _NO_FILES:  # and the loop would come back for it at once
                    self._shut_door(listening)
                return
            self._let_in(accepted, address)
            turn.charge(_ARRIVAL_SECONDS if self._context is None else _SECURED_ARRIVAL_SECONDS)
        self._shut_door(listening)

    def _let_in(self, accepted: socket.socket, address: tuple[Any, ...]) -> None:
        accepted.setblocking(False)  # noqa: FBT003 - it is named so
        Arrival(self._edge, self._context, accepted, str(address[0])).begin()

    def _is_open(self) -> bool:
        """Whether there is a place for whoever is next, or there has been none for too long."""
        if self._edge.connections.make_room():
            self._shut_since = 0.0
            return True
        now = perf_counter()
        self._shut_since = self._shut_since or now
        return now - self._shut_since > _SHUT_SECONDS_MAX


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
