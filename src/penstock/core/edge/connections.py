"""The connections: who is connected, and what they hold.

Clients share a loop, memory and open files, and none of them can be told from an attacker. So each
pays for what it uses: where there is no room, it is made by those that have kept it longest for
nothing.
"""

import asyncio
import resource
import time
from collections.abc import Callable
from itertools import islice
from time import perf_counter
from typing import Protocol

from penstock.core.edge import NO_CONTENT
from penstock.core.edge.wire import date_line, render
from penstock.core.settings import Settings

SWEEP_SECONDS = 1.0
READ_BYTES = 32_768
"""At most so much is read at once. What arrives behind a request in hand waits as bytes, so few."""

_SWEPT_AT_ONCE = 100
_SAMPLE = 16
"""Guests that are compared to find an idle one: a good one, and as cheap for ten thousand."""
_LOOKED_AT_MAX = 256
NOBODY_SECONDS = 0.002
"""Where nobody was found who could go, it is not looked for again so soon: it takes 0.3 ms."""
_FILES_KEPT_MAX = 4_096
_FILES_MAX = 1_048_576
_NEW_SECONDS = 0.05
"""Who comes has so long to ask for something, if there are no places left. What a client says first
follows on its connection's heels: no round trip is between them.
"""
_OFTEN = 8
_LATELY_SECONDS = 1.0
_FEW = 4
_ENOUGH = 8
"""Who has so many connections that wait for their client can do without one more."""
_SHARE = 2
"""One address has at most one in so many of all connections."""


class Guest(Protocol):
    """A connection, as its server sees it."""

    peer: str
    idle_since: float
    """In seconds of `perf_counter`: since when it waits for the same thing."""
    requests: int
    """How many it has asked."""

    @property
    def works(self) -> bool:
        """Whether it waits for us, and not for its client."""
        ...

    def has_sent(self) -> bool:
        """Whether more has come from it than was read: then it waits for us too."""
        ...

    def sweep(self, now: float) -> bool:
        """Give up what was waited for too long; whether anything was asked since the last one."""
        ...

    def evict(self) -> None:
        """Give back connection and memory, for others need them."""
        ...

    def last_call(self) -> None:
        """Say with each answer that it is the last, unless more has arrived already."""
        ...

    def shutdown(self) -> None:
        """Answer what has begun to arrive, and end."""
        ...

    def hang_up(self) -> None:
        """If all was said and it only waits for the other's goodbye, do not."""
        ...

    def abort(self) -> None: ...


