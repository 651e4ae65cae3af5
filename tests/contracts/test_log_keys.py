"""Idempotency keys on disk: for how long, and what restarts and copies leave of them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from core.test_backup import Quiet
from penstock.core.log import DUPLICATE, REUSED, Append, Receipt
from penstock.core.log.backup import create, restore
from penstock.core.log.carrying import carry_keys
from penstock.core.log.kafka.spool import Spool
from penstock.core.log.pace import Pace
from penstock.core.log.salvage import salvage
from penstock.core.log.sqlite import Limits, SqliteLog
from support.clock import MovedClock
from support.disks import FaultyDisk
from support.logs import TOPIC, add, contents, submit, under, wait_until

HOURS = 1.0
FIRST = under("k", b"one", b"a", answer=b"first")
OTHER = under("k", b"other", b"b")
REPEATED = DUPLICATE._replace(answer=b"first")


def opened(folder: Path, clock: MovedClock, vfs: str = "") -> SqliteLog:
    folder.mkdir(exist_ok=True)
    return SqliteLog(folder / "log.db", clock, Limits(idempotency_hours=HOURS), vfs=vfs)


def keyed(number: int, *, of: str = "") -> list[Append]:
    return [under(f"{of}{n}", b"one", b"x") for n in range(number)]


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def log(tmp_path: Path, clock: MovedClock) -> Iterator[SqliteLog]:
    with closing(opened(tmp_path, clock)) as made:
        yield made


# -- for how long -------------------------------------------------------------------------------


def test_expired_keys_go_although_nobody_sends_anything(log: SqliteLog, clock: MovedClock) -> None:
    """Reliability 49."""
    submit(log, *keyed(3_000))
    assert log.idempotency_keys == 3_000
    commits = log.commits
    clock.pass_hours(HOURS)
    add(log, b"still within the window", key="last")
    assert log.idempotency_keys == 3_001
    clock.ms += 1
    wait_until(lambda: log.idempotency_keys == 1)
    clock.pass_hours(HOURS)
    wait_until(lambda: log.idempotency_keys == 0)
    assert log.commits == commits + 1  # it is not what a commit is counted for


def test_expired_keys_go_at_least_twice_as_fast_as_they_come(
    log: SqliteLog, clock: MovedClock
) -> None:
    """Reliability 49."""
    at_once = 2_000
    for turn in range(3):  # all within one window
        submit(log, *keyed(at_once, of=f"old-{turn}-"))
    clock.pass_hours(HOURS)
    clock.ms += 1
    left = 3 * at_once
    for turn in range(2):
        submit(log, *keyed(at_once, of=f"new-{turn}-"))
        left = max(left - 2 * at_once, 0)
        assert log.idempotency_keys <= left + (turn + 1) * at_once


def test_traffic_without_keys_takes_the_expired_ones_along(
    log: SqliteLog, clock: MovedClock
) -> None:
    submit(log, *keyed(3_000))
    clock.pass_hours(HOURS)
    clock.ms += 1
    for _ in range(12):
        add(log, b"no key")
    assert log.idempotency_keys == 0


def test_a_disk_that_takes_nothing_keeps_the_keys_and_forgets_them_later(
    tmp_path: Path, clock: MovedClock
) -> None:
    disk = FaultyDisk()
    with closing(opened(tmp_path, clock, disk.name)) as log:
        submit(log, *keyed(600))
        disk.write_fault = apsw.FullError("no space left")
        clock.pass_hours(2 * HOURS)
        wait_until(lambda: bool(log.failure()))
        assert log.idempotency_keys == 600
        disk.heal()
        wait_until(lambda: log.idempotency_keys == 0)
        assert not log.failure()


def test_a_spool_remembers_a_key_for_its_whole_window_though_the_clock_was_behind(
    tmp_path: Path, clock: MovedClock
) -> None:
    """Reliability 49; what logs promise, without the brokers that a log with a spool needs."""
    with closing(Spool(tmp_path / "spool.db", clock, Limits(idempotency_hours=HOURS))) as spool:
        clock.step_hours(-5)
        assert spool.store([[FIRST]]) == [[Receipt(0, 0)]]
        clock.step_hours(5)
        clock.pass_hours(HOURS)
        assert spool.store([[FIRST]]) == [[REPEATED]]
        clock.ms += 1
        assert spool.store([[FIRST]]) == [[Receipt(0, 1)]]


def test_a_log_that_is_emptied_has_no_keys(log: SqliteLog) -> None:
    submit(log, FIRST)
    log.clear()
    assert log.idempotency_keys == 0
    assert submit(log, OTHER) == [Receipt(0, 0)]
    assert log.idempotency_keys == 1


# -- wherever the file goes ---------------------------------------------------------------------


def holds(log: SqliteLog) -> None:
    """The first request of the key is remembered with all there is to it."""
    assert log.idempotency_keys == 1
    assert submit(log, FIRST, OTHER) == [REPEATED, REUSED]
    assert contents(log) == [b"a"]


def test_keys_survive_a_restart(tmp_path: Path, clock: MovedClock) -> None:
    for _ in range(3):
        with closing(opened(tmp_path, clock)) as log:
            submit(log, FIRST)
            holds(log)


def test_keys_are_in_a_backup(tmp_path: Path, clock: MovedClock) -> None:
    with closing(opened(tmp_path / "data", clock)) as log:
        submit(log, FIRST)
        create(tmp_path / "data" / "log.db", tmp_path / "backup", Quiet, Pace(0))
    restore(tmp_path / "backup", tmp_path / "restored", Quiet)
    with closing(opened(tmp_path / "restored", clock)) as log:
        holds(log)


def test_keys_are_salvaged(tmp_path: Path, clock: MovedClock) -> None:
    with closing(opened(tmp_path / "data", clock)) as log:
        submit(log, FIRST)
    assert salvage(tmp_path / "data" / "log.db", tmp_path / "salvaged", Quiet).lacking == []
    with closing(opened(tmp_path / "salvaged", clock)) as log:
        holds(log)


def test_keys_are_carried_into_another_log_and_keep_their_time(
    tmp_path: Path, clock: MovedClock
) -> None:
    for name in ("from", "to"):
        with closing(opened(tmp_path / name, clock)) as log:
            add(log, b"a", key=name)
            if name == "from":
                submit(log, FIRST, *keyed(100))
                clock.pass_hours(HOURS / 2)
    files = tmp_path / "from" / "log.db", tmp_path / "to" / "log.db"
    assert carry_keys(*files) == 102
    assert carry_keys(*files) == 0
    with closing(opened(tmp_path / "to", clock)) as log:
        assert log.idempotency_keys == 103
        assert submit(log, FIRST, OTHER) == [REPEATED, REUSED]
        clock.pass_hours(HOURS / 2)
        clock.ms += 1
        wait_until(lambda: log.idempotency_keys == 1)
        assert add(log, b"a", key="to") == DUPLICATE


def as_before(path: Path) -> None:
    """Make the file one of a build that knew no fingerprints."""
    with closing(apsw.Connection(str(path))) as file:
        for column in ("fingerprint", "answer"):
            file.execute(f"ALTER TABLE idempotency DROP COLUMN {column}")
        file.execute("DELETE FROM meta WHERE key = 'idempotency_keys'")


@pytest.mark.parametrize("way", ["opened", "salvaged", "carried"])
def test_keys_of_an_older_file_are_counted_and_match_whatever_repeats_them(
    tmp_path: Path, clock: MovedClock, way: str
) -> None:
    folder = tmp_path / "data"
    with closing(opened(folder, clock)) as log:
        submit(log, FIRST, under("l", b"one", b"b"))
    as_before(folder / "log.db")
    if way == "salvaged":
        folder = tmp_path / "salvaged"
        assert salvage(tmp_path / "data" / "log.db", folder, Quiet).lacking == []
    if way == "carried":
        folder = tmp_path / "carried"
        with closing(opened(folder, clock)) as log:
            add(log, b"a", b"b")
        carry_keys(tmp_path / "data" / "log.db", folder / "log.db")
    with closing(opened(folder, clock)) as log:
        assert log.idempotency_keys == 2
        assert submit(log, OTHER, FIRST) == [DUPLICATE, DUPLICATE]
        assert submit(log, under("new", b"one", b"c")) == [Receipt(0, 2)]
        assert submit(log, under("new", b"other", b"c")) == [REUSED]
        clock.pass_hours(HOURS)
        clock.ms += 1
        assert submit(log, OTHER) == [Receipt(0, 3)]
        assert submit(log, FIRST) == [REUSED]
        assert log.end(TOPIC, 0) == 4
