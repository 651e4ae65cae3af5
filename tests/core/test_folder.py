"""The data folder: how large it is, whatever happens in it meanwhile."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from penstock.core.folder import bytes_of

STAYS = 1_000


def filled(folder: Path) -> Path:
    """Holds 1,000 bytes two folders down, and 100 in each of two files."""
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "stays").write_bytes(bytes(STAYS))
    (folder / "log.db").write_bytes(bytes(100))
    (folder / "log.db-wal").write_bytes(bytes(100))
    return folder


def test_every_file_below_a_folder_counts(tmp_path: Path) -> None:
    assert bytes_of(filled(tmp_path)) == STAYS + 200


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    filled(tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "folder").symlink_to(tmp_path / "one", target_is_directory=True)
    (tmp_path / "two" / "file").symlink_to(tmp_path / "one" / "log.db")
    (tmp_path / "two" / "loop").symlink_to(tmp_path / "two", target_is_directory=True)
    assert bytes_of(tmp_path / "two") == 0


def test_what_is_not_there_has_no_bytes(tmp_path: Path) -> None:
    assert bytes_of(tmp_path / "nowhere") == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_what_cannot_be_looked_at_is_not_passed_over(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "a").chmod(0)
    with pytest.raises(PermissionError):
        bytes_of(tmp_path)
    (tmp_path / "a").chmod(0o700)


def taken(part: Path) -> None:
    for file in part.iterdir():
        file.unlink()
    part.rmdir()


def renamed(part: Path) -> None:
    part.rename(part.with_name("part_1"))


def made_a_file(part: Path) -> None:
    taken(part)
    part.write_bytes(bytes(50))


def emptied(part: Path) -> None:
    for file in part.iterdir():
        file.unlink()


@pytest.mark.parametrize("listed", ["a", "a/tmp_1"])
@pytest.mark.parametrize("change", [taken, renamed, made_a_file, emptied])
def test_what_changes_after_it_was_listed_costs_nobody_the_rest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    listed: str,
) -> None:
    """An engine works between the listing of a folder and the look at what it lists."""
    part = filled(tmp_path) / "a" / "tmp_1"
    part.mkdir()
    for name in range(10):
        (part / str(name)).write_bytes(b"x")
    listing = os.scandir

    def scandir(path: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        with listing(path) as entries:
            found = list(entries)
        if path == str(tmp_path / listed):
            change(part)
        return nullcontext(iter(found))

    monkeypatch.setattr(os, "scandir", scandir)
    assert bytes_of(tmp_path) == STAYS + 200
