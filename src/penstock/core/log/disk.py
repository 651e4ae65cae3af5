"""What the disk under a log allows: whether there is room, and which failure a restart mends."""

import shutil
from pathlib import Path

import apsw

from penstock.core.clock import Clock
from penstock.core.errors import NotReady
from penstock.core.folder import identity_of

FATAL = "fatal"
"""So begins a failure that only a new process gets over."""
_LOOK_SECONDS = 0.5
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_NOT_OURS = (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError)
_TAKEN = (apsw.BusyError, apsw.LockedError)
_TRANSIENT = (apsw.FullError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.BusyError)


class Space:
    """Room for a file that is open, where it was opened; for one thread at a time."""

    def __init__(self, file: Path, free_bytes_min: int, clock: Clock) -> None:
        self._file = file
        self._known = identity_of(file)
        self._free_bytes_min = free_bytes_min
        self._clock = clock
        self._good_until = float("-inf")

    def problem(self) -> str:
        """Why nothing should be written now, or nothing; good news holds for half a second.

        A file that was moved away could be written to all the same, and nobody would find there
        what was acknowledged.
        """
        now = self._clock.monotonic()
        if now < self._good_until:
            return ""
        found = self.absence() or shortage(self._file.parent, self._free_bytes_min)
        if not found:
            self._good_until = now + _LOOK_SECONDS
        return found

    def absence(self) -> str:
        """Why this is not the file that was opened, or nothing."""
        try:
            there = identity_of(self._file)
        except OSError as error:
            return f"{self._file.name} cannot be reached: {error.strerror}; put its folder back"
        if there != self._known:
            return f"another file is in the place of {self._file.name}; put it back, or restart"
        return ""


def shortage(folder: Path, free_bytes_min: int) -> str:
    """Why nothing should be written to the data folder, or nothing."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"the data folder cannot be reached: {error.strerror}; put it back"
    if free >= free_bytes_min:
        return ""
    return (
        f"only {free:,} bytes are free in the data folder, and {free_bytes_min:,} are wanted; free "
        "some, or lower PENSTOCK_DISK_FREE_BYTES_MIN"
    )


def failed_write(what: str, error: Exception) -> NotReady:
    """How a write failed: its message starts with `fatal` if only a new process may acknowledge
    again.

    A full disk may come back. After a failed sync the pages are anybody's guess, until somebody
    recovers the file and syncs it anew; and after a failure that nobody foresaw so is the rest.
    """
    message = f"writing the {what}: {type(error).__name__}"
    if not isinstance(error, _TRANSIENT):
        message = f"{FATAL}: {message}; restart"
    return NotReady(message, detail=str(error))


def defect(where: str, error: Exception) -> NotReady:
    """What nobody foresaw, where the thread that met it has to live on to answer."""
    return NotReady(f"{FATAL}: {where} failed; restart", detail=f"{type(error).__name__}: {error}")


def failed_open(path: Path, error: Exception, doing: str = "opening") -> str:
    """Why a log cannot be opened, and what to do. To give it up is said of a damaged file only."""
    return f"{doing} the log {path}: {reason(error)}; {_remedy(error)}"


def reason(error: Exception) -> str:
    """What SQLite says of it; where it has forgotten that by then, which kind it is."""
    told = str(error)
    return type(error).__name__ if told == "not an error" else told


def forsaken(path: Path) -> str:
    """Why the file must not be opened, not even to be read; or nothing.

    SQLite takes an empty file for a new one, and throws away what was written ahead for it. But its
    first page is in the file before anything is written ahead.
    """
    ahead = path.with_name(path.name + "-wal")
    if is_there(path) or not is_there(ahead):
        return ""
    return (
        f"opening the log {path}: it is gone or empty, and {ahead.name} holds its newest records: "
        "put it back beside that, or move both away and restore a backup"
    )


def is_there(path: Path) -> bool:
    """Whether the file holds anything."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


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
