"""The thread that carries the log into a projection: following, waiting, retrying, stopping."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.clock import SystemClock
from penstock.core.log.memory import MemoryLog
from penstock.core.projection import Projection
from penstock.core.projection.cursor import PARKED_IN_A_ROW_MAX, Cursor
from penstock.core.projection.flush import Flush
from penstock.core.projection.rebuild import Rebuild
from penstock.core.projection.retention import expire
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import IndexSink, TableSink, sink
from penstock.core.telemetry import METRICS, Bounded, Samples
from support import notes
from support.clock import MovedClock
from support.lines import Lines
from support.logs import TOPIC, add, wait_until
from support.notes import Unreliable, note, rows_of
from support.stores import open_state, stores

PATIENCE_SECONDS = 60.0


class Running:
    """A table and an index over real stores, each on its own thread."""

    def __init__(self, folder: Path) -> None:
        self.clock = MovedClock()
        self.log = MemoryLog(self.clock)
        self.state = open_state(folder)
        self.warehouse: Unreliable = notes.open_unreliable(folder)
        self.stores = stores(self.warehouse, self.state, self.clock)
        self.lines = Lines()
        self.table = self.consumer(notes.table)
        self.index = self.consumer(notes.index)

    def consumer(self, projection: Projection) -> Consumer:
        inner = sink(projection, self.stores)
        return Consumer(projection, inner, self.log, SystemClock(), self.lines.logger)

    def start(self) -> None:
        self.table.start()
        self.index.start()

    def close(self) -> None:
        self.table.stop()
        self.index.stop()
        self.warehouse.close()
        self.state.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


def reach(consumer: Consumer, offset: int, seconds: float = PATIENCE_SECONDS) -> bool:
    return asyncio.run(consumer.cursors[0].reach(offset, seconds))


def exactly(count: int) -> list[tuple[int, int, int]]:
    return [(n, n, n) for n in range(count)]


def test_what_was_there_and_what_comes_is_carried_over(running: Running) -> None:
    note(running.log, *range(100))
    running.start()
    assert reach(running.table, 100)
    for n in range(100, 130):
        note(running.log, n)
    assert reach(running.table, 130)
    assert reach(running.index, 130)
    assert rows_of(running.warehouse) == exactly(130)
    assert (
        running.table.cursors[0].counts.projected
        == running.index.cursors[0].counts.projected
        == 130
    )
    assert (running.table.state, running.table.last_error) == ("running", "")


def test_while_the_engine_is_away_the_lag_shows_and_afterwards_nothing_is_lost_or_doubled(
    running: Running,
) -> None:
    """Reliability 7."""
    running.start()
    note(running.log, *range(10))
    assert reach(running.table, 10)
    running.warehouse.faults = ["refuse"] * 1_000  # until it was seen
    note(running.log, *range(10, 90))
    wait_until(lambda: running.table.state == "retrying")
    status = running.table.cursors[0].status()
    assert status.lag_records == 80
    assert status.lag_seconds >= 0.0
    assert "Unavailable" in status.last_error
    assert reach(running.index, 90), "the other projection goes on"
    running.warehouse.faults = ["lose the reply", "refuse", "refuse"]
    assert reach(running.table, 90)
    wait_until(lambda: running.table.state == "running")
    assert rows_of(running.warehouse) == exactly(90)
    assert notes.counted_in_view(running.warehouse) == 90
    assert running.table.cursors[0].counts.projected == 90
    retries = running.table.cursors[0].status().retries
    assert retries >= 1 + 3
    assert running.table.cursors[0].status().last_error == ""
    assert len(running.lines.named("projection.failed")) == retries
    assert running.lines.named("projection.recovered")[0]["attempts"] >= 1


def test_one_that_fails_and_recovers_all_the_time_writes_no_flood_of_lines(
    running: Running,
) -> None:
    running.lines = Lines(Bounded(running.clock))
    running.table = running.consumer(notes.table)
    running.table.start()
    for n in range(15):
        running.warehouse.faults = ["refuse"]
        note(running.log, n)
        assert reach(running.table, n + 1)
        wait_until(lambda: running.table.state == "running")
    assert running.table.cursors[0].retries == 15
    assert len(running.lines.named("projection.failed")) == 10
    assert len(running.lines.named("projection.recovered")) == 10
    running.clock.seconds += 1
    running.warehouse.faults = ["refuse"]
    note(running.log, 15)
    assert reach(running.table, 16)
    assert running.lines.named("projection.failed")[-1]["suppressed"] == 5


def test_stopping_ends_a_consumer_that_is_waiting_to_try_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for ten minutes."""
    monkeypatch.setattr("penstock.core.projection.cursor._BACKOFF_SECONDS", (600.0, 600.0))
    running.warehouse.faults = ["refuse"] * 1_000
    note(running.log, 1)
    running.table.start()
    wait_until(lambda: running.table.cursors[0].state == "retrying")
    running.table.stop()


