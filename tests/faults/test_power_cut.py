"""The power goes at any moment: what was not synced is there in any part, or not at all."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.core.log import Append, checkpoint
from penstock.core.log.sqlite import Limits, SqliteLog
from support.clock import MovedClock
from support.logs import TOPIC, account, add, balanced, contents, submit
from support.power import CutDisk

CUTS = 30
_PAGES = 64
"""A quarter of a mebibyte: the write-ahead log is folded dozens of times."""


class Ends:
    acknowledged = 1


def record(number: int) -> bytes:
    return b"%d:" % number + random.Random(number).randbytes(number % 5_000)


@contextmanager
def writing(log: SqliteLog) -> Iterator[Ends]:
    """Appends of one to three records, one after the other, on a thread of its own."""
    ends, stop = Ends(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            first = ends.acknowledged
            records = [record(first + n) for n in range(1 + first % 3)]
            submit(log, Append(TOPIC, records, idempotency_key=f"{first}"))
            ends.acknowledged = first + len(records)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield ends
    finally:
        stop.set()
        writer.join()


@pytest.fixture
def disk() -> CutDisk:
    return CutDisk()


@pytest.fixture
def log(tmp_path: Path, disk: CutDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteLog]:
    monkeypatch.setattr(checkpoint, "_PAGES", _PAGES)
    opened = SqliteLog(tmp_path / "log.db", MovedClock(), Limits(), vfs=disk.name)
    add(opened, record(0))
    yield opened
    opened.close()


def after(folder: Path) -> list[bytes]:
    """What a start after the cut finds; it goes on from there."""
    log = SqliteLog(folder / "log.db", MovedClock(), Limits())
    try:
        found = contents(log)
        assert balanced(account(log))
        assert add(log, b"next").first == len(found)
        assert contents(log) == [*found, b"next"]
        return found
    finally:
        log.close()


def test_a_power_cut_takes_nothing_that_was_acknowledged(
    tmp_path: Path, disk: CutDisk, log: SqliteLog
) -> None:
    """Reliability 2."""
    chance = random.Random(11)
    with writing(log) as ends:
        for number in range(CUTS):
            time.sleep(chance.uniform(0.0, 0.05))
            least = ends.acknowledged
            disk.cut(tmp_path / f"{number}", chance.choice([0.0, 0.5, 1.0]), chance)
            found = after(tmp_path / f"{number}")
            assert len(found) >= least
            assert found == [record(n) for n in range(len(found))]


def test_a_disk_that_only_says_that_it_synced_is_found_out_by_this(
    tmp_path: Path, disk: CutDisk, log: SqliteLog
) -> None:
    disk.lies = True
    for number in range(1, 20):
        add(log, record(number))
    disk.cut(tmp_path / "cut", 0.0, random.Random())
    assert after(tmp_path / "cut") == [record(0)]
