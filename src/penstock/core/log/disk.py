"""What the disk under a log allows: whether there is room, and which failure a restart mends."""

import shutil
from pathlib import Path

import apsw

from penstock.core.clock import Clock

_LOOK_SECONDS = 0.5
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_NOT_OURS = (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError)
_TAKEN = (apsw.BusyError, apsw.LockedError)
_TRANSIENT = (apsw.FullError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.BusyError)


class Space:
    """Room on the disk of a folder; for one thread at a time."""

    def __init__(self, folder: Path, free_bytes_min: int, clock: Clock) -> None:
        self._folder = folder
        self._free_bytes_min = free_bytes_min
        self._clock = clock
        self._good_until = float("-inf")

    def problem(self) -> str:
        """Why nothing should be written now, or nothing; good news holds for half a second."""
        now = self._clock.monotonic()
        if now < self._good_until:
            return ""
        found = shortage(self._folder, self._free_bytes_min)
        if not found:
            self._good_until = now + _LOOK_SECONDS
        return found


def shortage(folder: Path, free_bytes_min: int) -> str:
    """Why nothing should be written to a folder, or nothing."""
    free = shutil.disk_usage(folder).free
    if free >= free_bytes_min:
        return ""
    return (
        f"only {free} bytes are free in {folder}; free some, or lower PENSTOCK_DISK_FREE_BYTES_MIN"
    )


def failed_write(what: str, error: Exception) -> str:
    """How a write failed. Starts with `fatal` if only a new process may acknowledge again.

    A full disk may come back. After a failed sync the pages are anybody's guess, until somebody
    recovers the file and syncs it anew.
    """
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, _TRANSIENT):
        return f"writing the {what}: {detail}"
    return f"fatal: {detail}; restart"


def failed_open(path: Path, error: Exception, doing: str = "opening") -> str:
    """Why a log cannot be opened, and what to do. To give it up is said of a damaged file only."""
    return f"{doing} the log {path}: {error}; {_remedy(error)}"


def is_damage(error: Exception) -> bool:
    """Whether a failure proves that the file is not what was written."""
    return isinstance(error, _DAMAGED)


def _remedy(error: Exception) -> str:
    if is_damage(error):
        return (
            "it is damaged: restore it from a backup, or copy what can be read with `penstock "
            "salvage`, and keep it until then"
        )
    if isinstance(error, apsw.FullError):
        return "the disk is full: free some of it, and start again"
    if isinstance(error, _TAKEN):
        return "another process holds it: stop that one"
    if isinstance(error, _NOT_OURS):
        return "check that the folder exists, and that this user may write it and what is in it"
    return "look at the disk and the system's log; nothing says that the log is damaged"
