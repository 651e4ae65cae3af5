"""Those who wait, on event loops of any thread, for a cursor to come somewhere."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


class Waiters:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    async def reach(self, offset: int, position: Callable[[], int], timeout_seconds: float) -> None:
        """Until somebody is let go who waits for `offset`, or the time is up."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._all.append((offset, loop, future))
        if position() >= offset:  # since it was looked at
            return
        try:
            await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            with self._lock:
                self._all = [waiter for waiter in self._all if waiter[2] is not future]

    def release(self, position: float) -> None:
        """Let go whoever waits for no more than this."""
        if not self._all:
            return
        with self._lock:
            reached = [waiter for waiter in self._all if waiter[0] <= position]
            self._all = [waiter for waiter in self._all if waiter[0] > position]
        for loop in {loop for _, loop, _ in reached}:
            futures = [future for _, own, future in reached if own is loop]
            with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, futures)


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
