"""How long the event loop was held: a beat that comes late tells.

All clients take turns on one loop, so what holds it makes everybody wait. A beat may be late for
two reasons that are no hold: the machine gave the core to somebody else, or nothing ran at all. So
a hold is no longer than what the loop's thread spent meanwhile.

What is left of a late beat, when the thread neither had a core nor stood in the queue for one, is
what it waited for the interpreter, which another thread kept: for as long as a call of some library
took, or, on a machine that is short of cores, as that thread had none. Or it waited for a disk.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter, thread_time

from penstock.core.telemetry import Samples

_BEAT_SECONDS = 0.005
"""A hold is seen short by as much as had passed of this when it began."""
_REST_SECONDS = 0.05
"""The beat of a loop with nothing to do: to wake 200 times a second takes 1.5 % of a small core, 20
times 0.3 %."""
_REST_AFTER_BEATS = 200
_QUIET_SECONDS = 0.001
"""A second of beats in which nothing took longer than this is rest. Whatever holds the loop again
and again is watched closely from the second time on."""
_SCHEDSTAT = "/proc/thread-self/schedstat"


class Watchdog:
    """Beats on the loop between `start` and `stop`; both are called on the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], float] = perf_counter,
        spent: Callable[[], float] = thread_time,
        queued: Callable[[], float] | None = None,
    ) -> None:
        """All in seconds; `spent` by the thread that calls, and `queued` for a core. Without the
        latter the system is asked, and nothing told of waits where it does not know.
        """
        self._loop = loop
        self._now = now
        self._spent = spent
        self._queued = queued
        self._own: Queued | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._spent_before = self._queued_before = 0.0
        self._quiet_beats = 0
        self._longest = self._longest_wait = 0.0

    def start(self) -> None:
        self._quiet_beats = 0
        if self._queued is None:
            with suppress(OSError):
                self._queued = self._own = Queued()
        self._next(self._now(), self._spent(), self._queued() if self._queued else 0.0)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._own is not None:
            self._own.close()
            self._queued = self._own = None

    def sample(self, samples: Samples) -> None:
        """Tell the longest hold and wait since this was called last; on any thread."""
        longest, self._longest = self._longest, 0.0
        samples.gauge("penstock_loop_held_seconds", longest)
        if self._queued is not None:
            longest, self._longest_wait = self._longest_wait, 0.0
            samples.gauge("penstock_loop_waited_seconds", longest)

    def _beat(self) -> None:
        now, spent = self._now(), self._spent()
        used, late = spent - self._spent_before, now - self._due
        queued = self._queued() if self._queued else 0.0
        self._longest = max(self._longest, min(late, used))
        self._longest_wait = max(self._longest_wait, late - used - (queued - self._queued_before))
        self._quiet_beats = self._quiet_beats + 1 if used < _QUIET_SECONDS else 0
        self._next(now, spent, queued)

    def _next(self, now: float, spent: float, queued: float) -> None:
        rests = self._quiet_beats >= _REST_AFTER_BEATS
        pause = _REST_SECONDS if rests else _BEAT_SECONDS
        self._due, self._spent_before, self._queued_before = now + pause, spent, queued
        self._timer = self._loop.call_later(pause, self._beat)


class Queued:
    """How long the thread that made this has stood in the queue for a core."""

    def __init__(self) -> None:
        """Raise `OSError` where the system does not tell."""
        self._file = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> float:
        """In seconds."""
        return int(os.pread(self._file, 80, 0).split()[1]) / 1e9

    def close(self) -> None:
        os.close(self._file)
