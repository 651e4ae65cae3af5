"""A copy is a state that the log once had, whatever becomes of the log while it is made."""

import errno
import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import apsw
import pytest

from core.test_backup import Quiet
from penstock.core.log import Append, Origin
from penstock.core.log.backup import Unproven, create, restore, verify
from penstock.core.log.moment import copy
from penstock.core.log.pace import Pace
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.log.sqlite_reader import connect
from support.clock import MovedClock
from support.disks import FaultyDisk
from support.logs import TOPIC, add, submit, under, wait_until

Moved = Callable[[int, int], None]


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def opened(path: Path, clock: MovedClock) -> SqliteLog:
    path.parent.mkdir(exist_ok=True)
    return SqliteLog(path, clock, Limits(idempotency_hours=1.0))


def said_of(number: int) -> Append:
    return Append(TOPIC, [b"said"], origin=Origin("tests.fold", 0, [number]))


@pytest.fixture
def path(tmp_path: Path, clock: MovedClock) -> Path:
    """Of a log with something in each of its tables, and several pieces of blocks."""
    path = tmp_path / "data" / "log.db"
    with closing(opened(path, clock)) as log:
        submit(log, *(under(f"old {number}", b"one", b"a") for number in range(600)))
        clock.pass_hours(0.5)
        for number in range(8):
            log.tally(TOPIC, rejected=1)
            submit(log, under(f"k {number}", b"one", os.urandom(50_000)), said_of(number))
            add(log, b"other", topic="tests.others")
    return path


def everything(path: Path) -> dict[str, set[tuple[object, ...]]]:
    """The rows of each table, the schema's among them."""
    with closing(connect(path, writable=False)) as log:
        tables = log.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        found = {str(name): set(log.execute(f"SELECT * FROM {name}")) for (name,) in tables}
        found["schema"] = set(log.execute("SELECT type, name, sql FROM sqlite_schema"))
    return found


def once(act: Callable[[], object]) -> Moved:
    """After the first of several pieces: whatever is read before it, and much that is after it."""
    moves: list[int] = []

    def moved(done: int, total: int) -> None:
        assert 0 <= done <= total
        moves.append(done)
        if len(moves) == 1:
            act()

    return moved


def test_it_is_the_log_of_one_moment_whatever_changes_meanwhile(
    path: Path, tmp_path: Path, clock: MovedClock
) -> None:
    """Reliability 24: not only what is added, and not only to what was there."""
    before = everything(path)
    untouched = {"extents"}  # of topics that are kept for ever
    assert {name for name, rows in before.items() if not rows} <= untouched

    def change() -> None:
        with closing(opened(path, clock)) as log:
            add(log, b"more", topic="tests.others")
            add(log, b"first of its topic", topic="tests.new")
            submit(log, said_of(99), under("k new", b"one", b"b"))
            log.tally(TOPIC, rejected=5)
            clock.pass_hours(0.6)
            assert submit(log, under("old 7", b"another", b"c"))[0].stored, "its time was over"
            wait_until(lambda: log.idempotency_keys < 20)
            clock.pass_hours(24 * 8)
            add(log, b"when the minutes of before are folded")
        with closing(opened(path, clock)) as log:
            add(log, b"of another opening")

    copy(path, tmp_path / "copy.db", Pace(0), once(change))
    after = everything(path)
    same = {name for name in before if after[name] == before[name]}
    assert same <= untouched, "each table has changed"
    assert everything(tmp_path / "copy.db") == before


def put_back(log: apsw.Connection) -> None:
    """An older copy of the log, which has gone on for longer than what it lacks."""
    log.execute("DELETE FROM blocks_1 WHERE first > 605")
    log.execute("INSERT INTO openings VALUES (1, 606, 'a later one')")
    for number in range(606, 700):
        log.execute("INSERT INTO blocks_1 VALUES (?, 1, 0, 1, 0, 0, 0, x'00')", (number,))


def cut(log: apsw.Connection) -> None:
    """An older copy that has not gone on yet."""
    log.execute("DELETE FROM blocks_1 WHERE first > 605")


@pytest.mark.parametrize("become", [put_back, cut])
def test_a_log_that_has_become_another_one_meanwhile_gives_no_backup(
    path: Path, tmp_path: Path, become: Callable[[apsw.Connection], None]
) -> None:
    """Reliability 24."""

    class Becoming(Quiet):
        first = True

        def move(self, done: int, total: int) -> None:
            del done, total
            if Becoming.first:
                Becoming.first = False
                with closing(connect(path, writable=True)) as log, log:
                    become(log)

    with pytest.raises(Unproven, match=r"replaced meanwhile|are gone"):
        create(path, tmp_path / "kept", Becoming, Pace(0))
    assert list(tmp_path.iterdir()) == [path.parent]


