"""Schedules: what ends in the midst of a run, and runs that do not end. Reliability 1 and 37."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.core.events import Event
from penstock.core.manifest import Run
from penstock.core.reach import Reach
from penstock.core.schedules import attempts
from penstock.core.state.rocksdb import RocksState
from support.notes import Crash
from support.scheduled import Bench, Shared, Stated, Work, results, schedule


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


# -- processes that end ------------------------------------------------------------------------


class Ending(RocksState):
    """The real engine, and the process ends when it is told to, before it has written."""

    left = -1

    def apply(self, *given: Any, **named: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash
        super().apply(*given, **named)


@pytest.mark.parametrize(("write", "begun"), [(1, 1), (2, 2)], ids=["begin", "note"])
def test_whenever_a_process_ends_the_next_one_goes_on_and_adds_nothing_twice(
    tmp_path: Path, write: int, begun: int
) -> None:
    bench = Bench(tmp_path, Ending)
    assert isinstance(bench.state, Ending)
    work = Work()
    hourly = schedule(work, retry_seconds=1.0)
    process = bench.process(hourly)
    bench.pass_hours(1)
    bench.state.left = write
    with pytest.raises(Crash):
        process.turn()
    heir = bench.process(hourly, owner="two")
    bench.pass_seconds(20, heir)
    heir.turn()
    bench.pass_seconds(2, heir)
    assert bench.stated() == [1]
    [ran] = bench.runs()
    assert (ran.result, ran.attempts, ran.owner) == ("succeeded", begun, "two")
    assert ran.repeated == (begun == 2)
    bench.close()


def test_work_that_ends_its_process_again_and_again_is_left_alone(bench: Bench) -> None:
    work = Work()
    hourly = schedule(work, retries=1, retry_seconds=1.0)
    process = bench.process(hourly)
    bench.pass_hours(1)
    for owner in ("two", "three"):
        process.begin()
        process.end()  # and it is never heard of again
        bench.pass_seconds(20)
        process = bench.process(hourly, owner=owner)
        bench.pass_seconds(2)
    process.turn()
    assert [attempt for _, attempt in work.runs] == [1, 2]
    assert results(bench) == [(1, "interrupted")]
    assert bench.lacking(hourly) == {"tests.hourly": [(1, 1)]}


def test_a_stop_interrupts_what_is_long_and_counts_no_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_STOP_SECONDS", 0.1)
    begun = threading.Event()

    async def long(run: Run, reach: Reach) -> Sequence[Event]:
        del run, reach
        begun.set()
        await asyncio.Event().wait()
        return ()

    process = bench.process(schedule(long))
    bench.pass_hours(1)
    process.begin()
    assert begun.wait(600.0)
    process.stop()
    assert [(ran.result, ran.attempts) for ran in bench.runs()] == [("interrupted", 1)]
    work = Work()
    heir = bench.process(schedule(work), owner="two")
    heir.turn()
    assert work.runs == [(1, 1)]


def test_of_two_processes_one_leads_and_who_was_held_up_writes_nothing(bench: Bench) -> None:
    bench.leases = Shared(bench.clock)
    one, two = Work(), Work()
    leader, heir = bench.process(schedule(one)), bench.process(schedule(two), owner="two")
    bench.pass_hours(1, leader, heir)
    assert (one.runs, two.runs) == ([(1, 1)], [])
    bench.pass_hours(1)
    heir.turn()  # the lease has ended meanwhile, and its owner does not know
    leader.turn()
    assert (len(one.runs), two.runs) == (1, [(2, 1)])
    assert two.tokens[0] > one.tokens[0]
    assert not leader.leading.leads
    assert bench.stated() == [1, 2]


def test_who_is_found_to_be_replaced_while_it_runs_adds_nothing(bench: Bench) -> None:
    bench.leases = Shared(bench.clock)
    go_on, begun = threading.Event(), threading.Event()

    async def held(run: Run, reach: Reach) -> Sequence[Event]:
        del reach
        begun.set()
        go_on.wait(600.0)
        return [Stated(-run.attempt)]

    leader = bench.process(schedule(held))
    bench.pass_hours(1)
    leader.begin()
    assert begun.wait(600.0)
    bench.pass_hours(1)
    heir = bench.process(schedule(Work(), retry_seconds=1.0), owner="two")
    leader.begin()
    assert not leader.leading.leads
    go_on.set()
    leader.ended()
    bench.pass_seconds(10, heir)
    assert bench.stated() == [1, 2]


# -- runs that do not end ----------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_cancelled_and_has_failed(bench: Bench) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def endless(run: Run, reach: Reach) -> Sequence[Event]:
        del run, reach
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ()

    process = bench.process(schedule(endless, seconds_max=30.0, retries=0))
    bench.pass_hours(1)
    process.begin()
    assert begun.wait(600.0)
    bench.pass_seconds(31)
    process.turn()
    assert ended.is_set()
    [ran] = bench.runs()
    assert (ran.result, ran.reason) == ("failed", "it did not end within 30 seconds")


def test_one_that_does_not_hear_is_given_up_told_and_not_begun_beside_itself(
    bench: Bench,
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    async def deaf(run: Run, reach: Reach) -> Sequence[Event]:
        del reach
        begun.release()
        go_on.wait(600.0)
        return [Stated(run.interval.number)]

    process = bench.process(schedule(deaf, seconds_max=30.0, retries=0))
    bench.pass_hours(1)
    process.begin()
    assert begun.acquire(timeout=600.0)
    for seconds in (31, 6):
        bench.pass_seconds(seconds)
        process.begin()
    [ran] = bench.runs()
    why = "it did not end within 30 seconds, nor when it was cancelled"
    assert (ran.result, ran.reason) == ("failed", why)
    assert len(process.lines.named("schedule.stuck")) == 1
    bench.pass_hours(1)
    process.begin()
    assert not begun.acquire(blocking=False)
    go_on.set()
    process.ended()
    assert bench.stated() == []
    assert len(process.lines.named("schedule.ended_late")) == 1


class Foreign(Event, frozen=True, array_like=True, gc=False, tag="foreign/1"):
    pass


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ([Foreign()], "Foreign is of no topic that the schedule emits to"),
        ([Stated(0)] * 10_001, "10001 events of one run; at most 10000"),
        (None, "TypeError"),
    ],
)
def test_what_a_run_may_not_return_is_its_failure_and_none_of_it_is_added(
    bench: Bench, returned: Any, why: str
) -> None:
    async def wrong(run: Run, reach: Reach) -> Sequence[Event]:
        del run, reach
        answer: Sequence[Event] = returned
        return answer

    process = bench.process(schedule(wrong, retries=0))
    bench.pass_hours(1, process)
    [ran] = bench.runs()
    assert ran.result == "failed"
    assert why in ran.reason
    assert bench.stated() == []
