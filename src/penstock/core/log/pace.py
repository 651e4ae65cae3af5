"""Long work beside a server: a little at a time, with rests that are longer than the work.

Priorities do not do this. On Linux `nice` counts within one session or service only, and even there
whoever runs keeps a core for some milliseconds after somebody else wants it.
"""

import time
from collections.abc import Callable

from penstock.core.clock import Clock, SystemClock

_WORK_SECONDS = 0.002
"""So long may it keep a core, and whoever waits for it."""
_RESTS = 9
"""Times as long as it worked: it takes a tenth of one core, or of a disk, at most."""
_COUNTED_SECONDS_MAX = 1.0
"""What took longer was held up, or stopped, or asleep with the machine."""


class Pace:
    """For one thread. What waits for a slow disk or for a core counts as work, so that it takes
    less of a machine the more others want of it.
    """

    def __init__(
        self,
        bytes_per_second: float,
        *,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """0 is no limit, and no rest at all."""
        self._bytes_per_second = bytes_per_second
        self._now = (clock or SystemClock()).monotonic
        self._sleep = sleep
        self._since = self._now()
        self._bytes = 0

    def did(self, size: int = 0) -> None:
        """Another `size` bytes; rest, if it is time to."""
        if not self._bytes_per_second:
            return
        self._bytes += size
        worked = self._now() - self._since
        due = self._bytes / self._bytes_per_second
        if worked < _WORK_SECONDS and due < _WORK_SECONDS * (1 + _RESTS):
            return
        self._sleep(max(due - worked, min(worked, _COUNTED_SECONDS_MAX) * _RESTS))
        self._bytes = 0
        self._since = self._now()
