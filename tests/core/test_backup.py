"""A backup is whole, and proves it, or there is none."""

import fcntl
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw
import msgspec
import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import Misconfigured, PenstockError
from penstock.core.folder import FolderLock
from penstock.core.log import Append, Receipt
from penstock.core.log.backup import Unproven, contents_of, create, restore, verify
from penstock.core.log.pace import Pace
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.log.sqlite_reader import SqliteReader, connect
from support.disks import flip

TOPIC = "tests.things"


class Quiet:
    """A bar that shows nothing."""

    def __init__(self, title: str, unit: str) -> None:
        del unit
        self.title = title

    def move(self, done: int, total: int) -> None:
        assert 0 <= done <= total

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class Interrupted(Quiet):
    def move(self, done: int, total: int) -> None:
        del done, total
        raise KeyboardInterrupt


def add(log: SqliteLog, payloads: Sequence[bytes], topic: str = TOPIC) -> None:
    answer: Future[None] = Future()

    def done(outcome: Sequence[Receipt] | PenstockError) -> None:
        assert not isinstance(outcome, PenstockError), outcome
        answer.set_result(None)

    log.submit([Append(topic, payloads)], done)
    answer.result(20)


def opened(folder: Path) -> SqliteLog:
    folder.mkdir(exist_ok=True)
    return SqliteLog(folder / "log.db", SystemClock(), Limits())


