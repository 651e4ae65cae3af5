"""A disk that loses what was not synced when the power is cut, below a real SQLite."""

import random
import threading
from collections import defaultdict
from pathlib import Path
from uuid import uuid4

import apsw

_SECTOR_BYTES = 512
_Write = tuple[int, bytes | None]
"""Where, and what; None for an end of the file there."""


class CutDisk(apsw.VFS):
    """Hand `name` to what opens the file. What it writes is read back as ever; `cut` leaves what
    was synced and, sector by sector, any part of the rest.
    """

    def __init__(self) -> None:
        self.name = f"cut-{uuid4().hex[:8]}"
        self.lies = False
        """Whether it says that it synced, and did not."""
        self._lock = threading.Lock()
        self._synced: defaultdict[str, bytearray] = defaultdict(bytearray)
        self._unsynced: defaultdict[str, list[_Write]] = defaultdict(list)
        super().__init__(self.name, "")

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        super().xDelete(filename, syncdir)
        with self._lock:
            self._synced.pop(filename, None)
            self._unsynced.pop(filename, None)

    def wrote(self, path: str, write: _Write) -> None:
        with self._lock:
            self._unsynced[path].append(write)

    def sync(self, path: str) -> None:
        if not self.lies:
            with self._lock:
                for write in self._unsynced.pop(path, []):
                    _apply(self._synced[path], write)

    def cut(self, folder: Path, kept: float, chance: random.Random) -> None:
        """Fill the folder with what would be found after a power cut at this moment, and this share
        of the sectors that were not synced.
        """
        folder.mkdir()
        with self._lock:
            for path in {*self._synced, *self._unsynced}:
                content = bytearray(self._synced[path])
                for write in self._unsynced.get(path, []):
                    for sector in _sectors(write):
                        if chance.random() < kept:
                            _apply(content, sector)
                (folder / Path(path).name).write_bytes(content)


class _File(apsw.VFSFile):
    def __init__(
        self, disk: CutDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        super().xWrite(data, offset)
        self._disk.wrote(self._path, (offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        super().xTruncate(newsize)
        self._disk.wrote(self._path, (newsize, None))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._disk.sync(self._path)


def _sectors(write: _Write) -> list[_Write]:
    at, data = write
    if data is None:
        return [write]
    return [
        (start, data[max(start - at, 0) : start - at + _SECTOR_BYTES])
        if start >= at
        else (at, data[: start + _SECTOR_BYTES - at])
        for start in range(at - at % _SECTOR_BYTES, at + len(data), _SECTOR_BYTES)
    ]


def _apply(content: bytearray, write: _Write) -> None:
    at, data = write
    if data is None:
        del content[at:]
        return
    content.extend(bytes(max(at - len(content), 0)))
    content[at : at + len(data)] = data
