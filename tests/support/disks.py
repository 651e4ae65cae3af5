"""A disk that fails when it is told to, below a real SQLite."""

from pathlib import Path
from uuid import uuid4

import apsw


class FaultyDisk(apsw.VFS):
    """Hand `name` to what opens the file. Faults apply to files whose name ends with `where`."""

    def __init__(self) -> None:
        self.name = f"faulty-{uuid4().hex[:8]}"
        self.write_fault: Exception | None = None
        self.sync_fault: Exception | None = None
        self.open_fault: Exception | None = None
        self.where = ""
        self.syncs = 0
        super().__init__(self.name, "")

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        if self.open_fault is not None and path.endswith(self.where):
            raise self.open_fault
        return _File(self, name, flags)

    def heal(self) -> None:
        self.write_fault = self.sync_fault = self.open_fault = None


class _File(apsw.VFSFile):
    def __init__(
        self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        if self._disk.write_fault is not None and self._path.endswith(self._disk.where):
            raise self._disk.write_fault
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if self._disk.sync_fault is not None and self._path.endswith(self._disk.where):
            raise self._disk.sync_fault
        self._disk.syncs += 1
        super().xSync(flags)


def flip(file: Path, marker: bytes) -> None:
    """Change one bit of the marker wherever it lies in the file."""
    content = file.read_bytes()
    at = content.index(marker)
    file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
