"""What the embedded log promises besides: it lasts, it has limits, and others may follow it."""

import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Misconfigured, NotReady, Overloaded
from penstock.core.log import DUPLICATE, Append, Log, Receipt, blocks, checkpoint
from penstock.core.log.follower import SqliteFollower
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.log.sqlite_reader import SqliteReader
from support.clock import MovedClock
from support.logs import ANSWER_SECONDS, TOPIC, account, add, begin, contents, wait_until


def open_sqlite(folder: Path, clock: MovedClock) -> Log:
    return SqliteLog(folder / "log.db", clock, Limits())


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def sqlite(tmp_path: Path, clock: MovedClock) -> Iterator[Log]:
    opened = open_sqlite(tmp_path, clock)
    yield opened
    opened.close()


def test_the_embedded_log_survives_a_reopening(tmp_path: Path, clock: MovedClock) -> None:
    log = open_sqlite(tmp_path, clock)
    add(log, b"a", b"b", key="k")
    identity, told = log.identity(TOPIC), account(log)
    log.close()
    log = open_sqlite(tmp_path, clock)
    try:
        assert log.identity(TOPIC) == identity
        assert contents(log) == [b"a", b"b"]
        assert account(log) == told
        assert add(log, b"a", b"b", key="k") == DUPLICATE
        assert add(log, b"c") == Receipt(0, 2)
    finally:
        log.close()


def test_the_write_ahead_log_is_folded_away_while_writing_goes_on(
    tmp_path: Path, clock: MovedClock
) -> None:
    """However much is written, and with readers at work, it stays near its 16 MiB. It is another
    thread that folds, so each time it is asked to it is waited for.
    """
    noise = [random.Random(n).randbytes(16_384) for n in range(64)]
    log = SqliteLog(tmp_path / "log.db", clock, Limits())
    checkpoints, reader = log._file._checkpoints, log.reader()
    try:
        for n in range(100):
            before = checkpoints._pages
            add(log, *noise)
            if checkpoints._pages < before:
                wait_until(checkpoints._folded.is_set)
            reader.read(TOPIC, 0, n * len(noise), 10)
            assert written_ahead(tmp_path) < checkpoint.KEPT_BYTES
        assert log.end(TOPIC, 0) == 100 * len(noise)
    finally:
        reader.close()
        log.close()


def written_ahead(folder: Path) -> int:
    return (folder / "log.db-wal").stat().st_size


def test_the_write_ahead_log_is_emptied_once_nothing_is_written(
    sqlite: Log, tmp_path: Path
) -> None:
    """All of it is in the file then, so that a copy of that one alone lacks nothing."""
    grown = 0
    for n in range(20):
        add(sqlite, b"%d" % n)
        grown = max(grown, written_ahead(tmp_path))  # a pause, and it is empty again
    assert grown > 0
    wait_until(lambda: written_ahead(tmp_path) == 0)
    shutil.copy(tmp_path / "log.db", tmp_path / "copy.db")
    with closing(SqliteReader(tmp_path / "copy.db")) as reader:
        assert reader.end(TOPIC) == 20
        kept = reader.blocks(TOPIC, 0)
        assert reader.bytes_of(TOPIC) >= sum(len(p) for batch in kept for p in batch.payloads) > 0
        assert reader.bytes_of("nobody's") == 0


