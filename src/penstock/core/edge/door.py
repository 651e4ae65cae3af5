"""The door: who comes waits in the kernel's queue until there is a place.

Who was let in and has not spoken yet is not sent away for who comes next. But that queue has one
order for all, in which those who come without end stand before everybody else. So where it grows
long it is emptied: whoever was in it waits for the turn of its address, and of an address that has
connections enough to ask on, all but one are told so at once.
"""

import asyncio
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.wire import render
from penstock.core.errors import Overloaded

BACKLOG = 2_048
QUEUE_MAX = 256
"""Where more wait, it is crowded. So many are let in within some 30 ms."""
_CROWD_SECONDS = 1.0
"""So long after anybody was turned away it still is."""
_ROOM = 32
"""At most so many wait in front of a crowded queue: each of them is an open file."""
_SHUT_SECONDS = 0.001
"""How long the door is shut where there is no place, and after as many as there was time for: a
loop that never rests keeps the interpreter from the log.
"""
_SHUT_SECONDS_MAX = 1.0
"""When nobody has left for so long, whoever comes is let in to be told so."""
_NO_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_TCP_INFO_UNACKED = struct.Struct("24xI")
"""Of a listening socket: how many have come and were not accepted."""


class Door:
    def __init__(
        self,
        edge: Dispatcher,
        listening: socket.socket,
        let_in: Callable[[socket.socket, str], None],
        seconds: float,
        *,
        tells: bool,
    ) -> None:
        """`let_in` gets a connection and its address, and causes so many `seconds` of work.
        `tells`: who is turned away can be told why, which takes a handshake where there is TLS.
        """
        self._edge = edge
        self._listening = listening
        self._let_in = let_in
        self._seconds = seconds
        self._tells = tells
        self._newcomers = Newcomers()
        self._shut_since = 0.0
        """Since when it is shut for want of a place; 0 while there are some."""
        self._crowded_until = 0.0
        self._told = self._told_at = b""

    def open(self) -> None:
        self._reopening: asyncio.TimerHandle | None = None
        self._edge.loop.add_reader(self._listening, self._open_to_some)
        if self._newcomers:  # the loop comes for the queue only
            self._open_to_some()

    def close(self) -> None:
        """For good. Those that stand there have been told by the kernel that they are in."""
        if self._reopening is not None:
            self._reopening.cancel()
        self._edge.loop.remove_reader(self._listening)
        with suppress(OSError):
            for _ in range(BACKLOG):
                self._newcomers.put(*self._accept())
        while self._newcomers:
            self._let_in(*self._newcomers.take())
        self._listening.close()

    def _shut(self) -> None:
        """For a moment."""
        loop = self._edge.loop
        loop.remove_reader(self._listening)
        self._reopening = loop.call_later(_SHUT_SECONDS, self.open)

    def _open_to_some(self) -> None:
        """The loop comes back for the others."""
        newcomers, turn = self._newcomers, self._edge.turn
        if self._is_crowded():
            self._thin_out()
        for _ in turn.pieces():
            if not newcomers:
                try:
                    newcomers.put(*self._accept())
                except OSError as error:  # nobody else waits, or whoever did has gone
                    if error.errno in _NO_FILES:  # and the loop would come back for it at once
                        break
                    return
            if not self._has_place():
                break
            self._let_in(*newcomers.take())
            turn.charge(self._seconds)
        self._shut()

    def _accept(self) -> tuple[socket.socket, str]:
        accepted, address = self._listening.accept()
        return accepted, str(address[0])

    def _has_place(self) -> bool:
        """Whether there is one for whoever is next, or there has been none for too long."""
        if self._edge.connections.make_room():
            self._shut_since = 0.0
            return True
        now = perf_counter()
        self._shut_since = self._shut_since or now
        return now - self._shut_since > _SHUT_SECONDS_MAX

    # -- a crowd --------------------------------------------------------------------------------

    def _is_crowded(self) -> bool:
        if perf_counter() < self._crowded_until:
            return True
        info, size = socket.TCP_INFO, _TCP_INFO_UNACKED.size
        told = self._listening.getsockopt(socket.IPPROTO_TCP, info, size)
        queued: int = _TCP_INFO_UNACKED.unpack(told)[0]
        return queued > QUEUE_MAX

    def _thin_out(self) -> None:
        """The queue, as far as there is time, and room for those who stay."""
        edge, newcomers = self._edge, self._newcomers
        room = min(_ROOM, edge.connections.few)
        sated: set[str] = set()
        for _ in edge.turn.pieces():
            if len(newcomers) >= room:
                return
            try:
                accepted, peer = self._accept()
            except OSError:
                return
            if not newcomers.of(peer) or edge.is_proxy(peer):
                newcomers.put(accepted, peer)
            elif peer in sated or edge.connections.has_enough(peer):
                sated.add(peer)
                self._turn_away(accepted)
            else:
                newcomers.put(accepted, peer)

    def _turn_away(self, accepted: socket.socket) -> None:
        """For a fifth of what it costs to let it in: it may come again at once."""
        edge = self._edge
        self._crowded_until = perf_counter() + _CROWD_SECONDS
        edge.unmatched.observe(Overloaded.status, 0)
        with accepted, suppress(OSError):
            if self._tells:
                # One packet with the goodbye, which is a reset to who has sent what was not read.
                accepted.send(self._word(), socket.MSG_DONTWAIT | socket.MSG_MORE)
                accepted.recv_into(edge.connections.buffer, 0, socket.MSG_DONTWAIT)

    def _word(self) -> bytes:
        """Of refusal: written, and noted in the log, once a second for all."""
        edge = self._edge
        if self._told_at is not edge.connections.date:
            self._told_at = edge.connections.date
            error = Overloaded("many wait, and other connections of this address do not")
            response = edge.refusal(("", "", b""), error)
            self._told = render(response, edge.connections.date, keep_alive=False)
        return self._told


class Newcomers:
    """Who was accepted and waits for a place: each address in its turn."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[socket.socket]] = {}
        """In the order of their turns."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, peer: str) -> int:
        """How many of an address wait."""
        return len(self._waiting.get(peer, ()))

    def put(self, accepted: socket.socket, peer: str) -> None:
        self._waiting.setdefault(peer, deque()).append(accepted)
        self._count += 1

    def take(self) -> tuple[socket.socket, str]:
        """Raise `StopIteration` when nobody waits."""
        peer = next(iter(self._waiting))
        same = self._waiting.pop(peer)
        accepted = same.popleft()
        self._count -= 1
        if same:
            self._waiting[peer] = same
        return accepted, peer
