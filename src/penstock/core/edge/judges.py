"""Off the loop: one thread that has bodies judged, one after the other."""

import threading
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Generic, NamedTuple, TypeVar

from penstock.core.edge.fair import Client, FairQueue
from penstock.core.errors import Overloaded

T = TypeVar("T")

_WAIT_SECONDS_MAX = 5
"""Who is not judged by then is told so: they may be gone, and what they sent is held so long."""
_REST_SECONDS = 600


class _Case(NamedTuple, Generic[T]):
    since: float
    work: Callable[[], T]
    done: Callable[[T | BaseException], None]


class Judges(Generic[T]):
    def __init__(self, rest: Callable[[], object]) -> None:
        """`rest` is called when nothing was judged for a while, and at the end."""
        self._rest = rest
        self._queue: FairQueue[_Case[T]] = FairQueue()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def judge(
        self, client: Client, work: Callable[[], T], done: Callable[[T | BaseException], None]
    ) -> None:
        """`done` gets what `work` returns or raises, on the thread; `Overloaded` after a while."""
        with self._changed:
            self._queue.put(client, _Case(monotonic(), work, done))
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-judge")
                self._thread.start()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closed:
                with self._changed:
                    if not self._queue and not self._changed.wait(_REST_SECONDS):
                        self._rest()
                    if not self._queue:
                        continue
                    client, case = self._queue.take()
                began = perf_counter()
                outcome = _outcome(case)
                with self._changed:
                    self._queue.charge(client, perf_counter() - began)
                case.done(outcome)
                del client, case, outcome
        finally:
            self._rest()


def _outcome(case: _Case[T]) -> T | BaseException:
    if monotonic() - case.since > _WAIT_SECONDS_MAX:
        return Overloaded("more bodies are to be judged than can be; nothing was stored, try again")
    try:
        return case.work()
    except BaseException as error:  # noqa: BLE001 - answered where the request came from
        return error
