"""A turn of the loop: how long everybody together may work before it looks at its sockets again.

What one client may have done is bounded by its request; what a hundred may have done at the same
moment is bounded here, for all kinds of work together. Whoever has work to do asks whether there is
time for it, and has it done later where there is none.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter

TURN_SECONDS = 0.004
"""With a share of the next one and a piece over, under ten milliseconds: up to 9.5 were measured.
256 requests take two."""
SHARE_SECONDS = 0.001
"""At most so much of it is for those who have many things to do: newcomers, answers, whoever has
waited. What has just arrived gets the rest."""
_LEAST_SECONDS = 0.00025
"""So much they get where others have taken all of it, so that everything goes on."""
_REST_SECONDS = 0.001
"""A loop that never waits lets go of the interpreter so briefly between two callbacks that no other
thread gets hold of it: the log's would wait for tens of milliseconds."""

Work = Callable[[], None]


class Turn:
    """`attach` it to the running loop first."""

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        """`now` is in seconds."""
        self.until = 0.0
        """When its time is up; 0 before anything was done in it."""
        self._now = now
        self._share_until = 0.0
        self._waiting: deque[Work] = deque()
        self.is_behind = False
        """Whether anything waits for a turn to come."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def has_time(self) -> bool:
        """Whether what has just arrived may be done at once."""
        now = self._now()
        if not self.until:
            self._begin(now)
        return now < self.until

    def pieces(self) -> Iterator[None]:
        """One for each piece of work that there is time for, and one in any case: for those who
        have many to do.
        """
        now = self._now()
        if not self.until:
            self._begin(now)
        self._share_until = max(min(self.until, now + SHARE_SECONDS), now + _LEAST_SECONDS)
        yield
        while self._now() < self._share_until:
            yield

    def charge(self, seconds: float) -> None:
        """For work that will be done, by the loop itself too, because of what was done now."""
        if not self.until:
            self._begin(self._now())
        self.until -= seconds
        self._share_until -= seconds

    def soon(self, work: Work) -> None:
        """At once if there is time."""
        if self.has_time():
            work()
        else:
            self.later(work)

    def later(self, work: Work) -> None:
        """After all that wait already."""
        self._waiting.append(work)
        if not self.is_behind:
            self.is_behind = True
            self._loop.call_soon(self._go_on)

    def _begin(self, now: float) -> None:
        self.until = now + TURN_SECONDS
        self._loop.call_soon(self._end)

    def _end(self) -> None:
        """The loop has come round."""
        self.until = 0.0

    def _go_on(self) -> None:
        self._end()
        waiting = self._waiting
        try:
            for _ in self.pieces():
                waiting.popleft()()
                if not waiting:
                    break
        finally:  # a defect of one is the loop's to tell, and keeps it from no other
            self.is_behind = bool(waiting)
            if waiting:
                self._loop.call_later(_REST_SECONDS, self._go_on)
