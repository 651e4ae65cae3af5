"""Disks that fill up, fail, tear and rot: nothing acknowledged is lost, nothing lost is hidden."""

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.folder import FolderLock
from penstock.core.log import Append, Batch, Damage
from penstock.core.log.disk import Space
from penstock.core.log.sqlite import Limits, SqliteLog
from support.clock import MovedClock
from support.disks import FaultyDisk, flip
from support.logs import TOPIC, account, add, balanced, begin, contents


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def log(tmp_path: Path, clock: MovedClock, disk: FaultyDisk) -> Iterator[SqliteLog]:
    opened = SqliteLog(tmp_path / "log.db", clock, Limits(), vfs=disk.name)
    yield opened
    disk.heal()
    opened.close()


def reopened(path: Path) -> SqliteLog:
    return SqliteLog(path, MovedClock(), Limits())


def read_all(path: Path) -> Batch:
    log = reopened(path)
    try:
        return log.reader().read(TOPIC, 0, 0, 1 << 40)
    finally:
        log.close()


# -- full, read-only, failing disks -------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [apsw.FullError("no space left"), apsw.ReadOnlyError("remounted"), apsw.CantOpenError("files")],
    ids=lambda fault: type(fault).__name__,
)
def test_while_the_disk_takes_nothing_nothing_is_acknowledged_and_then_it_goes_on(
    log: SqliteLog, disk: FaultyDisk, fault: apsw.Error
) -> None:
    """Reliability 4 and 6."""
    add(log, b"a", key="k")
    disk.write_fault = fault
    for _ in range(3):
        with pytest.raises(NotReady, match="writing the log") as refusal:
            add(log, b"lost", key="l")
        assert refusal.value.retry_after > 0
    log.tally(TOPIC, rejected=2)
    assert type(fault).__name__ in log.failure()
    assert contents(log) == [b"a"]
    assert log.end(TOPIC, 0) == 1
    disk.heal()
    assert add(log, b"b", key="l").first == 1
    assert log.failure() == ""
    assert contents(log) == [b"a", b"b"]
    assert account(log)[1:] == (1 + 3 + 2 + 1, 2, 0, 5)


def test_a_new_topic_that_found_no_space_can_be_made_later(
    log: SqliteLog, disk: FaultyDisk
) -> None:
    """Reliability 4."""
    disk.write_fault = apsw.FullError("no space left")
    with pytest.raises(NotReady):
        add(log, b"a", topic="tests.new")
    disk.heal()
    assert add(log, b"a", topic="tests.new").first == 0
    assert contents(log, "tests.new") == [b"a"]


def test_every_acknowledgement_waits_for_a_sync(log: SqliteLog, disk: FaultyDisk) -> None:
    """Reliability 2."""
    for _ in range(5):
        before = disk.syncs
        add(log, b"a")
        assert disk.syncs > before


def test_after_a_failed_sync_only_a_new_process_acknowledges(
    log: SqliteLog, disk: FaultyDisk, tmp_path: Path
) -> None:
    """Reliability 5."""
    add(log, b"a")
    disk.sync_fault = apsw.IOError("EIO")
    with pytest.raises(NotReady, match="fatal"):
        add(log, b"b")
    disk.heal()
    for _ in range(3):
        with pytest.raises(NotReady, match="restart"):
            add(log, b"c")
    assert log.failure().startswith("fatal")
    log.close()
    again = reopened(tmp_path / "log.db")
    try:
        kept = contents(again)
        assert kept in ([b"a"], [b"a", b"b"])
        assert add(again, b"d").first == len(kept)
        assert contents(again) == [*kept, b"d"]
        assert again.failure() == ""
        assert balanced(account(again))
    finally:
        again.close()


def test_below_its_minimum_of_free_space_the_log_refuses_and_names_the_setting(
    tmp_path: Path, clock: MovedClock
) -> None:
    """Reliability 4."""
    log = SqliteLog(tmp_path / "log.db", clock, Limits(disk_free_bytes_min=1 << 62))
    try:
        with pytest.raises(NotReady, match="lower PENSTOCK_DISK_FREE_BYTES_MIN"):
            add(log, b"a")
        assert "are free" in log.failure()
        assert contents(log) == []
        log._space = Space(tmp_path / "log.db", 0, clock)  # space returns
        assert add(log, b"a").first == 0
        assert log.failure() == ""
        assert account(log)[1:] == (2, 1, 0, 1)
    finally:
        log.close()


