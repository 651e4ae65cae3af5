"""A log whose folder is away for a while, or whose writer meets what nobody foresaw."""

import os
from pathlib import Path

import pytest

from penstock.core.errors import NotReady
from penstock.core.log import Append
from penstock.core.log.sqlite import Limits, SqliteLog
from support.clock import MovedClock
from support.lines import Lines
from support.logs import TOPIC, account, add, begin, contents, wait_until


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def test_a_folder_that_is_away_for_a_while_holds_the_log_up_and_no_longer(
    tmp_path: Path, clock: MovedClock
) -> None:
    """Reliability 44."""
    lines, folder = Lines(), tmp_path / "data"
    folder.mkdir()
    log = SqliteLog(folder / "log.db", clock, Limits(), lines=lines.logger)
    try:
        add(log, b"before")
        for _ in range(2):
            folder.rename(tmp_path / "elsewhere")
            clock.seconds += 1
            for _ in range(3):
                with pytest.raises(NotReady, match=r"log\.db cannot be reached"):
                    add(log, b"lost")
            assert "No such file" in log.failure()
            assert str(tmp_path) not in log.failure()
            (tmp_path / "elsewhere").rename(folder)
            add(log, b"after")
            assert log.failure() == ""
        assert contents(log) == [b"before", b"after", b"after"]
        assert account(log)[1:] == (9, 3, 0, 6)
    finally:
        log.close()
    assert contents_of(folder / "log.db") == [b"before", b"after", b"after"]
    assert len(lines.named("log.failed")) == len(lines.named("log.recovered")) == 2


def contents_of(path: Path) -> list[bytes]:
    log = SqliteLog(path, MovedClock(), Limits())
    try:
        return contents(log)
    finally:
        log.close()


def test_nothing_is_written_to_a_log_that_another_file_took_the_place_of(
    tmp_path: Path, clock: MovedClock
) -> None:
    """Reliability 44."""
    log = SqliteLog(tmp_path / "log.db", clock, Limits())
    add(log, b"a")
    (tmp_path / "log.db").rename(tmp_path / "aside")
    (tmp_path / "log.db").write_bytes(b"")
    clock.seconds += 1
    with pytest.raises(NotReady, match=r"another file is in the place of log\.db"):
        add(log, b"b")
    (tmp_path / "aside").rename(tmp_path / "log.db")
    assert add(log, b"c").first == 1
    log.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_entered_holds_the_log_up_and_no_longer(
    tmp_path: Path, clock: MovedClock
) -> None:
    """Reliability 6 and 44."""
    folder = tmp_path / "data"
    folder.mkdir()
    log = SqliteLog(folder / "log.db", clock, Limits())
    try:
        add(log, b"a")
        folder.chmod(0)
        clock.seconds += 1
        with pytest.raises(NotReady, match="Permission denied"):
            add(log, b"b")
        folder.chmod(0o700)
        assert add(log, b"c").first == 1
    finally:
        folder.chmod(0o700)
        log.close()


@pytest.mark.parametrize("where", ["_settle", "_commit_tallies"])
def test_what_nobody_foresaw_in_the_writers_loop_is_fatal_and_said_and_others_are_answered(
    tmp_path: Path, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Reliability 44."""

    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw it")

    lines = Lines()
    log = SqliteLog(tmp_path / "log.db", clock, Limits(), lines=lines.logger)
    try:
        add(log, b"a")
        with monkeypatch.context() as patched:
            patched.setattr(log, where, fail)
            if where == "_settle":
                begin(log, Append(TOPIC, [b"b"]))
            wait_until(lambda: bool(log.failure()))
        assert log.failure() == "fatal: the log's thread failed; restart"
        with pytest.raises(NotReady, match="RuntimeError: nobody foresaw it"):
            add(log, b"c")
        assert "nobody foresaw it" in lines.named("log.failed")[0]["error"]
    finally:
        log.close()
    assert contents_of(tmp_path / "log.db") == [b"a"]