class Connections:
    def __init__(self, settings: Settings) -> None:
        self.present: dict[Guest, None] = {}
        self.held = 0
        """Bytes of requests that are not complete, or not begun."""
        self.buffer = bytearray(READ_BYTES)
        """Where every read goes first; it is emptied before the next one."""
        self.view = memoryview(self.buffer)
        self.date = b""
        self.no_content = b""
        """The commonest answer of this second, whole."""
        self._bytes_max = settings.arriving_bytes_max
        self._connections_wanted = settings.connections_max
        self.connections_max = 0
        self.is_crowded = False
        """Whether there are so few places left that not everybody can keep one."""
        self.few = 0
        """How many more there may be for a moment, where all are at work."""
        self._crowd = self._share = 0
        self._nobody_until = 0.0
        self._addresses: dict[str, dict[Guest, None]] = {}
        self._holding: dict[Guest, None] = {}
        """In the order in which they began to hold anything."""
        self._tick()

    def open(self) -> None:
        """Only now, for the process may have raised its limit of open files."""
        self.connections_max = _connections_max(self._connections_wanted)
        self.few = self.connections_max // _FEW
        self._crowd = self.connections_max - self.few
        self._share = max(1, self.connections_max // _SHARE)

    # -- places ---------------------------------------------------------------------------------

    def make_room(self) -> bool:
        """Whether there is a place for one more, or one could be made."""
        if len(self.present) < self.connections_max:
            return True
        now = perf_counter()
        if now > self._nobody_until and not self._evict_one(self.present, _NEW_SECONDS):
            self._nobody_until = now + NOBODY_SECONDS
        # When all are at work, a few more are let in: they will not be for long.
        return len(self.present) < self.connections_max + self.few

    def enter(self, guest: Guest, *, counts: bool = True) -> bool:
        """Whether there is a place for it, or one could be made. `counts`: its address is its own,
        and not that of a proxy that others come through too.
        """
        same = self._addresses.get(guest.peer, {}) if counts else {}
        if counts and len(same) >= self._share:
            entered = self._evict_one(same, 0.0) or len(same) < self._share + self.few
        else:
            entered = self.make_room()
        # Also where it was refused: it leaves like all others.
        self.present[guest] = None
        if counts:
            self._addresses.setdefault(guest.peer, {})[guest] = None
        self.is_crowded = len(self.present) >= self._crowd
        return entered

    def leave(self, guest: Guest) -> None:
        self.present.pop(guest, None)
        self.is_crowded = len(self.present) >= self._crowd
        self.hold(guest, 0, 0)
        same = self._addresses.get(guest.peer)
        if same is not None:
            same.pop(guest, None)
            if not same:
                del self._addresses[guest.peer]

    def has_enough(self, peer: str) -> bool:
        """Whether so many of an address's connections wait for their client that one more can be
        refused: eight, or half an equal part of all. Not while there are places for it, nor if it
        asks on any of them again and again: it would not have come if it could do without.
        """
        same, addresses = self._addresses.get(peer, ()), len(self._addresses)
        if not self.is_crowded and len(same) < self._share:
            return False
        enough = max(_ENOUGH, len(self.present) // (2 * addresses or 1))
        lately = perf_counter() - _LATELY_SECONDS
        if len(same) < enough or any(_is_regular(guest, lately) for guest in same):
            return False
        idle = (1 for guest in same if not guest.works and not guest.has_sent())
        return sum(islice(idle, enough)) == enough

    def wants_back(self, peer: str, requests: int) -> bool:
        """Whether the place of one who has asked so often is wanted once it is answered. To say so
        is better than to take it later, when it may be asking again just then.
        """
        return self.is_crowded and requests < _OFTEN and not self._has_part(self._same(peer))

    def _evict_one(self, guests: dict[Guest, None], new_seconds: float) -> bool:
        """Of some that have not been looked at for longest, the idlest of the address that has most
        connections. Nobody who asks for something, or came so lately that it may be about to; and
        as long as there are such, nobody who may ask again any moment.
        """
        now = perf_counter()
        idle: list[tuple[bool, int, float, int, Guest]] = []
        busy = False
        for guest in tuple(islice(guests, _LOOKED_AT_MAX)):
            guests[guest] = guests.pop(guest)
            since = guest.idle_since
            if guest.works or (not guest.requests and now - since < new_seconds):
                busy = True
                continue
            same = self._same(guest.peer)
            lately = guest.requests > 0 and now - since < _LATELY_SECONDS
            regular = lately and (guest.requests >= _OFTEN or self._has_part(same))
            idle.append((regular, -same, since, len(idle), guest))
            if len(idle) == _SAMPLE:
                break
        for regular, *_, guest in sorted(idle):
            if regular and busy:
                break
            if not guest.has_sent():
                guest.evict()
                return True
        return False

    def _same(self, peer: str) -> int:
        """How many connections an address has; one of a proxy's is its client's only one."""
        same = self._addresses.get(peer)
        return len(same) if same else 1

    def _has_part(self, same: int) -> bool:
        """Whether an address with so many has less than an equal part of all connections."""
        return same * len(self._addresses) < len(self.present)

    # -- memory ---------------------------------------------------------------------------------

    def hold(self, guest: Guest, before: int, now: int) -> None:
        """Its bytes were so many and are so many; 0 of 0 forgets it. Room is made of the oldest
        requests that are still to arrive, at last of its own.
        """
        self.held += now - before
        if not now:
            self._holding.pop(guest, None)
            return
        if not before:
            self._holding[guest] = None
        while self.held > self._bytes_max:
            victim = next((holder for holder in self._holding if not holder.works), guest)
            victim.evict()
            if victim is guest:
                return

    # -- time -----------------------------------------------------------------------------------

    async def sweep(self, expect: Callable[[int], None], interval: float = SWEEP_SECONDS) -> None:
        """Sweep all guests until cancelled: each once in an interval, a few at a time, so that ten
        thousand do not hold up a request. `expect` hears how many of them asked for something.
        """
        while True:
            present, active = tuple(self.present), 0
            turns = max(1, -(-len(present) // _SWEPT_AT_ONCE))
            self._tick()
            for turn in range(turns):
                await asyncio.sleep(interval / turns)
                now = perf_counter()
                active += sum(guest.sweep(now) for guest in present[turn::turns])
            expect(active)

    def _tick(self) -> None:
        self.date = date_line(time.time())
        self.no_content = render(NO_CONTENT, self.date)


def _is_regular(guest: Guest, lately: float) -> bool:
    return guest.requests >= _OFTEN and (guest.idle_since > lately or guest.works)


def _connections_max(wanted: int) -> int:
    """Never more than leaves the stores half of the open files, or some thousands."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = _FILES_MAX
    room = max(1, files - min(files // 2, _FILES_KEPT_MAX))
    return min(wanted, room) if wanted else room