def test_a_consumer_that_stops_says_so_and_keeps_nobody_waiting(running: Running) -> None:
    bad = PARKED_IN_A_ROW_MAX + notes.table.flush.block_records
    add(running.log, *[b"no event"] * bad)
    note(running.log, *range(50))
    running.table.start()
    assert not reach(running.table, bad + 50)
    wait_until(lambda: running.table.state == "stopped")
    assert "correct the projection" in running.table.last_error
    (line,) = running.lines.named("projection.failed")
    assert (line["level"], line["state"]) == ("error", "stopped")


def test_a_store_of_another_log_stops_the_consumer_with_the_remedy(running: Running) -> None:
    note(running.log, 1)
    running.table.start()
    assert reach(running.table, 1)
    running.table.stop()
    running.log = MemoryLog(running.clock)
    other = running.consumer(notes.table)
    other.start()
    wait_until(lambda: other.state == "stopped")
    assert "penstock rebuild tests_notes --from-scratch" in other.last_error
    other.stop()


def test_entries_of_another_version_are_refused_and_after_a_rebuild_it_goes_on(
    running: Running,
) -> None:
    note(running.log, 1, 2)
    running.index.start()
    assert reach(running.index, 2)
    running.index.stop()
    newer = replace(notes.index, version=notes.index.version + 1)
    running.index = running.consumer(newer)
    running.index.start()
    wait_until(lambda: running.index.state == "stopped" and bool(running.index.last_error))
    assert "penstock rebuild tests.notes --from-scratch" in running.index.last_error
    note(running.log, 3)
    assert len(running.state.first(newer.space, [b"word"], 9)[0]) == 2

    rebuild = Rebuild(
        running.index, running.stores, running.log, running.clock, running.lines.logger
    )
    assert rebuild.run("", lambda _done, _total: None, compare=False).swapped
    note(running.log, 4)
    assert reach(running.index, 4)
    assert (running.index.state, running.index.last_error) == ("running", "")
    assert len(running.state.first(newer.space, [b"word"], 9)[0]) == 4


def test_a_consumer_that_has_not_begun_yet_can_be_stirred(running: Running) -> None:
    running.log.listen(notes.NOTES.name, running.table._stir)
    note(running.log, 0)
    running.table.start()
    assert reach(running.table, 1)


# -- waiting ------------------------------------------------------------------------------------


def test_waiting_for_what_is_in_already_ends_at_once(running: Running) -> None:
    note(running.log, 1, 2, 3)
    running.table.start()
    assert reach(running.table, 3)
    assert reach(running.table, 3, seconds=0.0)
    assert reach(running.table, 0, seconds=0.0)


def test_waiting_ends_when_the_time_is_up(running: Running) -> None:
    running.warehouse.faults = ["refuse"] * 1_000
    note(running.log, 1)
    running.table.start()
    assert not reach(running.table, 1, seconds=0.1)


def test_whoever_waits_does_not_push(running: Running) -> None:
    lazy = running.consumer(replace(notes.table, flush=Flush.time(3_600.0)))
    lazy.start()
    note(running.log, *range(5))
    assert not reach(lazy, 5, seconds=0.2)
    assert rows_of(running.warehouse) == []
    lazy.stop()


def test_a_backlog_goes_in_as_soon_as_it_is_large_enough(running: Running) -> None:
    for flush in (Flush.size(5, wait_seconds=3_600.0), Flush.hybrid(5, 3_600.0)):
        gathering = running.consumer(replace(notes.table, flush=flush))
        gathering.start()
        at = running.log.end(TOPIC, 0)
        note(running.log, *range(at, at + 3))
        assert not reach(gathering, at + 3, seconds=0.2)
        note(running.log, *range(at + 3, at + 6))
        assert reach(gathering, at + 6)
        gathering.stop()
    assert rows_of(running.warehouse) == exactly(12)


def test_one_who_gave_up_waiting_does_not_trouble_the_consumer_later(running: Running) -> None:
    running.warehouse.faults = ["refuse"] * 1_000
    note(running.log, 1)
    running.table.start()
    assert not reach(running.table, 1, seconds=0.01)  # its event loop is closed now
    running.warehouse.faults = ["refuse"] * 3
    assert reach(running.table, 1)
    assert running.table.cursors[0].retries >= 3


def test_readers_see_their_own_writes(running: Running) -> None:
    running.start()
    for n in range(20):
        note(running.log, n, word=f"word {n}")
        assert reach(running.index, n + 1)
        (history,) = running.state.first("tests.notes", [b"word %d" % n], 10)
        assert [value for _, value in history] == [b"%d" % n]


