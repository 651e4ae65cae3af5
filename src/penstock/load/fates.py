"""What became of every event of a run, and how far all of them are finished."""

from collections import deque

import numpy as np

# Pending events are on the wire; indeterminate ones ended in 5xx, timeout or disconnect, so they
# may show everywhere or nowhere (AU-26); refused ones show nowhere.
UNSENT, PENDING, ACCEPTED, INDETERMINATE, REFUSED = range(5)


class Fates:
    """By the index of the event; memory is taken only as events arrive."""

    def __init__(self, capacity: int) -> None:
        self.size = 0
        """So many events are made."""
        self.fates = np.zeros(capacity, dtype=np.uint8)
        # Item access through a memoryview costs a third of what it costs through numpy.
        self.fate = self.fates.data

    def settle(self, first: int, count: int, *, fate: int) -> None:
        """Give consecutive events the same fate."""
        self.fates[first : first + count] = fate


class Frontier:
    """The index below which every event is finished, now and some seconds ago."""

    def __init__(self, fates: Fates, *, start: int, memory_seconds: float) -> None:
        self._fates = fates
        self._memory_seconds = memory_seconds
        self._start = start
        self.index = start
        self._marks: deque[tuple[float, int]] = deque()

    def advance(self, now: float) -> None:
        """Note how far the finished events reach; call several times a second."""
        fate, index, size = self._fates.fate, self.index, self._fates.size
        while index < size and fate[index] > PENDING:
            index += 1
        self.index = index
        self._marks.append((now, index))
        while len(self._marks) > 1 and self._marks[1][0] < now - self._memory_seconds:
            self._marks.popleft()

    def settled(self, now: float, *, wait_seconds: float) -> int:
        """Events below this index were all finished at least `wait_seconds` before `now`."""
        found = self._start
        for moment, index in self._marks:
            if moment > now - wait_seconds:
                break
            found = index
        return found
