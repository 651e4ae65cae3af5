"""Threads by purpose, off the event loop: what users ask waits for nothing operators ask."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from penstock.core.threads import Threads

_QUERY_THREADS = 4
_OPERATOR_THREADS = 4
_EDITOR_THREADS = 4
_EDIT_SECONDS = 30.0
_COMMIT_SECONDS = 10.0
"""So much earlier an edit is committed, or not at all: what its asker was told has failed does not
happen afterwards.
"""
_GRACE_SECONDS = 0.5
"""So much later than the engine is to do askers give up, for it may not hear of its limit."""

T = TypeVar("T")


class Pools:
    def __init__(self, query_seconds_max: float) -> None:
        """0: users wait for as long as it takes."""
        self._users_wait = query_seconds_max + _GRACE_SECONDS if query_seconds_max else None
        self._users = Threads("query", _QUERY_THREADS)
        self._operators = Threads("ops", _OPERATOR_THREADS)
        self._editors = Threads("edit", _EDITOR_THREADS)
        self._jobs: list[threading.Thread] = []

    async def run(self, work: Callable[[], T]) -> T:
        """Blocking work for a user. Raise `NotReady` when it takes too long."""
        return await self._users.run(work, self._users_wait)

    async def operate(self, work: Callable[[], T]) -> T:
        """Blocking work for an operator, which waits for no user's."""
        return await self._operators.run(work)

    async def edit(self, work: Callable[[float], T]) -> T:
        """Work with the database, told until when, of `time.monotonic`, it may commit; who asks a
        store waits for none of it. Raise `NotReady` when it takes too long.
        """
        until = time.monotonic() + _EDIT_SECONDS - _COMMIT_SECONDS  # waiting for a thread is in it
        return await self._editors.run(lambda: work(until), _EDIT_SECONDS)

    def spawn(self, work: Callable[[], None]) -> None:
        """Long blocking work, on a thread of its own that `finish` waits for."""
        thread = threading.Thread(target=work, name="penstock-job")
        self._jobs = [job for job in self._jobs if job.is_alive()] + [thread]
        thread.start()

    def finish(self) -> None:
        """Wait for what was spawned; whoever spawned it has told it to end."""
        for job in self._jobs:
            job.join()

    def close(self) -> None:
        """Wait for what is in hand, but not for what hangs."""
        for pool in (self._users, self._operators, self._editors):
            pool.close()
