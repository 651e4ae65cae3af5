"""Files that may not be made, opened, or folded into: it is said, and got over."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.log import checkpoint
from penstock.core.log.sqlite import Limits, SqliteLog
from support.clock import MovedClock
from support.disks import FaultyDisk
from support.logs import account, add, balanced, contents, wait_until


@contextmanager
def no_more_files() -> Iterator[None]:
    """Nothing more may be opened by this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_that_may_open_no_file_more_goes_on_storing(tmp_path: Path) -> None:
    """Reliability 6."""
    log = SqliteLog(tmp_path / "log.db", MovedClock(), Limits())
    try:
        add(log, b"before")
        with no_more_files():
            for _ in range(20):
                add(log, b"meanwhile")
            with pytest.raises(NotReady, match="cannot be opened"):
                log.reader()
        assert contents(log) == [b"before", *[b"meanwhile"] * 20]
        assert balanced(account(log))
    finally:
        log.close()


@pytest.mark.parametrize("which", ["log.db", "log.db-wal"])
def test_where_no_file_can_be_made_the_start_says_so_and_the_next_one_goes_on(
    tmp_path: Path, which: str
) -> None:
    """Reliability 6: as with a disk that has no inodes left, or too many files open."""
    disk = FaultyDisk()
    disk.where, disk.open_fault = which, apsw.CantOpenError("no inodes left")
    with pytest.raises(Misconfigured, match="this user may write it") as refused:
        SqliteLog(tmp_path / "log.db", MovedClock(), Limits(), vfs=disk.name)
    assert "restore" not in str(refused.value)
    disk.heal()
    log = SqliteLog(tmp_path / "log.db", MovedClock(), Limits(), vfs=disk.name)
    add(log, b"a")
    assert contents(log) == [b"a"]
    log.close()


def test_a_disk_too_full_to_fold_into_keeps_what_is_written_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 4: appends go on as long as they find space themselves."""
    monkeypatch.setattr(checkpoint, "_PAGES", 16)
    disk = FaultyDisk()
    path = tmp_path / "log.db"
    log = SqliteLog(path, MovedClock(), Limits(), vfs=disk.name)
    try:
        add(log, b"a")
        disk.where, disk.write_fault = "log.db", apsw.FullError("no space left")
        for _ in range(30):
            add(log, b"b" * 10_000)
        assert log.failure() == ""
        assert contents(log) == [b"a", *[b"b" * 10_000] * 30]
        disk.heal()
        add(log, b"c")
        wait_until(lambda: path.with_name("log.db-wal").stat().st_size == 0)
        assert contents(log)[-1] == b"c"
    finally:
        disk.heal()
        log.close()
