"""The data folder: it belongs to one process per role, for as long as that process lives."""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

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
                f"the data folder {folder} cannot be written: {error.strerror}; see that its disk "
                "has room and that this user may write it, or, for a new and empty log, choose "
                "another with --data or PENSTOCK_DATA"
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


def member_of(folder: Path) -> str:
    """The name of whoever works on this folder, on this host, for as long as the folder lives.

    A copy of the folder on another host is another one. Raise `OSError`.
    """
    path = folder / "member"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), path.open("x") as file:
        file.write(uuid4().hex)
    return f"{socket.gethostname()}-{path.read_text() or 'unnamed'}"


def identity_of(path: Path) -> tuple[int, int]:
    """The same as long as it is this very file or folder. Raise `OSError` when there is none."""
    found = path.stat()
    return found.st_dev, found.st_ino


def is_taken(folder: Path, role: str) -> bool:
    """Whether a process has the role there; nothing is made to find out."""
    try:
        handle = os.open(folder / f"{role}.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def synced(path: Path) -> None:
    """What a file holds, or which names a folder has, is on the disk. Raise `OSError`."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def bytes_of(folder: Path) -> int:
    """Bytes of all files below the folder.

    The engines make, rename and remove files and folders meanwhile. What is gone when its turn
    comes is not counted; what moved may be counted at both places or at none. Raise `OSError` for
    what is there and cannot be looked at.
    """
    total = 0
    left = [os.fspath(folder)]
    while left:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        total += entry.stat(follow_symlinks=False).st_size
    return total
