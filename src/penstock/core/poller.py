"""A poller: what is known of something that may hang, for any number of askers in bounded time.

A thread of its own looks, whenever somebody wants more than is known and every so often anyway, one
look at a time. So nobody waits longer than it is willing to, however many ask and whatever a look
is stuck in; and what is known says since when. After a look it rests four times as long as that
took: looks have a fifth of a core at most, and leave the interpreter to others.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from penstock.core.clock import Clock

T = TypeVar("T")
_CLOSE_SECONDS = 2.0
"""So long a stop waits for the look in hand; one that hangs ends with the process."""
_REST, _REST_SECONDS_MAX = 4, 0.05


class Seen(NamedTuple, Generic[T]):
    value: T
    at: float
    """When the look began, on the monotonic clock: what happened later may not be in it."""


class Poller(Generic[T]):
    def __init__(
        self,
        name: str,
        look: Callable[[], T],
        *,
        every_seconds: float,
        first_seconds: float,
        clock: Clock,
    ) -> None:
        """For the very first look everybody waits `first_seconds`: there is no other answer yet.

        What `look` raises is raised at those who wait for it; the next look is another try.
        """
        self._look = look
        self._first_seconds = first_seconds
        self._every_seconds = every_seconds
        self._clock = clock
        self._seen: Seen[T] | None = None
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        """Those who want a look that has not begun yet."""
        self._wanted = threading.Event()
        self._looked = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"penstock-{name}", daemon=True)

    def start(self) -> None:
        """The first look begins at once."""
        self._began = self._clock.monotonic()
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)

    def age(self, seen: Seen[T]) -> float:
        """In seconds."""
        return self._clock.monotonic() - seen.at

    def known(self) -> Seen[T] | None:
        """What was seen last. Blocks, but for the first look only."""
        since = self._clock.monotonic() - self._began
        self._looked.wait(max(0.0, self._first_seconds - since))
        return self._seen

    async def ask(self, *, fresh_seconds: float, patience_seconds: float) -> Seen[T] | None:
        """What was seen in the last `fresh_seconds`, or by a look that begins now; when that takes
        more than `patience_seconds`, what was seen last. None when there was no look yet.
        """
        seen = self._seen
        if seen is not None and self.age(seen) < fresh_seconds:
            return seen
        if seen is None:
            patience_seconds = self._first_seconds
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting[waiter] = loop
        self._wanted.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_seconds):
                    await waiter
        finally:
            with self._lock:
                self._waiting.pop(waiter, None)
        return self._seen

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.clear()
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            began, error = self._clock.monotonic(), None
            try:
                self._seen = Seen(self._look(), began)
                self._looked.set()
            except Exception as failure:  # noqa: BLE001 - theirs to judge who asked
                error = failure
            for loop in set(waiting.values()):
                futures = [waiter for waiter, own in waiting.items() if own is loop]
                with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_resolve, futures, error)
            took = self._clock.monotonic() - began
            self._closing.wait(min(_REST * took, _REST_SECONDS_MAX))
            self._wanted.wait(self._every_seconds)


def _resolve(futures: Iterable[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