def records(folder: Path, topic: str = TOPIC) -> list[bytes]:
    with closing(SqliteReader(folder / "log.db")) as reader:
        return list(reader.read(topic, 0, 0, 100_000).payloads)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred transactions; nobody writes here any more."""
    folder = tmp_path_factory.mktemp("written")
    with closing(opened(folder)) as log:
        for number in range(300):
            add(log, [b"%d" % number + b"." * 200])
        add(log, [b"other"], "tests.others")
    return folder


@pytest.fixture
def data(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "data")


def test_it_is_one_moment_of_the_log_however_much_is_written_meanwhile(
    data: Path, tmp_path: Path
) -> None:
    """Reliability 24."""
    before = records(data)
    with closing(opened(data)) as log:
        moves = []

        class Busy(Quiet):
            def move(self, done: int, total: int) -> None:
                super().move(done, total)
                if self.title == "copying":
                    moves.append(done)
                    add(log, [b"meanwhile"])

        made = create(data / "log.db", tmp_path / "kept", Busy, Pace(0))
    assert moves
    assert [(one.topic, one.records, one.next) for one in made.topics] == [
        ("tests.others", 1, 1),
        (TOPIC, 300, 300),
    ]
    assert verify(tmp_path / "kept", Quiet, Pace(0)) == made
    restore(tmp_path / "kept", tmp_path / "again", Quiet)
    assert records(tmp_path / "again") == before
    assert records(tmp_path / "again", "tests.others") == [b"other"]


def test_it_holds_on_to_no_moment_while_it_copies(data: Path, tmp_path: Path) -> None:
    """Reliability 24: else the write-ahead log would grow by all that is written meanwhile."""
    with closing(opened(data)) as log:
        for _ in range(20):
            add(log, [os.urandom(50_000)])
    folded: list[object] = []
    with closing(connect(data / "log.db", writable=True)) as writer:

        class Writing(Quiet):
            def move(self, done: int, total: int) -> None:
                super().move(done, total)
                if self.title == "copying":
                    writer.execute("INSERT INTO meta VALUES (?, '')", (f"later {len(folded)}",))
                    folded.append(writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").get)

        made = create(data / "log.db", tmp_path / "kept", Writing, Pace(0))
    assert len(folded) > 5
    assert set(folded) == {(0, 0, 0)}, "nobody was in the way, and nothing was left"
    assert [one.records for one in made.topics] == [1, 320]
    assert not (data / "log.db-wal").exists()
    with closing(connect(tmp_path / "kept" / "log.db", writable=False)) as kept:
        assert kept.execute("SELECT count(*) FROM meta WHERE key LIKE 'later%'").get == 0


def test_a_log_that_is_cleared_meanwhile_gives_none(data: Path, tmp_path: Path) -> None:
    with closing(opened(data)) as log:

        class Clearing(Quiet):
            def move(self, done: int, total: int) -> None:
                del done, total
                log.clear()

        with pytest.raises(Unproven, match="cleared or replaced meanwhile"):
            create(data / "log.db", tmp_path / "kept", Clearing, Pace(0))
    assert list(tmp_path.iterdir()) == [data]


def test_a_restored_log_is_another_one_and_goes_on(data: Path, tmp_path: Path) -> None:
    """Reliability 24."""
    made = create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    restore(tmp_path / "kept", tmp_path / "again", Quiet)
    with closing(opened(tmp_path / "again")) as log:
        assert log.identity(TOPIC) != made.identity
        assert log.end(TOPIC, 0) == 300
        add(log, [b"next"])
    assert records(tmp_path / "again")[-1] == b"next"


def test_each_of_several_brings_its_own_moment_back(data: Path, tmp_path: Path) -> None:
    """Reliability 24: an older one too, on an empty place, and each goes on from there."""
    moments = []
    for number in range(3):
        moments.append(records(data))
        create(data / "log.db", tmp_path / f"kept-{number}", Quiet, Pace(0))
        with closing(opened(data)) as log:
            add(log, [b"later %d" % number])
    for number in (0, 2, 1):
        restore(tmp_path / f"kept-{number}", tmp_path / f"again-{number}", Quiet)
        assert records(tmp_path / f"again-{number}") == moments[number]
        with closing(opened(tmp_path / f"again-{number}")) as log:
            add(log, [b"another"])
        assert records(tmp_path / f"again-{number}") == [*moments[number], b"another"]
    assert len(records(data)) == 303


def test_an_interrupted_one_is_none_and_the_next_takes_its_place(
    data: Path, tmp_path: Path
) -> None:
    """Reliability 24."""
    with pytest.raises(KeyboardInterrupt):
        create(data / "log.db", tmp_path / "kept", Interrupted, Pace(0))
    assert list(tmp_path.iterdir()) == [data]
    killed = tmp_path / ".kept.partial"  # what kill -9 leaves
    killed.mkdir()
    (killed / "log.db").write_bytes(b"half")
    with pytest.raises(Unproven, match="is no backup"):
        verify(killed, Quiet, Pace(0))
    create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    assert not killed.exists()
    verify(tmp_path / "kept", Quiet, Pace(0))


def test_two_do_not_write_one_folder(data: Path, tmp_path: Path) -> None:
    other = tmp_path / ".kept.partial"
    other.mkdir()
    handle = os.open(other, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(Unproven, match="another backup writes"):
        create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    os.close(handle)
    assert other.exists()


@pytest.mark.parametrize("what", ["byte", "row", "page", "contents", "file"])
def test_what_is_not_as_it_was_written_is_found_and_not_restored(
    data: Path, tmp_path: Path, what: str
) -> None:
    """Reliability 24."""
    kept = tmp_path / "kept"
    create(data / "log.db", kept, Quiet, Pace(0))
    match what:
        case "byte":
            flip(kept / "log.db", b"123....")
        case "row":
            with closing(apsw.Connection(str(kept / "log.db"))) as log:
                log.execute("DELETE FROM blocks_1 WHERE first = 7")
        case "page":
            content = bytearray((kept / "log.db").read_bytes())
            content[40_960:45_056] = bytes(4_096)
            (kept / "log.db").write_bytes(content)
        case "contents":
            (kept / "backup.json").write_bytes((kept / "backup.json").read_bytes()[:50])
        case "file":
            (kept / "log.db").unlink()
    with pytest.raises(Unproven):
        verify(kept, Quiet, Pace(0))
    with pytest.raises(Unproven):
        restore(kept, tmp_path / "again", Quiet)
    assert not (tmp_path / "again" / "log.db").exists()


def test_records_that_the_log_had_lost_already_are_counted(data: Path, tmp_path: Path) -> None:
    flip(data / "log.db", b"123....")
    made = create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    assert [(one.records, one.next) for one in made.topics] == [(1, 1), (299, 300)]
    assert verify(tmp_path / "kept", Quiet, Pace(0)) == made


def test_a_log_whose_pages_are_damaged_gives_no_backup(data: Path, tmp_path: Path) -> None:
    content = bytearray((data / "log.db").read_bytes())
    content[40_960:45_056] = bytes(4_096)
    (data / "log.db").write_bytes(content)
    with pytest.raises(Unproven, match="penstock salvage"):
        create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    assert list(tmp_path.iterdir()) == [data]


def test_a_backup_is_not_put_where_it_would_be_lost_with_the_log(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(data)
    for target in (data / "kept", data / "deep" / "kept", tmp_path / "link" / "kept"):
        there = set(data.iterdir())
        with pytest.raises(Unproven, match="inside the data folder"):
            create(data / "log.db", target, Quiet, Pace(0))
        assert set(data.iterdir()) == there


def test_nothing_is_written_over(data: Path, tmp_path: Path) -> None:
    create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    with pytest.raises(Unproven, match="inside the data folder"):
        create(data / "log.db", data, Quiet, Pace(0))
    with pytest.raises(Unproven, match="holds something already"):
        create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    for target in (data, tmp_path / "kept"):
        with pytest.raises(Unproven, match="holds something already"):
            restore(tmp_path / "kept", target, Quiet)
    empty = tmp_path / "empty"
    owner = FolderLock(empty, "edge")
    with pytest.raises(Misconfigured, match="in use by process"):
        restore(tmp_path / "kept", empty, Quiet)
    owner.release()
    restore(tmp_path / "kept", empty, Quiet)
    assert len(records(empty)) == 300


def test_a_form_of_another_version_is_refused(data: Path, tmp_path: Path) -> None:
    made = create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    other = msgspec.structs.replace(made, form=2)
    (tmp_path / "kept" / "backup.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(Unproven, match="has the form 2"):
        contents_of(tmp_path / "kept")


@pytest.mark.parametrize(
    "change",
    ["body = CAST(x'ff00ff' AS TEXT)", "body = 7", "count = 'many'", "at_ms = 'then', body = ''"],
)
def test_a_row_that_is_of_other_types_is_damage_and_nothing_worse(
    data: Path, tmp_path: Path, change: str
) -> None:
    with closing(apsw.Connection(str(data / "log.db"))) as log:
        log.execute(f"UPDATE blocks_1 SET {change} WHERE first = 7")
    with closing(SqliteReader(data / "log.db")) as reader:
        batch = reader.read(TOPIC, 0, 0, 300)
        blocks = reader.blocks(TOPIC, 0)
    assert [(damage.first, damage.next) for damage in batch.damages] == [(7, 8)]
    assert len(batch.payloads) == 299
    assert [d[:2] for block in blocks for d in block.damages] == [(7, 8)]
    made = create(data / "log.db", tmp_path / "kept", Quiet, Pace(0))
    assert [(one.records, one.next) for one in made.topics] == [(1, 1), (299, 300)]
