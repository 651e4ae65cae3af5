"""The data folder: how large it is, whatever happens in it meanwhile."""

import os
import threading
from itertools import count
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


def test_what_is_renamed_and_removed_meanwhile_costs_nobody_the_rest(tmp_path: Path) -> None:
    filled(tmp_path)
    stopping = threading.Event()

    def work() -> None:
        for number in count():
            if stopping.is_set():
                return
            made = tmp_path / "a" / f"tmp_{number % 7}"
            made.mkdir()
            for name in range(10):
                (made / str(name)).write_bytes(b"x")
            moved = made.rename(tmp_path / "a" / f"part_{number}")
            for name in range(10):
                (moved / str(name)).unlink()
            moved.rmdir()

    working = threading.Thread(target=work)
    working.start()
    try:
        sizes = [bytes_of(tmp_path) for _ in range(2_000)]
    finally:
        stopping.set()
        working.join()
    assert min(sizes) >= STAYS + 200
    assert max(sizes) > STAYS + 200, "there was something to see"
