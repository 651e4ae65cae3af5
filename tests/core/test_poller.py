"""What is known of something that may hang, for however many ask."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from penstock.core.clock import SystemClock
from penstock.core.poller import Poller, Seen
from support.clock import MovedClock

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
NEVER = 3_600.0
LOOK_SECONDS = 0.01


class Sight:
    """What is looked at: counts the looks, and hangs while it is told to."""

    def __init__(self) -> None:
        self.value = 0
        self.looks = 0
        self.at_once = 0
        self.at_once_max = 0
        self.fails = ""
        self.begun = threading.Semaphore(0)
        self.free = threading.Event()
        self.free.set()

    def look(self) -> int:
        self.looks += 1
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        value = self.value
        self.begun.release()
        assert self.free.wait(PATIENCE_SECONDS)
        self.at_once -= 1
        if self.fails:
            raise RuntimeError(self.fails)
        return value


@contextmanager
def looking(
    sight: Sight, *, every_seconds: float = NEVER, first_seconds: float = PATIENCE_SECONDS
) -> Iterator[tuple[Poller[int], MovedClock]]:
    clock = MovedClock()
    poller = Poller(
        "tests",
        sight.look,
        every_seconds=every_seconds,
        first_seconds=first_seconds,
        clock=clock,
    )
    poller.start()
    try:
        yield poller, clock
    finally:
        sight.free.set()
        poller.close()
        assert not poller._thread.is_alive()


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await work()

    return asyncio.run(bounded())


async def asked(poller: Poller[int], **given: float) -> int | None:
    waits = {"fresh_seconds": 0.0, "patience_seconds": PATIENCE_SECONDS, **given}
    seen: Seen[int] | None = await poller.ask(**waits)
    return None if seen is None else seen.value


def test_however_many_ask_one_look_at_a_time_answers_them_all() -> None:
    sight = Sight()

    async def work() -> list[int | None]:
        await asked(poller)
        looks = sight.looks
        sight.free.clear()
        first = asyncio.create_task(asked(poller))
        await asyncio.to_thread(hangs, sight, looks + 1)
        sight.value = 7
        many = [asyncio.create_task(asked(poller)) for _ in range(300)]
        await asyncio.sleep(0)
        sight.free.set()
        await first
        answers = await asyncio.gather(*many)
        assert sight.looks <= looks + 3
        return answers

    with looking(sight) as (poller, _):
        assert run(work) == [7] * 300
    assert sight.at_once_max == 1


def hangs(sight: Sight, look: int) -> None:
    """Until this look has begun."""
    while sight.looks < look:
        assert sight.begun.acquire(timeout=PATIENCE_SECONDS)


def test_what_happened_before_somebody_asked_is_in_the_answer() -> None:
    sight = Sight()

    async def work() -> None:
        for number in range(300):
            sight.value = number
            assert await asked(poller) == number

    with looking(sight, every_seconds=0.0001) as (poller, _):
        run(work)


def test_who_is_content_with_what_was_seen_lately_causes_no_look() -> None:
    sight = Sight()

    async def work() -> None:
        await asked(poller)
        looks = sight.looks
        for _ in range(50):
            assert await asked(poller, fresh_seconds=0.1) == 0
        assert sight.looks == looks
        sight.value, clock.seconds = 1, clock.seconds + 0.1
        assert await asked(poller, fresh_seconds=0.1) == 1

    with looking(sight) as (poller, clock):
        run(work)


def test_while_a_look_hangs_what_was_seen_last_answers_and_its_age_is_known() -> None:
    sight = Sight()

    async def work() -> None:
        assert await asked(poller) == 0
        sight.value = 1
        sight.free.clear()
        many = await asyncio.gather(*(asked(poller, patience_seconds=0.02) for _ in range(300)))
        assert many == [0] * 300
        clock.seconds += 5
        seen = await poller.ask(fresh_seconds=1.0, patience_seconds=0.02)
        assert seen is not None
        assert poller.age(seen) == 5
        assert poller._waiting == {}, "nobody who gave up is remembered"
        sight.free.set()
        assert await asked(poller) == 1

    with looking(sight) as (poller, clock):
        run(work)
    assert sight.at_once_max == 1


def test_who_goes_away_is_not_remembered() -> None:
    sight = Sight()

    async def work() -> None:
        await asked(poller)
        sight.free.clear()
        tasks = [asyncio.create_task(asked(poller)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert poller._waiting == {}

    with looking(sight) as (poller, _):
        run(work)


def test_for_the_very_first_look_everybody_waits_and_not_for_ever() -> None:
    sight = Sight()
    sight.free.clear()

    async def work() -> None:
        assert await asked(poller, patience_seconds=NEVER) is None
        assert await asyncio.to_thread(poller.known) is None
        sight.free.set()
        while await asked(poller, patience_seconds=0) is None:
            pass
        found = await asyncio.to_thread(poller.known)
        assert found is not None
        assert found.value == 0

    with looking(sight, first_seconds=0.02) as (poller, _):
        run(work)


def test_what_a_look_raises_is_raised_at_who_asked_and_the_next_is_another_try() -> None:
    sight = Sight()

    async def work() -> None:
        assert await asked(poller) == 0
        sight.fails = "not today"
        with pytest.raises(RuntimeError, match="not today"):
            await asked(poller)
        sight.fails, sight.value = "", 2
        assert await asked(poller) == 2

    with looking(sight) as (poller, _):
        run(work)


def test_it_looks_by_itself_every_so_often() -> None:
    sight = Sight()
    with looking(sight, every_seconds=0.001):
        hangs(sight, 20)
    assert sight.looks >= 20


def test_one_that_was_never_started_can_be_closed() -> None:
    Poller("tests", int, every_seconds=1, first_seconds=1, clock=MovedClock()).close()


def test_looks_rest_four_times_as_long_as_they_take() -> None:
    """However many ask: the rest of the time is for others."""
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        time.sleep(LOOK_SECONDS)
        return looks

    poller = Poller("tests", look, every_seconds=NEVER, first_seconds=1, clock=SystemClock())
    poller.start()

    async def work() -> None:
        began = time.monotonic()
        while time.monotonic() - began < 10 * LOOK_SECONDS:
            await poller.ask(fresh_seconds=0, patience_seconds=PATIENCE_SECONDS)
        # The first look, and one in each five times as long as it takes.
        assert looks <= 1 + (time.monotonic() - began) / (5 * LOOK_SECONDS) + 1

    try:
        asyncio.run(work())
    finally:
        poller.close()
