"""Threads for what may hang: whoever asks waits for a limited time, whatever becomes of the work.

An engine may be asked to end a question in time, and may be where it does not hear: in a read of a
disk that does not answer. So it is the asker who gives up. The thread is left to its work; another
one takes its place, unless too many are stuck already.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from penstock.core.errors import NotReady

T = TypeVar("T")
_STUCK_MAX = 16
"""Threads that hang, beside which others work; each keeps what it has in hand."""
_CLOSE_SECONDS = 2.0


class _Task:
    def __init__(self, work: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[object] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
        self.begun = False
        self.ended = False
        self.given_up = False


class Threads:
    """At most `at_once` pieces of work are in hand, besides those that nobody waits for."""

    def __init__(self, name: str, at_once: int) -> None:
        self._name = name
        self._at_once = at_once
        self._lock = threading.Condition()
        self._waiting: deque[_Task] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closing = False
        self.stuck = 0
        """Pieces of work that have not ended though their askers gave up."""

    async def run(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """Raise `NotReady` when it takes longer, waiting for a thread included; None: no limit."""
        loop = asyncio.get_running_loop()
        task = _Task(work, loop)
        self._put(task)
        if seconds is not None:
            task.timer = loop.call_later(seconds, self._expire, task, seconds)
        try:
            answer: T = await task.future  # type: ignore[assignment] # what `work` returns
        except asyncio.CancelledError:
            self._withdraw(task)  # what is in hand keeps its place until its time is up
            raise
        return answer

    def close(self) -> None:
        """Wait for what is in hand, but not for what hangs; what waits is dropped."""
        with self._lock:
            self._closing = True
            self._waiting.clear()
            self._lock.notify_all()
            self._lock.wait_for(lambda: len(self._threads) <= self.stuck, _CLOSE_SECONDS)

    def _put(self, task: _Task) -> None:
        with self._lock:
            if self._closing:
                raise NotReady("the process is stopping")
            self._waiting.append(task)
            if self._idle >= len(self._waiting):  # those that are woken already are idle still
                self._lock.notify()
            else:
                self._grow()

    def _grow(self) -> None:
        """A thread more, if there is something to do for it. The lock is held."""
        stuck = min(self.stuck, _STUCK_MAX)
        if self._waiting and not self._closing and len(self._threads) < self._at_once + stuck:
            number = len(self._threads)
            thread = threading.Thread(
                target=self._work, name=f"penstock-{self._name}_{number}", daemon=True
            )
            self._threads.add(thread)
            thread.start()

    def _expire(self, task: _Task, seconds: float) -> None:
        if not task.future.done():
            task.future.set_exception(NotReady(f"no answer within {seconds:g} seconds"))
        self._withdraw(task)
        with self._lock:
            if task.begun and not task.ended:
                task.given_up = True
                self.stuck += 1
                self._grow()

    def _withdraw(self, task: _Task) -> None:
        with self._lock, suppress(ValueError):
            self._waiting.remove(task)

    def _work(self) -> None:
        while task := self._next():
            answer: object = None
            error: BaseException | None = None
            try:
                answer = task.work()
            except BaseException as raised:  # noqa: BLE001 - theirs to judge who asked
                error = raised
            with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                task.loop.call_soon_threadsafe(_resolve, task, answer, error)
            if self._ended(task):
                return

    def _next(self) -> _Task | None:
        with self._lock:
            self._idle += 1
            self._lock.wait_for(lambda: self._waiting or self._closing)
            self._idle -= 1
            if not self._waiting:
                self._leave()
                return None
            task = self._waiting.popleft()
            task.begun = True
            return task

    def _ended(self, task: _Task) -> bool:
        """Whether another thread has taken this one's place meanwhile."""
        with self._lock:
            task.ended = True
            self.stuck -= task.given_up
            if replaced := len(self._threads) > self._at_once + min(self.stuck, _STUCK_MAX):
                self._leave()
            return replaced

    def _leave(self) -> None:
        self._threads.discard(threading.current_thread())
        self._lock.notify_all()


def _resolve(task: _Task, answer: object, error: BaseException | None) -> None:
    if task.timer is not None:
        task.timer.cancel()
    if task.future.done():
        return
    if error is None:
        task.future.set_result(answer)
    else:
        task.future.set_exception(error)
