"""A hold of the loop is told, once; what only looks like one is not."""

import asyncio
import ctypes
import sys
import time
from collections.abc import Callable

import pytest

from penstock.core.edge.watchdog import Watchdog
from penstock.core.telemetry import Samples

HELD_SECONDS = 0.2
QUIET_SECONDS = 0.1
"""Far below what is held, and far above what a quiet loop uses."""


def told(watchdog: Watchdog) -> float:
    samples = Samples()
    watchdog.sample(samples)
    (sample,) = samples.families["penstock_loop_held_seconds"].samples
    return float(sample.value)


def both(watchdog: Watchdog) -> tuple[float, float]:
    """The longest hold, and the longest wait."""
    samples = Samples()
    watchdog.sample(samples)
    held, waited = (
        float(sample.value)
        for name in ("penstock_loop_held_seconds", "penstock_loop_waited_seconds")
        for sample in samples.families[name].samples
    )
    return held, waited


def work(seconds: float = HELD_SECONDS) -> None:
    """As long as the thread has a core; what others do with it meanwhile does not count."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def watched(*holds: Callable[[], None]) -> tuple[float, float]:
    """What is told after these have run, one in each turn of the loop, and what after that."""

    async def run() -> tuple[float, float]:
        watchdog = Watchdog(asyncio.get_running_loop())
        watchdog.start()
        for hold in holds:
            await asyncio.sleep(0.01)
            hold()
        await asyncio.sleep(0.05)
        first = told(watchdog)
        await asyncio.sleep(0.05)
        watchdog.stop()
        return first, told(watchdog)

    return asyncio.run(run())


def test_work_on_the_loop_holds_it_and_is_told_once() -> None:
    first, then = watched(work)
    assert first > HELD_SECONDS - QUIET_SECONDS
    assert then < QUIET_SECONDS


def test_the_longest_of_several_holds_is_told() -> None:
    longest, _ = watched(work, lambda: None, work)
    assert HELD_SECONDS - QUIET_SECONDS < longest < 2 * HELD_SECONDS


def test_a_loop_without_the_core_was_not_held() -> None:
    assert max(watched(lambda: time.sleep(HELD_SECONDS))) < QUIET_SECONDS


def test_many_short_turns_are_no_long_one() -> None:
    """Together they take as long as a hold, but the beats between them come in time."""

    async def run() -> float:
        watchdog = Watchdog(asyncio.get_running_loop())
        watchdog.start()
        for _ in range(100):
            work(HELD_SECONDS / 100)
            await asyncio.sleep(0)
        watchdog.stop()
        return told(watchdog)

    assert asyncio.run(run()) < QUIET_SECONDS


class Beats:
    """A loop and both clocks that move only when a test moves them."""

    def __init__(self) -> None:
        self.seconds = self.used = self.queued = 0.0
        self.loop = asyncio.new_event_loop()
        self.pauses: list[float] = []
        self.watchdog = Watchdog(
            self.loop, lambda: self.seconds, lambda: self.used, lambda: self.queued
        )
        self.loop.call_later = self._call_later  # type: ignore[method-assign] # what it would wait

    def _call_later(
        self, delay: float, callback: Callable[..., object], *arguments: object, **_: object
    ) -> asyncio.TimerHandle:
        self.pauses.append(delay)
        self._callback = callback
        when = self.seconds + delay
        return asyncio.TimerHandle(when, callback, arguments, self.loop)

    def pass_by(self, *, late: float = 0.0, used: float = 0.0, queued: float = 0.0) -> None:
        self.seconds += self.pauses[-1] + late
        self.used += used
        self.queued += queued
        self._callback()


def test_a_hold_is_no_longer_than_the_beat_is_late_or_the_thread_was_busy() -> None:
    for late, used, held in ((0.04, 0.03, 0.03), (0.03, 0.04, 0.03), (-0.001, 0.005, 0.0)):
        beats = Beats()
        beats.watchdog.start()
        beats.pass_by(late=late, used=used)
        assert abs(told(beats.watchdog) - held) < 1e-9
        beats.loop.close()


def test_what_is_neither_work_nor_want_of_a_core_was_a_wait_and_is_told_once() -> None:
    beats = Beats()
    beats.watchdog.start()
    beats.pass_by(late=0.05, used=0.01, queued=0.015)
    beats.pass_by(late=0.02, queued=0.02)
    held, waited = both(beats.watchdog)
    assert abs(held - 0.01) < 1e-9
    assert abs(waited - 0.025) < 1e-9
    assert both(beats.watchdog) == (0.0, 0.0)
    beats.loop.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell who waits")
def test_a_library_that_keeps_the_interpreter_is_seen() -> None:
    """As the state's engine does while it syncs."""
    sleep = ctypes.PyDLL(None).usleep  # of all ways to call it the one that keeps it

    async def run() -> tuple[float, float, float]:
        watchdog = Watchdog(asyncio.get_running_loop())
        watchdog.start()
        queued = watchdog._own
        assert queued is not None
        before = queued() + time.thread_time()
        await asyncio.to_thread(sleep, int(HELD_SECONDS * 1e6))
        await asyncio.sleep(0.05)
        otherwise = queued() + time.thread_time() - before
        told_of = both(watchdog)
        watchdog.stop()
        return *told_of, otherwise

    held, waited, otherwise = asyncio.run(run())
    assert held < QUIET_SECONDS
    assert waited > HELD_SECONDS - QUIET_SECONDS - otherwise


def test_a_quiet_loop_is_woken_seldom_and_a_busy_one_watched_closely() -> None:
    beats = Beats()
    beats.watchdog.start()
    for _ in range(1_000):
        beats.pass_by(used=0.0002)
    resting = beats.pauses[-1]
    assert beats.pauses[0] <= 0.005 < resting
    beats.pass_by(used=0.01)
    assert beats.pauses[-1] == beats.pauses[0]
    beats.loop.close()


def test_a_beat_that_was_late_is_not_held_against_the_next() -> None:
    beats = Beats()
    beats.watchdog.start()
    beats.pass_by(late=0.5, used=0.5)
    assert told(beats.watchdog) == 0.5
    beats.pass_by()
    assert told(beats.watchdog) == 0.0
    beats.loop.close()
