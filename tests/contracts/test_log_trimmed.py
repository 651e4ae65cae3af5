"""The embedded log forgets from the front: whole blocks, in portions, and says where it begins."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from core.test_backup import Quiet
from penstock.core.clock import CarefulClock
from penstock.core.errors import Disproved, NotReady
from penstock.core.log import DUPLICATE, FORGOTTEN, Append, Damage, Extent, moment, trimming
from penstock.core.log.backup import create, restore, verify
from penstock.core.log.follower import SqliteFollower
from penstock.core.log.pace import Pace
from penstock.core.log.salvage import salvage
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.log.sqlite_file import SqliteFile, Transaction
from support.clock import MovedClock
from support.disks import FaultyDisk
from support.logs import TOPIC, account, add, balanced, contents, submit, wait_until
from support.power import CutDisk

BLOCKS = 24
OTHER = "tests.other"


def record(number: int) -> bytes:
    return b"record %d of all " % number + random.Random(number).randbytes(700)


def opened(folder: Path, vfs: str = "") -> SqliteLog:
    return SqliteLog(folder / "log.db", MovedClock(), Limits(), vfs=vfs)


def filled(folder: Path, blocks: int = BLOCKS, vfs: str = "") -> SqliteLog:
    """A block is two records."""
    log = opened(folder, vfs)
    for block in range(blocks):
        add(log, record(2 * block), record(2 * block + 1))
    add(log, b"untouched", topic=OTHER)
    return log


def trim(log: SqliteLog, start: int, topic: str = TOPIC) -> None:
    log.trim(log.identity(topic), topic, start, 0)


def trimmed(log: SqliteLog, start: int) -> None:
    trim(log, start)
    wait_until(lambda: log.start(TOPIC, 0) == start)


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "_BLOCKS", 3)
    monkeypatch.setattr(trimming, "_REST_SECONDS", 0.0)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    made = filled(tmp_path)
    yield made
    made.close()


def test_what_was_trimmed_is_told_and_all_else_is_as_it_was(tmp_path: Path, log: SqliteLog) -> None:
    told = account(log)
    trimmed(log, 20)
    for _ in range(2):  # as it is, and after a restart
        with closing(log.reader()) as reader:
            assert reader.read(TOPIC, 0, 3, 10).damages == (Damage(3, 13, FORGOTTEN),)
            across = reader.read(TOPIC, 0, 15, 10)
            assert across.damages == (Damage(15, 20, FORGOTTEN),)
            assert list(across.offsets) == [20, 21, 22, 23, 24]
            assert across.payloads == [record(number) for number in across.offsets]
        assert contents(log) == [record(number) for number in range(20, 2 * BLOCKS)]
        assert contents(log, OTHER) == [b"untouched"]
        assert account(log) == told
        assert balanced(told)
        log.close()
        log = opened(tmp_path)
    with closing(log):
        assert add(log, b"more").first == 2 * BLOCKS


def test_a_topic_of_which_nothing_is_left_goes_on_where_it_was(
    tmp_path: Path, log: SqliteLog
) -> None:
    trimmed(log, 2 * BLOCKS)
    assert contents(log) == []
    log.close()
    with closing(opened(tmp_path)) as again:
        assert again.start(TOPIC, 0) == again.end(TOPIC, 0) == 2 * BLOCKS
        with closing(again.reader()) as reader:
            assert reader.read(TOPIC, 0, 0, 9).damages == (Damage(0, 9, FORGOTTEN),)
            assert reader.read(TOPIC, 0, 2 * BLOCKS, 9).next == 2 * BLOCKS
        assert add(again, b"next").first == 2 * BLOCKS


def test_a_reader_in_the_middle_ends_as_it_began_and_others_see_the_start_move(
    tmp_path: Path, log: SqliteLog
) -> None:
    with (
        closing(log.reader()) as reader,
        closing(SqliteFollower(tmp_path / "log.db")) as follower,
        closing(follower.reader()) as elsewhere,
    ):
        with closing(reader.fronts(TOPIC, 0)) as blocks:
            assert next(blocks).first == 0
            trimmed(log, 30)
            assert [block.first for block in blocks] == list(range(2, 2 * BLOCKS, 2))
        assert follower.start(TOPIC, 0) == 30
        assert elsewhere.read(TOPIC, 0, 28, 3).damages == (Damage(28, 30, FORGOTTEN),)
        assert [batch.first for batch in elsewhere.blocks(TOPIC, 30)][:2] == [30, 32]


def test_positions_are_proved_across_what_was_trimmed(log: SqliteLog) -> None:
    with closing(log.reader()) as reader:
        proof = reader.read(TOPIC, 0, 0, 20, "").proof
        trimmed(log, 20)
        assert reader.read(TOPIC, 0, 20, 2, proof).proof == proof
        assert reader.read(TOPIC, 0, 8, 0, proof).proof == proof
        with pytest.raises(Disproved):
            reader.read(TOPIC, 0, 20, 2, "another opening")
        trimmed(log, 2 * BLOCKS)
        assert reader.read(TOPIC, 0, 2 * BLOCKS, 2, proof).proof == proof
        with pytest.raises(Disproved, match="ends at"):
            reader.read(TOPIC, 0, 2 * BLOCKS + 1, 2, proof)


def test_keys_are_known_for_their_window_though_their_records_are_gone(log: SqliteLog) -> None:
    first = add(log, b"paid", key="once").first
    trimmed(log, first + 1)
    assert add(log, b"paid", key="once") == DUPLICATE
    assert log.end(TOPIC, 0) == first + 1


def test_a_power_cut_between_two_portions_loses_nothing_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 2: whichever part of what was not synced is there."""
    disk, chance = CutDisk(), random.Random(5)
    log = filled(tmp_path, vfs=disk.name)
    starts, told = set(), account(log)
    trim(log, 30)
    for number in range(12):
        starts.add(log.start(TOPIC, 0))
        cut = tmp_path / f"{number}"
        disk.cut(cut, chance.choice([0.0, 0.5, 1.0]), chance)
        with closing(opened(cut)) as found:
            start = found.start(TOPIC, 0)
            assert start in range(0, 31, 2)
            left = contents(found)
            end = found.end(TOPIC, 0)
            assert left[: 2 * BLOCKS - start] == [record(n) for n in range(start, 2 * BLOCKS)]
            assert len(left) == end - start
            assert account(found)[1:] >= told[1:]
            assert add(found, b"goes on").first == end
        add(log, b"%d" % number)
    wait_until(lambda: log.start(TOPIC, 0) == 30)
    log.close()