def test_two_at_once_are_each_the_log_of_its_own_moment(
    path: Path, tmp_path: Path, clock: MovedClock
) -> None:
    """Reliability 24."""
    before = everything(path)
    later = []

    def another() -> None:
        with closing(opened(path, clock)) as log:
            add(log, b"between the two")
        later.append(everything(path))
        create(path, tmp_path / "later", Quiet, Pace(0))

    copy(path, tmp_path / "copy.db", Pace(0), once(another))
    assert everything(tmp_path / "copy.db") == before
    assert [everything(tmp_path / "later" / "log.db")] == later


class Filling(Quiet):
    """A disk that takes nothing any more, from the first or from some later piece on."""

    disk: FaultyDisk
    left: int

    def move(self, done: int, total: int) -> None:
        del done, total
        Filling.left -= 1
        if Filling.left == 0:
            Filling.disk.write_fault = apsw.FullError("no space left")


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_a_disk_that_fills_up_leaves_nothing_behind(
    path: Path,
    tmp_path: Path,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    pieces: int,
) -> None:
    """Reliability 24; nor does it ask anything of the log."""
    Filling.disk, Filling.left = FaultyDisk(), pieces
    Filling.disk.where = ".kept.partial/log.db"
    if not pieces:
        Filling.disk.write_fault = apsw.FullError("no space left")
    on_it = partial(apsw.Connection, vfs=Filling.disk.name)
    with closing(opened(path, clock)) as log:
        monkeypatch.setattr("penstock.core.log.moment.apsw.Connection", on_it)
        with pytest.raises(Unproven, match="too little space"):
            create(path, tmp_path / "kept", Filling, Pace(0))
        add(log, b"goes on")
    assert list(tmp_path.iterdir()) == [path.parent]


def test_a_disk_that_says_only_at_the_sync_that_it_is_full_leaves_nothing_behind(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 24: amid a statement of SQLite's, too."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("penstock.core.log.moment.os.fdatasync", full)
    for sync_bytes in (1, 1 << 30):
        monkeypatch.setattr("penstock.core.log.moment._SYNC_BYTES", sync_bytes)
        with pytest.raises(Unproven, match="too little space"):
            create(path, tmp_path / "kept", Quiet, Pace(0))
        assert list(tmp_path.iterdir()) == [path.parent]


@pytest.mark.parametrize("looks", [0, 1])
def test_a_disk_that_the_log_is_on_is_not_filled_by_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """Reliability 24: estimated before, and watched; else events would be refused."""
    free = iter([1 << 30] * looks)
    monkeypatch.setattr("penstock.core.log.moment._SYNC_BYTES", 1)
    monkeypatch.setattr("penstock.core.log.moment.free_bytes", lambda _: next(free, 1_999_999))
    with pytest.raises(Unproven, match=r"twice PENSTOCK_DISK_FREE_BYTES_MIN.*no backup was made"):
        create(path, tmp_path / "kept", Quiet, Pace(0), free_bytes_min=1_000_000)
    assert list(tmp_path.iterdir()) == [path.parent]
    create(path, tmp_path / "kept", Quiet, Pace(0))


def test_keys_and_origins_of_the_moment_go_on_from_there(
    path: Path, tmp_path: Path, clock: MovedClock
) -> None:
    """Reliability 24: what came later is as unknown to a restored log as its records."""

    class Later(Quiet):
        first = True

        def move(self, done: int, total: int) -> None:
            del done, total
            if Later.first:
                Later.first = False
                with closing(opened(path, clock)) as log:
                    submit(log, said_of(50), under("k later", b"one", b"b"))

    create(path, tmp_path / "kept", Later, Pace(0))
    verify(tmp_path / "kept", Quiet, Pace(0))
    restore(tmp_path / "kept", tmp_path / "again", Quiet)
    with closing(opened(tmp_path / "again" / "log.db", clock)) as log:
        end = log.end(TOPIC, 0)
        assert [one.stored for one in submit(log, said_of(7), under("k 7", b"one", b"b"))] == [
            False,
            False,
        ]
        taken = submit(log, said_of(50), under("k later", b"one", b"b"))
        assert [one.first for one in taken] == [end, end + 1]
