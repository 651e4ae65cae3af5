"""Time as an argument: production takes the system's, tests move their own.

The system's clock is input, and may be wrong like any other: see decision 18.
"""

import threading
import time
from typing import Protocol

BELIEVED_STEP_MS = 60_000
"""A step no longer than this is one of those that keep a clock right."""
BELIEVED_AFTER_SECONDS = 86_400.0
"""A longer one is believed once it has lasted so long."""
_EVEN_MS = 1_000
"""So little after it agreed nobody looks again: every request asks."""
_PASSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    def now_ms(self) -> int:
        """UTC wall clock in epoch milliseconds; it may step backwards."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step backwards; only differences mean anything."""
        ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """On Linux, the time that the machine slept is in it."""
        return time.clock_gettime(_PASSED)


class CarefulClock:
    """Two answers to what time it is, where the wall clock does not say what passed time says.

    Time is between `now_ms` and `latest_ms`, which are one as long as nothing stepped. What makes
    things old goes by the former, what makes things come too early by the latter, so that a clock
    that is wrong takes nothing away from anybody; and once it is right again, all is as it was.
    For any thread.
    """

    def __init__(self, clock: Clock) -> None:
        self.monotonic = clock.monotonic
        self._wall_ms = clock.now_ms
        self._lock = threading.Lock()
        self._offset_ms = clock.now_ms() - int(clock.monotonic() * 1000)
        """The believed time when `monotonic` was 0."""
        self._step_ms = 0
        self._stepped_at = 0.0
        self._even_ms = 0
        """The wall clock when it was last seen to agree."""

    def now_ms(self) -> int:
        """The earlier one."""
        wall_ms = self._wall_ms()
        step_ms = self._step(wall_ms)
        return wall_ms - step_ms if step_ms > 0 else wall_ms

    def latest_ms(self) -> int:
        wall_ms = self._wall_ms()
        if 0 <= wall_ms - self._even_ms < _EVEN_MS:
            return wall_ms
        step_ms = self._step(wall_ms)
        return wall_ms - step_ms if step_ms < 0 else wall_ms

    def believed_ms(self) -> int:
        """The wall clock as if it had not stepped, until a step is believed."""
        return self.latest_ms() if self.step_seconds() < 0 else self.now_ms()

    def step_seconds(self) -> float:
        """How far the wall clock is ahead of the believed time; 0 where it is believed."""
        return self._step(self._wall_ms()) / 1000

    def reach(self, at_ms: int) -> None:
        """It has been so late already, when somebody wrote it down."""
        self._offset_ms = max(self._offset_ms, at_ms - int(self.monotonic() * 1000))
        self._even_ms = 0

    def _step(self, wall_ms: int) -> int:
        """Milliseconds by which this differs from the believed time, which follows small steps."""
        if 0 <= wall_ms - self._even_ms < _EVEN_MS:
            return 0
        passed = self.monotonic()
        step_ms = wall_ms - int(passed * 1000) - self._offset_ms
        if not -BELIEVED_STEP_MS <= step_ms <= BELIEVED_STEP_MS:
            with self._lock:
                if abs(step_ms - self._step_ms) > BELIEVED_STEP_MS:
                    self._step_ms, self._stepped_at = step_ms, passed
                if passed - self._stepped_at < BELIEVED_AFTER_SECONDS:
                    return step_ms
        self._step_ms = 0
        self._offset_ms += step_ms
        self._even_ms = wall_ms
        return 0


def careful(clock: Clock) -> CarefulClock:
    """The clock itself, if it is careful already: a process knows one time."""
    return clock if isinstance(clock, CarefulClock) else CarefulClock(clock)