# -- torn tails ---------------------------------------------------------------------------------


class Written(list[tuple[bytes, int]]):
    """Acknowledged records, each with the size of the write-ahead log after it."""


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Leaves `db` and `wal` in the folder as a crash would, with 40 commits in the latter."""
    path = tmp_path / "log.db"
    log = reopened(path)
    found = Written()
    add(log, b"checkpointed")
    log.close()
    found.append((b"checkpointed", 0))
    log = reopened(path)
    for n in range(40):
        record = b"%04d" % n + os.urandom(n * 37)
        add(log, record)
        found.append((record, (tmp_path / "log.db-wal").stat().st_size))
    shutil.copy(path, tmp_path / "db")
    shutil.copy(tmp_path / "log.db-wal", tmp_path / "wal")
    log.close()
    return found


def torn(tmp_path: Path, number: int, wal: bytes) -> Path:
    folder = tmp_path / f"torn-{number}"
    folder.mkdir()
    shutil.copy(tmp_path / "db", folder / "log.db")
    (folder / "log.db-wal").write_bytes(wal)
    return folder / "log.db"


@pytest.mark.parametrize("tail", ["cut", "zeros", "noise"])
def test_a_torn_tail_costs_only_what_was_not_yet_acknowledged(
    tmp_path: Path, written: Written, tail: str
) -> None:
    """Reliability 2 and 3."""
    wal = (tmp_path / "wal").read_bytes()
    chance = random.Random(7)
    cuts = [0, 31, 32, 33, len(wal), *(chance.randrange(len(wal)) for _ in range(25))]
    for number, cut in enumerate(cuts):
        rest = {
            "cut": b"",
            "zeros": bytes(len(wal) - cut),
            "noise": chance.randbytes(len(wal) - cut),
        }[tail]
        found = read_all(torn(tmp_path, number, wal[:cut] + rest))
        durable = sum(end <= cut for _, end in written)
        assert list(found.payloads) == [record for record, _ in written[: len(found.payloads)]]
        assert len(found.payloads) >= durable
        assert found.damages == ()


def test_after_a_torn_tail_the_next_records_take_the_free_offsets(
    tmp_path: Path, written: Written
) -> None:
    """Reliability 3."""
    wal = (tmp_path / "wal").read_bytes()
    log = reopened(torn(tmp_path, 0, wal[: written[20][1] + 100]))
    try:
        assert add(log, b"next").first == 21
        assert contents(log) == [*(record for record, _ in written[:21]), b"next"]
    finally:
        log.close()


def test_a_copy_taken_at_any_moment_has_all_that_was_acknowledged_before_it(
    tmp_path: Path,
) -> None:
    log = reopened(tmp_path / "log.db")
    stop, acknowledged = threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            acknowledged[0] = add(log, b"%d" % acknowledged[0]).first + 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(12):
            time.sleep(random.uniform(0.0, 0.02))
            least = acknowledged[0]
            folder = tmp_path / str(number)
            folder.mkdir()
            for suffix in ("", "-wal"):
                shutil.copy(tmp_path / f"log.db{suffix}", folder / f"log.db{suffix}")
            found = read_all(folder / "log.db").payloads
            assert len(found) >= least
            assert list(found) == [b"%d" % n for n in range(len(found))]
    finally:
        stop.set()
        writer.join()
        log.close()


# -- damage in the middle -----------------------------------------------------------------------


@pytest.fixture
def three_blocks(tmp_path: Path) -> Path:
    """Offsets 0 to 2, 3 to 5 and 6 to 8, folded into the file."""
    log = reopened(tmp_path / "log.db")
    for block in range(3):
        add(log, *(b"%d:" % (3 * block + n) + random.Random(block).randbytes(40) for n in range(3)))
    log.close()
    return tmp_path / "log.db"


def intact(batch: Batch) -> list[tuple[int, bytes]]:
    return [
        (offset, payload[:2]) for offset, payload in zip(batch.offsets, batch.payloads, strict=True)
    ]


NEIGHBOURS = [(0, b"0:"), (1, b"1:"), (2, b"2:"), (6, b"6:"), (7, b"7:"), (8, b"8:")]


def test_a_flipped_bit_is_reported_with_its_offsets_and_its_neighbours_are_read(
    three_blocks: Path,
) -> None:
    """Reliability 3."""
    flip(three_blocks, b"4:")
    found = read_all(three_blocks)
    assert found.damages == (Damage(3, 6, "checksum does not match"),)
    assert intact(found) == NEIGHBOURS
    assert (found.first, found.next) == (0, 9)


@pytest.mark.parametrize(
    "change",
    [
        "body = x'72'",
        "body = zeroblob(length(body))",
        "checksum = checksum + 1",
        "count = count - 1",
        "count = count + 1",
        "count = 1 << 40",
    ],
)
def test_whatever_of_a_block_is_damaged_only_that_block_is_lost(
    three_blocks: Path, change: str
) -> None:
    """Reliability 3."""
    connection = apsw.Connection(str(three_blocks))
    connection.execute(f"UPDATE blocks_1 SET {change} WHERE first = 3")
    connection.close()
    found = read_all(three_blocks)
    assert intact(found) == NEIGHBOURS
    lost = [n for damage in found.damages for n in range(damage.first, damage.next)]
    assert lost == [3, 4, 5]


def test_a_block_that_is_gone_is_reported_as_missing(three_blocks: Path) -> None:
    """Reliability 3."""
    connection = apsw.Connection(str(three_blocks))
    connection.execute("DELETE FROM blocks_1 WHERE first = 3")
    connection.close()
    found = read_all(three_blocks)
    assert found.damages == (Damage(3, 6, "missing from the log"),)
    assert intact(found) == NEIGHBOURS


@pytest.mark.parametrize("way", ["flipped", "missing"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9])
def test_damage_is_reported_once_however_the_log_is_read(
    three_blocks: Path, way: str, limit: int
) -> None:
    """Reliability 3."""
    if way == "flipped":
        flip(three_blocks, b"4:")
    else:
        connection = apsw.Connection(str(three_blocks))
        connection.execute("DELETE FROM blocks_1 WHERE first = 3")
        connection.close()
    log = reopened(three_blocks)
    reader, position = log.reader(), 0
    offsets: list[int] = []
    lost: list[int] = []
    while (batch := reader.read(TOPIC, 0, position, limit)).next > position:
        assert batch.next - batch.first <= limit
        offsets += batch.offsets
        lost += [n for damage in batch.damages for n in range(damage.first, damage.next)]
        position = batch.next
    reader.close()
    log.close()
    assert offsets == [0, 1, 2, 6, 7, 8]
    assert lost == [3, 4, 5]


# -- who may open it ----------------------------------------------------------------------------


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    """Reliability 39."""
    first = FolderLock(tmp_path, "edge")
    other_role = FolderLock(tmp_path, "work")
    with pytest.raises(Misconfigured, match=rf"in use by process {os.getpid()}; stop it"):
        FolderLock(tmp_path, "edge")
    first.release()
    FolderLock(tmp_path, "edge").release()
    other_role.release()


def test_a_folder_that_cannot_be_written_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Reliability 6."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Misconfigured, match="choose another with --data"):
        FolderLock(tmp_path / "file" / "data", "edge")


def test_a_log_that_cannot_be_opened_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="check that the folder exists"):
        SqliteLog(tmp_path / "none" / "log.db", MovedClock(), Limits())
    (tmp_path / "log.db").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(Misconfigured, match="restore it from a backup"):
        SqliteLog(tmp_path / "log.db", MovedClock(), Limits())


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (apsw.FullError("no space left"), "free some"),
        (apsw.ReadOnlyError("read-only"), "this user may write it"),
        (apsw.IOError("the cable"), "nothing says that the log is damaged"),
    ],
)
def test_a_disk_that_fails_at_the_start_is_no_damaged_log(
    tmp_path: Path, fault: apsw.Error, remedy: str
) -> None:
    """Reliability 4 and 6."""
    disk = FaultyDisk()
    disk.write_fault = fault
    with pytest.raises(Misconfigured, match=remedy) as refused:
        SqliteLog(tmp_path / "log.db", MovedClock(), Limits(), vfs=disk.name)
    assert "restore" not in str(refused.value)
    disk.heal()
    SqliteLog(tmp_path / "log.db", MovedClock(), Limits(), vfs=disk.name).close()


def test_answers_given_while_closing_come_before_the_end(log: SqliteLog, disk: FaultyDisk) -> None:
    disk.where, disk.write_fault = "-wal", apsw.FullError("no space left")
    answers = [begin(log, Append(TOPIC, [b"x"])) for _ in range(50)]
    log.close()
    assert all(isinstance(answer.exception(0), NotReady) for answer in answers)