def test_while_it_is_paused_a_consumer_does_nothing(running: Running) -> None:
    running.table.start()
    note(running.log, 0)
    assert reach(running.table, 1)
    with running.table.paused():
        note(running.log, 1)
        assert not reach(running.table, 2, seconds=0.2)
        assert rows_of(running.warehouse) == exactly(1)
    assert reach(running.table, 2)


def lone_cursor(running: Running) -> Cursor:
    return Cursor(
        notes.table, sink(notes.table, running.stores), running.log, running.clock,
        running.lines.logger,
    )  # fmt: skip


def test_in_a_backlog_the_lag_is_the_age_of_what_is_not_in_yet(running: Running) -> None:
    note(running.log, *range(30))
    running.clock.pass_hours(2)
    cursor, reader = lone_cursor(running), running.log.reader()
    cursor.step(reader, 10)
    assert (cursor.status().lag_records, cursor.status().lag_seconds) == (20, 7200.0)
    running.clock.pass_hours(1)
    assert cursor.status().lag_seconds == 10_800.0
    cursor.step(reader, 20)
    assert (cursor.status().lag_records, cursor.status().lag_seconds) == (0, 0.0)


def test_after_a_silence_the_lag_is_the_age_of_what_came_then(running: Running) -> None:
    note(running.log, 0)
    cursor, reader = lone_cursor(running), running.log.reader()
    cursor.begin()
    cursor.advance(reader)
    cursor.advance(reader)
    running.clock.pass_hours(2)
    cursor.due(0.0)
    note(running.log, 1)
    assert cursor.status().lag_seconds == 0.0
    running.clock.pass_hours(1)
    cursor.due(0.0)
    assert cursor.status().lag_seconds == 3600.0


def test_before_the_first_block_the_lag_grows_with_the_time(running: Running) -> None:
    cursor = lone_cursor(running)
    note(running.log, 0)
    running.clock.pass_hours(1)
    assert cursor.status().lag_seconds == 3600.0


def test_a_clock_that_steps_back_makes_no_lag_negative(running: Running) -> None:
    """Reliability 13."""
    cursor, reader = lone_cursor(running), running.log.reader()
    note(running.log, 0)
    cursor.step(reader, 10)
    running.clock.step_hours(-1)
    note(running.log, 1)
    assert cursor.status().lag_records == 1
    assert cursor.status().lag_seconds >= 0.0
    running.clock.step_hours(3)
    assert cursor.step(reader, 10) == 1
    assert rows_of(running.warehouse) == exactly(2)
    assert cursor.status().lag_seconds == 0.0


class CountedCompactions(IndexSink):
    compactions = 0

    def compact(self) -> None:
        self.compactions += 1
        super().compact()


def test_a_store_is_compacted_when_a_backlog_worth_it_was_worked_off(running: Running) -> None:
    inner = CountedCompactions(notes.index, running.stores)
    log, reader = running.log, running.log.reader()
    cursor = Cursor(notes.index, inner, log, running.clock, running.lines.logger)
    block = notes.index.block_records

    note(log, *range(10 * block))
    while cursor.step(reader, block):
        assert inner.compactions == (cursor.behind() == 0)
    for _ in range(3 * block):  # a stream that is never behind
        note(log, 0)
        cursor.step(reader, block)
    note(log, *range(block + 1))  # behind, but by less than a tenth of everything
    while cursor.step(reader, block):
        pass
    assert inner.compactions == 1

    note(log, *range(3 * block))
    while cursor.step(reader, block):
        pass
    assert inner.compactions == 2
    assert len(running.state.first(notes.index.space, [b"word"], 1)) == 1


def test_a_consumer_reports_under_names_that_are_explained(running: Running) -> None:
    note(running.log, 1)
    running.table.start()
    assert reach(running.table, 1)
    samples = Samples()
    running.table.sample(samples)
    assert set(samples.families) <= set(METRICS)
    values = {name: family.samples[0].value for name, family in samples.families.items()}
    assert values["penstock_projection_records"] == 1
    assert values["penstock_projection_lag_records"] == 0


# -- retention ----------------------------------------------------------------------------------


def test_retention_drops_the_outdated_partitions_and_no_other(running: Running) -> None:
    note(running.log, *range(9))
    expiring = replace(notes.table, expired=lambda seen: seen - 8 if seen >= 9 else None)
    consumer = running.consumer(expiring)
    assert expire(consumer, running.warehouse) == 0
    (cursor,) = consumer.whole()
    cursor.step(running.log.reader(), 3)
    assert expire(consumer, running.warehouse) == 0
    cursor.step(running.log.reader(), 100)
    assert isinstance(consumer.sink, TableSink)
    assert consumer.sink.carries == [9]
    assert expire(consumer, running.warehouse) == 1  # partition 0 of 0, 1 and 2
    assert [row[0] for row in rows_of(running.warehouse)] == [1, 2, 4, 5, 7, 8]
    assert expire(consumer, running.warehouse) == 0
    assert expire(running.index, running.warehouse) == 0