def test_while_the_disk_is_full_nothing_is_half_trimmed_and_then_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 4."""
    monkeypatch.setattr(trimming, "_FAILED_SECONDS", 0.0)
    disk = FaultyDisk()
    disk.where = "-wal"
    log = filled(tmp_path, vfs=disk.name)
    disk.write_fault = apsw.FullError("no space")
    trim(log, 30)
    wait_until(lambda: bool(log.failure()))
    assert log.start(TOPIC, 0) == 0
    assert contents(log) == [record(number) for number in range(2 * BLOCKS)]
    disk.heal()
    wait_until(lambda: log.start(TOPIC, 0) == 30)
    assert contents(log) == [record(number) for number in range(30, 2 * BLOCKS)]
    assert log.failure() == ""
    log.close()


def test_a_log_that_takes_nothing_for_want_of_space_still_forgets(tmp_path: Path) -> None:
    """Reliability 4: that is what makes space."""
    filled(tmp_path).close()
    log = SqliteLog(tmp_path / "log.db", MovedClock(), Limits(disk_free_bytes_min=1 << 60))
    with closing(log):
        with pytest.raises(NotReady, match="free"):
            add(log, b"refused")
        trimmed(log, 30)
        assert "free" in log.failure()
        assert contents(log) == [record(number) for number in range(30, 2 * BLOCKS)]


def test_space_is_given_back_and_nothing_of_what_was_in_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "_FREE_PAGES_MAX", 8)
    log, file = filled(tmp_path, 100), tmp_path / "log.db"
    wait_until(lambda: not (tmp_path / "log.db-wal").stat().st_size)
    full = file.stat().st_size
    trimmed(log, 196)
    wait_until(
        lambda: file.stat().st_size < full // 2 and not (tmp_path / "log.db-wal").stat().st_size
    )
    log.close()
    for found in tmp_path.iterdir():
        assert record(7)[:12] not in found.read_bytes()
    with closing(opened(tmp_path)) as again:
        assert contents(again) == [record(number) for number in range(196, 200)]


def test_a_portion_is_bounded_and_twice_what_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before trimming began does not count."""
    filled(tmp_path).close()
    file = SqliteFile(tmp_path / "log.db", vfs="", writable=True)
    starts, clock = [], CarefulClock(MovedClock())

    def commit(*topics: str) -> None:
        group = [[Append(topic, [b"more"])] for topic in topics]
        file.write(Transaction(clock, 24.0), group, {})
        starts.append(file.extent(TOPIC).start)

    monkeypatch.setattr(trimming, "_REST_SECONDS", 60.0)
    commit(TOPIC)
    file.want(TOPIC, 2 * BLOCKS, 0)
    commit(TOPIC)  # three blocks of two
    for topic in ("tests.a", "tests.b", "tests.c"):
        commit(topic)  # it rests
    file.trimming._rest_until = 0.0
    commit("tests.d")  # twice the four blocks that came since
    assert starts == [0, 6, 6, 6, 6, 6 + 2 * 2 * 4]
    file.close()


