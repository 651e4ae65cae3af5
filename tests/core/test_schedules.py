"""Schedules: each interval once, in order, by one process, whatever ends and whatever fails.

Reliability 13 and 37.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from penstock.core.events import Event
from penstock.core.manifest import Owned, Run
from penstock.core.reach import Reach
from penstock.core.schedules.book import RUNS_KEPT
from support.logs import contents
from support.scheduled import BEGIN, HOUR, STATEMENTS, Bench, Stated, Work, hour, results, schedule


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


# -- in order ----------------------------------------------------------------------------------


def test_each_interval_is_run_once_when_it_is_over_from_the_first_that_begins(
    bench: Bench,
) -> None:
    work = Work()
    process = bench.process(schedule(work))
    process.turn()
    assert work.runs == []
    for _ in range(4):
        bench.pass_seconds(1_800, process)
        process.turn()
    assert work.runs == [(1, 1), (2, 1)]
    assert bench.stated() == [1, 2]
    [first, _] = bench.runs()
    assert (first.start_ms, first.end_ms) == (BEGIN * 1000, (BEGIN + HOUR) * 1000)
    assert (first.result, first.by, first.events, first.owner) == ("succeeded", "clock", 1, "one")


def test_what_fails_is_tried_again_later_and_later_and_then_given_up_and_named(
    bench: Bench,
) -> None:
    work = Work(fails=3)
    hourly = schedule(work, retries=2, retry_seconds=60.0)
    process = bench.process(hourly)
    bench.pass_hours(1, process)
    for seconds in (59, 1, 119, 1):
        bench.pass_seconds(seconds, process)
    assert work.runs == [(1, 1), (1, 2), (1, 3)]
    assert [(ran.result, ran.attempts, ran.reason) for ran in bench.runs()] == [
        ("failed", 3, "ValueError: the printer is on fire")
    ]
    assert bench.lacking(hourly) == {"tests.hourly": [(1, 1)]}
    bench.pass_hours(1, process)
    assert results(bench) == [(1, "failed"), (2, "succeeded")]
    assert bench.stated() == [2]
    assert [line["error"] for line in process.lines.named("schedule.failed")] == [
        "ValueError: the printer is on fire"
    ] * 3


def test_words_that_no_encoding_has_stop_no_schedule(bench: Bench) -> None:
    work = Work(fails=1, why="half \udcff")
    process = bench.process(schedule(work, retries=0))
    bench.pass_hours(2, process)
    assert results(bench) == [(1, "failed"), (2, "succeeded")]
    assert bench.runs()[0].reason == "ValueError: half \\udcff"


def test_a_run_by_hand_makes_up_for_what_failed_and_adds_nothing_twice(bench: Bench) -> None:
    work = Work(fails=1)
    hourly = schedule(work, retries=0)
    process = bench.process(hourly)
    bench.pass_hours(3, process)
    for _ in range(2):
        for wanted in (1, 2, -5):
            bench.wish(wanted)
            process.turn()
    assert sorted(bench.stated()) == [-5, 1, 2, 3]
    assert bench.lacking(hourly) == {"tests.hourly": []}
    by_hand = [(ran.by, ran.repeated) for ran in bench.runs()[3:]]
    assert by_hand == [("hand", False), ("hand", True), ("hand", False), *[("hand", True)] * 3]


def test_by_hand_the_last_one_may_be_run_before_the_clock_does(bench: Bench) -> None:
    work = Work()
    process = bench.process(schedule(work))
    bench.pass_hours(3)
    bench.wish(3)
    process.turn(by_hand_only=True)
    bench.pass_hours(1, process)
    assert work.runs == [(3, 1), (4, 1)]
    assert bench.stated() == [3, 4]


@pytest.mark.parametrize(
    ("missed", "runs", "lacking"),
    [("latest", [5, 6], [(1, 4)]), ("each", [1, 2, 3, 4, 5, 6], [])],
)
def test_what_nobody_was_there_for_is_run_by_the_rule_and_named(
    bench: Bench, missed: str, runs: list[int], lacking: list[tuple[int, int]]
) -> None:
    work = Work()
    hourly = schedule(work, missed=missed)
    bench.process(hourly).stop()
    bench.pass_hours(5)
    bench.pass_seconds(1_800)
    process = bench.process(hourly)
    process.turn()
    bench.pass_hours(1, process)
    assert bench.stated() == runs
    assert bench.lacking(hourly) == {"tests.hourly": lacking}
    assert len(process.lines.named("schedule.missed")) == len(lacking)


def test_what_a_run_returns_belongs_to_the_project_that_it_says(bench: Bench) -> None:
    async def state(run: Run, reach: Reach) -> Sequence[Event | Owned]:
        del reach
        return [Stated(hour(run)), Owned("shop", Stated(hour(run)))]

    bench.pass_hours(1, bench.process(schedule(state)))
    read = STATEMENTS.codec().read
    found = [read(payload) for payload in contents(bench.log, STATEMENTS.name)]
    assert found == [("default", Stated(1)), ("shop", Stated(1))]


def test_of_runs_the_newest_are_kept(bench: Bench) -> None:
    process = bench.process(schedule(Work(), at="1 min"))
    for _ in range(RUNS_KEPT + 20):
        bench.pass_seconds(60, process)
    assert [ran.end_ms // 1000 for ran in bench.runs()] == [
        BEGIN + 60 * number for number in range(21, RUNS_KEPT + 21)
    ]


# -- after others ------------------------------------------------------------------------------


def test_one_comes_after_others_once_they_have_succeeded_for_all_of_its_interval(
    bench: Bench,
) -> None:
    hourly, daily, other = Work(), Work(), Work()
    first = schedule(hourly)
    second = schedule(daily, "tests.two", at="2 h", after=("tests.hourly",))
    third = schedule(other, "tests.three", at="2 h", after=("tests.two",))
    process = bench.process(first, second, third)
    bench.pass_hours(1, process)
    hourly.fails = 1
    bench.pass_hours(1, process)
    assert (hourly.runs, daily.runs) == ([(1, 1), (2, 1)], [])  # the first waits for its retry
    bench.pass_seconds(10, process)
    assert [work.runs for work in (hourly, daily, other)] == [
        [(1, 1), (2, 1), (2, 2)], [(2, 1)], [(2, 1)],
    ]  # fmt: skip


def test_one_whose_forerunner_has_failed_is_left_out_and_named(bench: Bench) -> None:
    hourly, daily = Work(fails=1), Work()
    first, second = (
        schedule(hourly, retries=0),
        schedule(daily, "tests.two", at="2 h", after=("tests.hourly",)),
    )
    process = bench.process(first, second)
    bench.pass_hours(4, process)
    assert daily.runs == [(4, 1)]
    [left_out, _] = bench.runs("tests.two")
    assert left_out.result == "missed"
    assert left_out.reason == "tests.hourly has not succeeded for it"
    bench.wish(1)
    bench.wish(2, "tests.two")
    process.turn()
    assert bench.lacking(first, second) == {"tests.hourly": [], "tests.two": []}


# -- clocks ------------------------------------------------------------------------------------


def test_a_clock_that_steps_has_nothing_run_twice_and_nothing_left_out(bench: Bench) -> None:
    work = Work()
    hourly = schedule(work)
    process = bench.process(hourly)
    bench.pass_hours(3, process)
    for step in (-1, 1, 24 * 365, -24 * 365, -2):
        bench.clock.step_hours(step)
        process.turn()
        bench.pass_hours(1, process)
    assert bench.stated() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert bench.lacking(hourly) == {"tests.hourly": []}


def test_a_process_that_starts_with_a_clock_a_year_ahead_leaves_the_year_to_be_run(
    bench: Bench,
) -> None:
    work, year = Work(), 24 * 365
    hourly = schedule(work)
    bench.process(hourly).stop()
    bench.clock.step_hours(year)
    ahead = bench.process(hourly)
    bench.pass_hours(1, ahead)
    ahead.stop()
    bench.clock.step_hours(-year)
    for _ in range(2):  # and a restart runs nothing again
        process = bench.process(hourly)
        bench.pass_hours(2, process)
        process.stop()
    assert bench.stated() == [year, year + 1, 1, 2, 3, 4, 5]