def test_a_reader_in_the_way_delays_emptying_and_no_commit(sqlite: Log, tmp_path: Path) -> None:
    """What it made the write-ahead log grow to is given back, idle or not."""
    noise = [random.Random(n).randbytes(16_384) for n in range(64)]
    add(sqlite, b"first")
    reading = apsw.Connection(str(tmp_path / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    cursor = iter(reading.execute("SELECT first FROM blocks_1"))
    next(cursor)  # a snapshot of its own, as that of a backup
    for _ in range(60):
        add(sqlite, *noise)
    assert written_ahead(tmp_path) > checkpoint.KEPT_BYTES
    reading.close(force=True)
    add(sqlite, *noise * 20)  # makes it look whether there is something to fold

    def is_bounded() -> bool:
        add(sqlite, b"x")
        return written_ahead(tmp_path) <= checkpoint.KEPT_BYTES

    wait_until(is_bounded)
    wait_until(lambda: written_ahead(tmp_path) == 0)


def test_what_a_log_takes_on_disk_is_all_of_its_files_and_no_other(tmp_path: Path) -> None:
    for name, size in (("log.db", 1), ("log.db-wal", 20), ("log.db-shm", 300), ("log.db.old", 9)):
        (tmp_path / name).write_bytes(bytes(size))
    assert checkpoint.bytes_of_log(tmp_path / "log.db") == 321
    assert checkpoint.bytes_of_log(tmp_path / "none.db") == 0


def test_closing_ends_although_the_log_is_being_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(_: apsw.Connection) -> None:
        begun.set()
        go.wait(ANSWER_SECONDS)

    monkeypatch.setattr(checkpoint, "fold", slow)
    checkpoints = checkpoint.Checkpoints(apsw.Connection(str(tmp_path / "log.db")))
    writer = apsw.Connection(str(tmp_path / "log.db"))
    checkpoints.after(writer, 64 << 20)
    assert begun.wait(ANSWER_SECONDS)
    closing = threading.Thread(target=checkpoints.close, daemon=True)
    closing.start()
    time.sleep(0.05)  # so that it asks while the fold goes on
    go.set()
    closing.join(ANSWER_SECONDS)
    assert not closing.is_alive()
    writer.close()


def test_closing_commits_what_is_waiting(tmp_path: Path, clock: MovedClock) -> None:
    log = open_sqlite(tmp_path, clock)
    answers = [begin(log, Append(TOPIC, [b"%d" % n])) for n in range(2_000)]
    log.tally(TOPIC, rejected=7)
    log.close()
    assert [answer.result(0)[0].first for answer in answers] == list(range(2_000))
    log = open_sqlite(tmp_path, clock)
    try:
        assert contents(log) == [b"%d" % n for n in range(2_000)]
        assert account(log)[1:] == (2_007, 2_000, 0, 7)
    finally:
        log.close()


def test_refusals_alone_reach_the_ledger_as_well(sqlite: Log) -> None:
    add(sqlite, b"a")
    sqlite.tally(TOPIC, rejected=5)
    wait_until(lambda: account(sqlite).rejected == 5)
    assert account(sqlite)[1:] == (6, 1, 0, 5)


def test_one_who_fails_at_being_told_is_named_and_keeps_nobody_waiting(sqlite: Log) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a defect")

    sqlite.submit([Append(TOPIC, [b"a"])], fail)
    wait_until(lambda: bool(sqlite.failure()))
    with pytest.raises(NotReady, match="ValueError: a defect"):
        add(sqlite, b"b")
    assert sqlite.failure().startswith("fatal")
    assert contents(sqlite) == [b"a"]


def test_what_arrives_during_a_commit_is_committed_together(sqlite: Log) -> None:
    with _held_up(sqlite):
        answers = [begin(sqlite, Append(TOPIC, [b"x"])) for _ in range(100)]
        before = sqlite.commits
    for answer in answers:
        answer.result(ANSWER_SECONDS)
    assert sqlite.commits == before + 1


@pytest.mark.parametrize(
    "limits", [Limits(queue_records_max=10), Limits(queue_bytes_max=50)], ids=["records", "bytes"]
)
def test_beyond_its_limits_the_queue_refuses_and_then_recovers(
    tmp_path: Path, clock: MovedClock, limits: Limits
) -> None:
    log = SqliteLog(tmp_path / "log.db", clock, limits)
    try:
        with _held_up(log):
            waiting = begin(log, Append(TOPIC, [b"12345"] * 9))
            with pytest.raises(Overloaded) as refusal:
                begin(log, Append(TOPIC, [b"12345"] * 2))
            assert refusal.value.retry_after > 0
            last = begin(log, Append(TOPIC, [b"1"]))
        assert waiting.result(ANSWER_SECONDS)
        assert last.result(ANSWER_SECONDS)
        assert add(log, *[b"12345"] * 2).first == 11
        assert len(contents(log)) == 13
    finally:
        log.close()


class _held_up:  # noqa: N801 - reads as the state it is
    """Keeps the log's own thread busy, so that submissions gather in its queue."""

    def __init__(self, log: Log) -> None:
        self._log, self._holding, self._go = log, threading.Event(), threading.Event()

    def __enter__(self) -> None:
        def done(_: object) -> None:
            self._holding.set()
            self._go.wait(ANSWER_SECONDS)

        self._log.submit([Append(TOPIC, [b"!"])], done)
        assert self._holding.wait(ANSWER_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._go.set()


def test_large_appends_are_split_into_blocks_and_read_back(sqlite: Log, tmp_path: Path) -> None:
    payloads = [b"%06d" % n for n in range(2 * blocks.RECORDS_MAX + 100)]
    add(sqlite, b"before")
    assert add(sqlite, *payloads) == Receipt(0, 1)
    assert contents(sqlite) == [b"before", *payloads]
    reader = sqlite.reader()
    around = reader.read(TOPIC, 0, blocks.RECORDS_MAX - 5, 10)
    assert list(around.payloads) == payloads[blocks.RECORDS_MAX - 6 : blocks.RECORDS_MAX + 4]
    reader.close()
    counts = apsw.Connection(str(tmp_path / "log.db")).execute("SELECT count FROM blocks_1")
    assert max(int(str(count)) for (count,) in counts) == blocks.RECORDS_MAX


def test_a_follower_sees_what_the_writer_adds(sqlite: Log, tmp_path: Path) -> None:
    add(sqlite, b"a")
    follower = SqliteFollower(tmp_path / "log.db")
    try:
        woken = threading.Event()
        assert follower.identity(TOPIC) == sqlite.identity(TOPIC)
        assert follower.end(TOPIC, 0) == 1
        follower.listen(TOPIC, woken.set)
        add(sqlite, b"b", b"c")
        wait_until(lambda: follower.end(TOPIC, 0) == 3)
        assert woken.wait(ANSWER_SECONDS)
        assert contents(follower) == [b"a", b"b", b"c"]
        assert follower.ledger(TOPIC, 0) == sqlite.ledger(TOPIC, 0)
        assert follower.totals(TOPIC) == sqlite.totals(TOPIC)
        wait_until(lambda: follower.bytes_on_disk() == sqlite.bytes_on_disk() > 0)  # once folded
    finally:
        follower.close()


def test_a_follower_meets_a_topic_that_did_not_exist_when_it_came(
    sqlite: Log, tmp_path: Path
) -> None:
    follower = SqliteFollower(tmp_path / "log.db")
    try:
        woken = threading.Event()
        follower.listen(TOPIC, woken.set)
        assert follower.end(TOPIC, 0) == 0
        add(sqlite, b"a")
        assert woken.wait(ANSWER_SECONDS)
        assert contents(follower) == [b"a"]
        assert [line.stored for line in follower.ledger(TOPIC, 0)] == [1]
    finally:
        follower.close()


def test_a_follower_without_a_log_says_who_makes_it(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="log"):
        SqliteFollower(tmp_path / "log.db")


# -- blocks -------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=300), max_size=60))
def test_a_block_unpacks_to_what_was_packed(payloads: list[bytes]) -> None:
    assert blocks.unpack(blocks.pack(payloads)) == payloads


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=30), st.data())
def test_a_block_with_any_byte_changed_is_told_from_the_true_one(
    payloads: list[bytes], data: st.DataObject
) -> None:
    body = blocks.pack(payloads)
    at = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.integers(1, 255))
    flipped = body[:at] + bytes([body[at] ^ other]) + body[at + 1 :]
    assert blocks.checksum(7, len(payloads), flipped) != blocks.checksum(7, len(payloads), body)
    assert blocks.checksum(8, len(payloads), body) != blocks.checksum(7, len(payloads), body)


@given(st.binary(max_size=200))
def test_foreign_bytes_unpack_to_nothing_but_an_error(body: bytes) -> None:
    try:
        found = blocks.unpack(body)
    except blocks.DamagedBlock:
        return
    assert all(isinstance(payload, bytes) for payload in found)