def test_a_front_that_the_disk_damaged_stops_its_trimming_and_nothing_else(
    tmp_path: Path,
) -> None:
    filled(tmp_path).close()
    file = tmp_path / "log.db"
    content = bytearray(file.read_bytes())
    page = content.index(b"record 0 of all") // 4096 * 4096
    content[page : page + 2] = b"\xff\xff"  # no page of a tree any more
    file.write_bytes(content)
    with closing(opened(tmp_path)) as log:
        trim(log, 30)
        trim(log, 1, OTHER)
        wait_until(lambda: log.start(OTHER, 0) == 1)
        assert log.start(TOPIC, 0) == 0
        assert add(log, b"more").first == 2 * BLOCKS
        assert log.failure() == ""


def test_what_lacks_at_the_front_and_was_not_trimmed_is_damage(
    tmp_path: Path, log: SqliteLog
) -> None:
    trimmed(log, 10)
    log.close()
    with closing(apsw.Connection(str(tmp_path / "log.db"))) as raw:
        raw.execute("DELETE FROM blocks_1 WHERE first < 14")
    with closing(opened(tmp_path)) as again, closing(again.reader()) as reader:
        assert again.start(TOPIC, 0) == 10
        assert reader.read(TOPIC, 0, 8, 8).damages == (
            Damage(8, 10, FORGOTTEN),
            Damage(10, 14, "missing from the log"),
        )


def test_a_backup_and_what_is_salvaged_begin_where_the_log_did(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    log = filled(tmp_path / "log")
    trimmed(log, 20)
    trimmed_away = log.end(OTHER, 0)
    trim(log, trimmed_away, OTHER)
    wait_until(lambda: log.start(OTHER, 0) == trimmed_away)
    create(tmp_path / "log" / "log.db", tmp_path / "kept", Quiet, Pace(0))
    log.close()
    sums = {one.topic: one for one in verify(tmp_path / "kept", Quiet, Pace(0)).topics}
    assert (sums[TOPIC].start, sums[TOPIC].next, sums[TOPIC].records) == (20, 48, 28)
    assert (sums[OTHER].start, sums[OTHER].next, sums[OTHER].records) == (1, 1, 0)
    restore(tmp_path / "kept", tmp_path / "restored", Quiet)
    found = salvage(tmp_path / "log" / "log.db", tmp_path / "salvaged", Quiet)
    assert [topic.lost for topic in found.topics] == [[], []]
    for folder in ("restored", "salvaged"):
        with closing(opened(tmp_path / folder)) as again:
            assert contents(again) == [record(number) for number in range(20, 48)]
            assert add(again, b"next", topic=OTHER).first == 1


@pytest.mark.parametrize(("starts", "left"), [((10, 40), 8), ((10, 40, 48), 0)])
def test_what_is_trimmed_while_a_backup_is_made_is_no_hole_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: tuple[int, ...], left: int
) -> None:
    monkeypatch.setattr(moment, "_PIECE_BYTES", 1_000)  # a block
    (tmp_path / "log").mkdir()
    log, next_start = filled(tmp_path / "log"), iter(starts)

    class Meanwhile(Quiet):
        def move(self, done: int, total: int) -> None:
            super().move(done, total)
            if self.title == "copying" and (start := next(next_start, 0)):
                add(log, b"meanwhile")
                trimmed(log, start)

    create(tmp_path / "log" / "log.db", tmp_path / "kept", Meanwhile, Pace(0))
    log.close()
    restore(tmp_path / "kept", tmp_path / "restored", Quiet)
    with closing(opened(tmp_path / "restored")) as again:
        assert again.start(TOPIC, 0) == starts[-1]
        assert contents(again) == [record(number) for number in range(48 - left, 48)]
        assert add(again, b"next").first == 48


def test_a_log_that_was_cleared_begins_at_its_beginning(tmp_path: Path, log: SqliteLog) -> None:
    trimmed(log, 20)
    was = log.identity(TOPIC)
    log.clear()
    log.trim(was, TOPIC, 0, 0)
    log.count(was, TOPIC, Extent(), Extent(counted=9, bytes=9))
    assert log.start(TOPIC, 0) == 0
    assert submit(log, Append(TOPIC, [b"new"]))[0].first == 0
    log.trim(was, TOPIC, 1, 0)  # somebody had looked before
    assert submit(log, Append(TOPIC, [b"newer"]))[0].first == 1
    assert contents(log) == [b"new", b"newer"]
    assert log.extent(TOPIC, 0) == Extent()
