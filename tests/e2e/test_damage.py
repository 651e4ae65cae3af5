"""A damaged log is told of by every tool, ended by none, and salvaged."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2e.certificates import pair
from support.commands import penstock
from support.history import History
from support.process import Process, caught_up

PAGE = 4_096
TAGS = 1_200


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[tuple[Path, History]]:
    """A data folder whose log has a page of zeros in the middle of its tags."""
    history, process = History(), Process(tmp_path / "data")
    history.send(process.url, "before", TAGS)
    caught_up(process.url)
    assert process.stop() == 0
    log = tmp_path / "data" / "log.db"
    content = bytearray(log.read_bytes())
    leaves = [at for at in range(0, len(content), PAGE) if content[at : at + 3] == b"\x0d\x00\x00"]
    at = leaves[len(leaves) // 2]
    content[at : at + PAGE] = bytes(PAGE)
    log.write_bytes(content)
    yield tmp_path / "data", history
    process.end()


def test_doctor_tells_of_it_and_salvage_brings_the_rest_back(
    damaged: tuple[Path, History], tmp_path: Path
) -> None:
    """Reliability 3."""
    data, history = damaged
    content = (data / "log.db").read_bytes()
    for options in ((), ("--deep",)):
        told = penstock("doctor", "--data", data, *options)
        assert told.status == 1
        assert "Traceback" not in told.errors
        assert "penstock salvage" in told.out
        assert "open files" in told.out, "the other checks are made all the same"
    for arguments in (("rebuild", "audiences_tags"), ("events", "audiences.tags")):
        told = penstock(*arguments, "--data", data)
        assert told.status == 2, told
        assert "penstock salvage" in told.errors
        assert "Traceback" not in told.errors
    told = penstock("backup", "create", tmp_path / "kept", "--data", data)
    assert told.status == 2
    assert "penstock salvage" in told.errors
    assert not (tmp_path / "kept").exists()

    told = penstock("salvage", data, tmp_path / "salvaged")
    assert told.status == 1, told
    assert "  lost: " in told.out
    copied = int(told.out.partition("audiences.tags: ")[2].split()[0])
    assert 0 < copied < TAGS
    assert (data / "log.db").read_bytes() == content

    process = Process(tmp_path / "salvaged")
    try:
        caught_up(process.url)
        history.acknowledged.clear()
        history.send(process.url, "after", 40)
        caught_up(process.url)
        history.check(process.url, {"after"})
    finally:
        process.end()
    letters = penstock("dead-letters", "list", "--data", tmp_path / "salvaged")
    assert "damaged" in letters.out


def test_doctor_tells_of_the_certificates_last_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(days=5)
    for name, value in pair(tmp_path, valid_until=soon).environment.items():
        monkeypatch.setenv(f"PENSTOCK_{name.upper()}", value)
    told = penstock("doctor", "--data", tmp_path / "data", environment=True)
    assert "valid for another 5 days: renew it" in told.out


def test_doctor_names_the_table_that_lost_rows_and_its_rebuild_brings_them_back(
    tmp_path: Path,
) -> None:
    """By an unclean stop, before anything was started again (reliability 46)."""
    history, process = History(), Process(tmp_path / "data")
    history.send(process.url, "before", 200)
    caught_up(process.url)
    process.kill()
    for part in (tmp_path / "data").glob("warehouse/store/*/*/*/data.bin"):
        part.write_bytes(b"")
    told = penstock("doctor", "--data", tmp_path / "data")
    assert told.status == 1
    assert "parts are out of use" in told.out
    remedy = "penstock rebuild audiences_tags --from-scratch"
    assert remedy in told.out
    rebuilt = penstock(*remedy.split()[1:], "--data", tmp_path / "data")
    assert rebuilt.status == 0, rebuilt
    told = penstock("doctor", "--data", tmp_path / "data")
    assert "its tables hold what was planned and counted" in told.out
    process = Process(tmp_path / "data")
    try:
        caught_up(process.url)
        history.check(process.url, {"before"})
    finally:
        process.end()
