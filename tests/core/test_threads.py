"""What hangs costs its asker a limited time, and nobody else anything (reliability 50)."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from penstock.core.errors import NotReady
from penstock.core.threads import Threads

PATIENCE_SECONDS = 60.0
SOON = 0.02


class Hang:
    """Work that ends when it is let."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.begun = threading.Semaphore(0)
        self.in_hand = 0
        self.in_hand_max = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.in_hand += 1
            self.in_hand_max = max(self.in_hand, self.in_hand_max)
        self.begun.release()
        assert self.free.wait(PATIENCE_SECONDS)
        with self._lock:
            self.in_hand -= 1
        return "free"


@contextmanager
def threads(at_once: int = 2) -> Iterator[tuple[Threads, Hang]]:
    made, hang = Threads("tests", at_once), Hang()
    try:
        yield made, hang
    finally:
        hang.free.set()
        made.close()
        ended()


def ended() -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while [t for t in threading.enumerate() if t.name.startswith("penstock-tests")]:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def hung(made: Threads, hang: Hang) -> None:
    """It hangs, and nobody waits for it any more. The loop stands still until a thread has begun,
    so that the time is not up before.
    """
    asked = asyncio.ensure_future(made.run(hang, SOON))
    await asyncio.sleep(0)
    assert hang.begun.acquire(timeout=PATIENCE_SECONDS)
    with pytest.raises(NotReady, match=r"no answer within 0\.02 seconds"):
        await asked


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await work()

    asyncio.run(bounded())


def test_what_work_returns_or_raises_is_the_answer() -> None:
    async def work() -> None:
        assert await made.run(lambda: 7) == 7
        for error in (TimeoutError, KeyError):
            with pytest.raises(error):
                await made.run(partial(_raise, error))

    with threads() as (made, _):
        run(work)


def _raise(error: type[Exception]) -> None:
    raise error


def test_who_asks_what_hangs_is_told_in_time_and_others_are_answered_all_the_while() -> None:
    async def work() -> None:
        for stuck in range(1, 8):
            await hung(made, hang)
            assert made.stuck == stuck
            assert await made.run(lambda: "answered") == "answered"
        hang.free.set()
        while made.stuck:  # noqa: ASYNC110 - counted down on other threads
            await asyncio.sleep(SOON)
        answers = await asyncio.gather(*(made.run(partial(int, n)) for n in range(100)))
        assert answers == list(range(100))

    with threads() as (made, hang):
        run(work)


def test_no_more_is_in_hand_at_once_than_is_to_be() -> None:
    """Whose asker went away is in hand for as long as its time is not up."""

    async def work() -> None:
        asking = [asyncio.create_task(made.run(hang, PATIENCE_SECONDS)) for _ in range(20)]
        while hang.in_hand < 3:  # noqa: ASYNC110 - counted up on other threads
            await asyncio.sleep(0)
        for task in asking[:3]:
            task.cancel()
        await asyncio.sleep(SOON)
        assert hang.in_hand_max == 3
        hang.free.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert answers[3:] == ["free"] * 17

    with threads(3) as (made, hang):
        run(work)


def test_too_much_that_hangs_is_told_in_time_too_and_takes_no_more_threads() -> None:
    async def work() -> None:
        for _ in range(18):
            await hung(made, hang)
        assert hang.in_hand == 18
        with pytest.raises(NotReady):
            await made.run(lambda: 1, SOON)
        assert hang.in_hand == 18

    with threads() as (made, hang):
        run(work)


def test_a_close_waits_for_nothing_that_hangs() -> None:
    async def work() -> None:
        await hung(made, hang)
        began = time.monotonic()
        made.close()
        assert time.monotonic() - began < PATIENCE_SECONDS / 2
        with pytest.raises(NotReady, match="stopping"):
            await made.run(lambda: 1)

    with threads() as (made, hang):
        run(work)


def test_two_that_come_at_once_wait_for_no_single_thread_that_rests() -> None:
    """A thread that was woken and has not begun is no longer free for the next one."""
    with threads(2) as (made, hang):

        async def work() -> None:
            await made.run(lambda: None)
            while not made._idle:  # noqa: ASYNC110 - it rests on a thread of its own
                await asyncio.sleep(0)
            asked = [asyncio.ensure_future(made.run(hang)) for _ in range(2)]
            await asyncio.sleep(0)
            for _ in asked:
                assert await asyncio.to_thread(hang.begun.acquire, timeout=PATIENCE_SECONDS)
            hang.free.set()
            assert await asyncio.gather(*asked) == ["free", "free"]

        run(work)
        assert hang.in_hand_max == 2
