"""Sends the stream and its queries on schedule (AU-122), open loop unless the plan has no rate."""

import asyncio
from collections.abc import Callable
from time import perf_counter

from penstock.load.plans import Plan
from penstock.load.session import Session
from penstock.load.workload import Workload

_TICK_SECONDS = 0.001
# Small enough that making a block (0.2 ms) does not show in the latencies.
_BLOCK_EVENTS = 256
# Sending pauses for answers after this many, also when it is behind its schedule.
_BURST_EVENTS = 100
_CLOSED_LOOP_QUERIES_MAX = 32


class Drive:
    """Sends `plan.events` tags from `first` on, with the queries that go with them."""

    def __init__(self, session: Session, plan: Plan, *, first: int) -> None:
        self._session = session
        self._plan = plan
        self._first = first
        self._workload = session.workload
        self._bodies = Bodies(session.workload, stop=first + plan.events)
        self.sent = 0
        self.seconds = 0.0

    async def run(self, on_progress: Callable[[int], None]) -> None:
        """Send everything, then wait for the last answer."""
        start = perf_counter()
        while self.sent < self._plan.events:
            elapsed = perf_counter() - start
            if self._plan.rate is None and elapsed >= (self._plan.seconds or float("inf")):
                break
            for _ in range(self._due(elapsed)):
                self._send_next(start, elapsed)
            self._session.tick()
            on_progress(self.sent)
            await asyncio.sleep(_TICK_SECONDS if self._due(perf_counter() - start) == 0 else 0)
        await self._session.drain()
        self.seconds = perf_counter() - start
        on_progress(self.sent)

    def _due(self, elapsed: float) -> int:
        """How many to send now."""
        left = self._plan.events - self.sent
        if self._plan.rate is not None:
            return min(int(elapsed * self._plan.rate) + 1 - self.sent, left, _BURST_EVENTS)
        if self._session.unfinished_queries > _CLOSED_LOOP_QUERIES_MAX:
            return 0
        # A short queue keeps every connection busy between two turns.
        free = 2 * self._session.connections - self._session.unfinished_events
        return max(0, min(free, left, _BURST_EVENTS))

    def _send_next(self, start: float, elapsed: float) -> None:
        number, rate = self.sent, self._plan.rate
        self.sent = number + 1
        due = elapsed if rate is None else number / rate
        self._session.send(self._first + number, self._bodies.next(), intended=start + due)
        for kind in self._workload.kinds:
            if number % kind.every == 0 and due >= kind.after_seconds:
                settled = self._session.settled(kind.wait_seconds)
                before = self._before(due, kind.wait_seconds, settled)
                query = self._workload.query(kind, number // kind.every, before=before)
                self._session.ask(kind, query, settled=settled, intended=start + due)

    def _before(self, due: float, wait_seconds: float, settled: int) -> int:
        """What may be asked for: by schedule, so that queries do not depend on the server.

        Should the server lag behind the schedule, `settled` keeps the grade fair.
        """
        if self._plan.rate is None:
            return settled
        return self._first + max(0, int((due - wait_seconds) * self._plan.rate))


class Bodies:
    """The events to send, made block by block as the ledger takes them in."""

    def __init__(self, workload: Workload, *, stop: int) -> None:
        self._workload = workload
        self._stop = stop
        self._ready: list[bytes] = []

    def next(self) -> bytes:
        if not self._ready:
            left = self._stop - self._workload.ledger.size
            self._ready = self._workload.bodies(min(_BLOCK_EVENTS, left))
            self._ready.reverse()
        return self._ready.pop()
