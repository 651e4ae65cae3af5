"""Folding the write-ahead log into the file, off the way of those who wait for a commit.

A checkpoint writes many pages and syncs the file; done by the writer it would hold up a commit for
as long. So a thread of its own does the bulk on a connection of its own, and the writer afterwards
only folds what came meanwhile: then everything is folded, and the next commit starts the
write-ahead log anew instead of making it longer.

Whoever has nothing to write says so: then all of it is folded, and the file emptied. What a reader
made it grow to, since it was in the way of folding, is given back with the next start.
"""

import threading
from pathlib import Path

import apsw

_PAGES = 4096
"""Pages of the write-ahead log, 16 MiB, from which on it is folded."""
_PAGES_OF_A_COMMIT = 4
"""What a commit writes beside the block's own bytes: the trees' right edge, the ledger."""
_PAGE_BYTES = 4096
KEPT_BYTES = 2 * _PAGES * _PAGE_BYTES
"""So large a file is written over, as that is faster than to make it anew; what is more goes."""


class Checkpoints:
    """`connection` is the thread's own; everything else is the writer's to call."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._connection.set_busy_timeout(0)  # who waited for a reader would hold up the writer
        self._pages = 0
        self._dirty = True
        """Whether the write-ahead log may hold anything: at first, what is there already."""
        self._asked = threading.Event()
        self._folded = threading.Event()
        self._idle = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="penstock-checkpoint", daemon=True)
        self._thread.start()

    def after(self, writer: apsw.Connection, size: int) -> None:
        """A commit of `size` bytes was made by `writer`."""
        self._dirty = True
        self._pages += size // _PAGE_BYTES + _PAGES_OF_A_COMMIT
        if self._folded.is_set():
            self._folded.clear()
            fold(writer)
        if self._pages >= _PAGES:
            self._pages = 0
            self._asked.set()

    def idle(self) -> None:
        """Nothing is to be written just now. Cheap where nothing was since the last time."""
        if self._dirty:
            self._dirty, self._idle = False, True
            self._asked.set()

    def close(self) -> None:
        self._stopped = True
        self._asked.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while self._asked.wait() and not self._stopped:
            self._asked.clear()  # before the work, or a stop asked for meanwhile would be forgotten
            idle, self._idle = self._idle, False
            fold(self._connection)
            self._folded.set()
            if idle and not empty(self._connection):
                self._dirty = True  # somebody reads from it: at the next idle moment


def fold(connection: apsw.Connection) -> None:
    """As much as can be without making anybody wait. What fails now is tried again: until all is
    folded and synced, SQLite keeps reading from the write-ahead log.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").get  # noqa: B018 - runs the statement
    except apsw.Error:
        return


def empty(connection: apsw.Connection) -> bool:
    """Fold what is left, and make the file empty, unless anybody reads from it or writes to it."""
    try:
        found = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").get
    except apsw.Error:
        return False
    return isinstance(found, tuple) and found[0] == 0


def bytes_of_log(path: Path) -> int:
    """Of the file and of what is written ahead of it: after an unclean stop, the newest events.

    Raise `OSError` for what is there and cannot be looked at.
    """
    total = 0
    for end in ("", "-wal", "-shm"):
        try:
            total += path.with_name(path.name + end).stat().st_size
        except FileNotFoundError:
            continue
    return total
