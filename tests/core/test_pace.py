"""Long work takes a tenth of the time at most, and no more bytes a second than it may."""

from contextlib import closing
from pathlib import Path

import pytest

from penstock.cli.doctor import Reached, read_all
from penstock.core.log.pace import Pace
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.log.sqlite_reader import SqliteReader, connect
from support.clock import MovedClock
from support.logs import TOPIC, add


class Worker:
    """Works for so many seconds at a piece, by a clock that only work and rests move."""

    def __init__(self, bytes_per_second: float) -> None:
        self.clock = MovedClock()
        self.rested = 0.0
        self.longest = self.keeps = 0.0
        self.pace = Pace(bytes_per_second, clock=self.clock, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.rested += seconds
        self.clock.seconds += seconds
        self.keeps = 0.0

    def work(self, pieces: int, seconds: float, size: int = 0) -> None:
        for _ in range(pieces):
            self.clock.seconds += seconds
            self.keeps += seconds
            self.longest = max(self.longest, self.keeps)
            self.pace.did(size)


@pytest.mark.parametrize("seconds", [0.0001, 0.001, 0.05])
def test_it_rests_nine_times_as_long_as_it_worked(seconds: float) -> None:
    worker = Worker(1e12)
    worker.work(1_000, seconds)
    assert worker.rested == pytest.approx(9 * 1_000 * seconds, rel=0.03)
    assert worker.longest <= 0.002 + seconds * 1.01


@pytest.mark.parametrize("size", [500, 100_000])
def test_it_does_no_more_bytes_a_second_than_it_may(size: int) -> None:
    worker = Worker(1e6)
    began = worker.clock.seconds
    worker.work(1_000, 1e-9, size)
    assert worker.clock.seconds - began == pytest.approx(1_000 * size / 1e6, rel=0.05)


def test_without_a_limit_there_is_no_rest() -> None:
    worker = Worker(0)
    worker.work(10, 5.0, 1 << 30)
    assert worker.rested == 0


def test_what_held_it_up_for_long_is_not_rested_from() -> None:
    worker = Worker(1e6)
    worker.work(1, 3_600.0)  # stopped by somebody, or asleep with the machine
    assert worker.rested == pytest.approx(9.0)


def test_who_checks_a_whole_log_rests_after_each_block_and_holds_nothing_then(
    tmp_path: Path,
) -> None:
    """Else the write-ahead log would grow meanwhile; a backup is held to the same."""
    path = tmp_path / "log.db"
    with closing(SqliteLog(path, MovedClock(), Limits())) as log:
        for _ in range(5):
            add(log, *[b"a record"] * 1_000)
    with closing(SqliteReader(path)) as reader, closing(connect(path, writable=True)) as writer:
        folded: list[object] = []

        class Resting(Pace):
            def did(self, size: int = 0) -> None:
                super().did(size)
                writer.execute("INSERT INTO meta VALUES (?, '')", (f"later {len(folded)}",))
                folded.append(writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").get)

        reached = Reached()
        read_all(reader, TOPIC, reached, Resting(0))
    assert reached == Reached(next=5_000, lost=0)
    assert folded == [(0, 0, 0)] * 5
