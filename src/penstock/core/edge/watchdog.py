"""How long the event loop was held: a beat that comes late tells.

All clients take turns on one loop, so what holds it makes everybody wait. A beat may be late for
two reasons that are no hold: the machine gave the core to somebody else, or nothing ran at all. So
a hold is no longer than what the loop's thread spent meanwhile. A thread that keeps the interpreter
to itself is therefore not seen here, but by those who wait.
"""

import asyncio
from collections.abc import Callable
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


class Watchdog:
    """Beats on the loop between `start` and `stop`; both are called on the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], float] = perf_counter,
        spent: Callable[[], float] = thread_time,
    ) -> None:
        """`now` and `spent`, of the thread that calls, are in seconds."""
        self._loop = loop
        self._now = now
        self._spent = spent
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._spent_before = 0.0
        self._quiet_beats = 0
        self._longest = 0.0

    def start(self) -> None:
        self._quiet_beats = 0
        self._next(self._now(), self._spent())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def sample(self, samples: Samples) -> None:
        """Tell the longest hold since this was called last, in seconds; on any thread."""
        longest, self._longest = self._longest, 0.0
        samples.gauge("penstock_loop_held_seconds", longest)

    def _beat(self) -> None:
        now, spent = self._now(), self._spent()
        used = spent - self._spent_before
        self._longest = max(self._longest, min(now - self._due, used))
        self._quiet_beats = self._quiet_beats + 1 if used < _QUIET_SECONDS else 0
        self._next(now, spent)

    def _next(self, now: float, spent: float) -> None:
        rests = self._quiet_beats >= _REST_AFTER_BEATS
        pause = _REST_SECONDS if rests else _BEAT_SECONDS
        self._due, self._spent_before = now + pause, spent
        self._timer = self._loop.call_later(pause, self._beat)
