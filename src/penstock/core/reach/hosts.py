"""Turns and breakers: no host is asked too often at once, nor again and again when it is dead.

All of it is for any thread and any event loop: those who wait may be on different ones.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from penstock.core.clock import Clock
from penstock.core.reach import Unanswered

_FAILURES_MAX = 5
"""In a row; beyond, a host is left alone for a while, then asked once, and so on."""
_PAUSE_SECONDS = 2.0
_PAUSE_SECONDS_MAX = 120.0
_WAITING_MAX = 1_024
_HOSTS_MAX = 4_096


@dataclass
class _Host:
    in_hand: int = 0
    failures: int = 0
    pause_until: float = 0.0

    @property
    def pause_seconds(self) -> float:
        return min(
            _PAUSE_SECONDS * 2.0 ** min(self.failures - _FAILURES_MAX, 16), _PAUSE_SECONDS_MAX
        )


@dataclass(eq=False)
class _Waiter:
    name: str
    granted: bool = False
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        self.future: asyncio.Future[None] = self.loop.create_future()


class Hosts:
    def __init__(self, clock: Clock, *, at_once: int, at_once_each: int) -> None:
        self._clock = clock
        self._at_once = at_once
        self._at_once_each = at_once_each
        self._lock = threading.Lock()
        self._in_hand = 0
        self._hosts: dict[str, _Host] = {}
        self._waiting: deque[_Waiter] = deque()

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn at the host. What ends with `Unanswered` counts against it.

        Raise `Unanswered` at once while it is left alone, or where too many wait already.
        """
        await self._take(name)
        failed = False
        try:
            with self._lock:
                self._admit(name)
            try:
                yield
            except Unanswered:
                failed = True
                raise
            with self._lock:
                self._hosts[name].failures = 0
        finally:
            with self._lock:
                if failed:
                    self._note_failure(name)
                self._free(name)

    # -- breakers; the lock is held --------------------------------------------------------------

    def _admit(self, name: str) -> None:
        """Whoever comes after a pause is alone: the next one waits for another pause, or for the
        host to have answered.
        """
        host = self._hosts[name]
        if host.failures < _FAILURES_MAX:
            return
        now = self._clock.monotonic()
        if now < host.pause_until:
            raise Resting(
                f"{name} did not answer {host.failures} times in a row; it is asked again in "
                f"{host.pause_until - now:.0f} seconds"
            )
        host.pause_until = now + host.pause_seconds

    def _note_failure(self, name: str) -> None:
        host = self._hosts[name]
        host.failures += 1
        if host.failures >= _FAILURES_MAX:
            host.pause_until = self._clock.monotonic() + host.pause_seconds

    # -- turns ----------------------------------------------------------------------------------

    async def _take(self, name: str) -> None:
        with self._lock:
            if self._has_room(name):
                self._count(name)
                return
            if len(self._waiting) >= _WAITING_MAX:
                raise Resting(f"{_WAITING_MAX} requests wait for their turns already")
            waiter = _Waiter(name)
            self._waiting.append(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            with self._lock:
                if waiter.granted:
                    self._free(name)
                else:
                    self._waiting.remove(waiter)
            raise

    def _has_room(self, name: str) -> bool:
        host = self._hosts.get(name)
        each = 0 if host is None else host.in_hand
        return self._in_hand < self._at_once and each < self._at_once_each

    def _count(self, name: str) -> None:
        if len(self._hosts) >= _HOSTS_MAX and name not in self._hosts:
            idle = next((name for name, host in self._hosts.items() if not host.in_hand), None)
            if idle is not None:
                del self._hosts[idle]
        self._in_hand += 1
        self._hosts.setdefault(name, _Host()).in_hand += 1

    def _free(self, name: str) -> None:
        host = self._hosts[name]
        self._in_hand -= 1
        host.in_hand -= 1
        if not host.in_hand and not host.failures:
            del self._hosts[name]
        for waiter in list(self._waiting):
            if self._has_room(waiter.name):
                self._waiting.remove(waiter)
                with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                    waiter.loop.call_soon_threadsafe(_wake, waiter.future)
                    waiter.granted = True
                    self._count(waiter.name)


class Resting(Unanswered):
    """It was not tried: nothing counts against the host."""


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
