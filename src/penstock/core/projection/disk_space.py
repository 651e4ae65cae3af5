"""Disk space: a second copy of a read model, estimated before and watched during."""

import shutil
from collections.abc import Callable
from pathlib import Path

from penstock.core.errors import NotReady

_MERGED_SHARE = 1.25
"""What engines merge is there twice for a while."""


class NoDiskSpace(NotReady):
    """The disk has no space for a second copy of the read model; the one there is was kept."""


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class DiskSpace:
    """On the disk of a folder; a server's disk is its own matter.

    Twice the reserve is left alone: at one of it events are refused, and what engines have not
    written yet has to fit between the two.
    """

    def __init__(
        self,
        folder: Path | None,
        free_bytes_min: int,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folder = folder
        self._left_alone = 2 * free_bytes_min
        self._free = free

    def check(self, name: str, needed: int = 0) -> None:
        """Before so many bytes are written. Raise `NoDiskSpace`."""
        if self._folder is None:
            return
        needed, free = int(needed * _MERGED_SHARE), self._free(self._folder)
        if free - needed >= self._left_alone:
            return
        takes = f"takes about {needed} bytes" if needed else "went on"
        raise NoDiskSpace(
            f"rebuilding {name} {takes} while {free} are free, of which {self._left_alone} are "
            "left alone, twice PENSTOCK_DISK_FREE_BYTES_MIN; free some. What there was is kept",
            retry_after=0,
        )
