"""The data folder belongs to one process per role, for as long as that process lives."""

import fcntl
import os
from pathlib import Path

from penstock.core.errors import Misconfigured


class FolderLock:
    """Held until `release`, or until the process ends, however it ends."""

    def __init__(self, folder: Path, role: str) -> None:
        """Raise `Misconfigured` when the folder cannot be written, or another process has it."""
        path = folder / f"{role}.lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Misconfigured(
                f"the data folder {folder} cannot be written: {error.strerror}; "
                "choose another with --data or PENSTOCK_DATA"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._file, 32).decode() or "unknown"
            os.close(self._file)
            raise Misconfigured(
                f"the data folder {folder} is in use by process {owner.strip()}; "
                "stop it, or choose another folder with --data"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._file)
