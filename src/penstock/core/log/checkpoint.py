"""Folding the write-ahead log into the file, off the way of those who wait for a commit.

A checkpoint writes many pages and syncs the file; done by the writer it would hold up a commit for
as long. So a thread of its own does the bulk on a connection of its own, and the writer afterwards
only folds what came meanwhile: then everything is folded, and the next commit starts the
write-ahead log anew instead of making it longer.
"""

import threading

import apsw

_PAGES = 4096
"""Pages of the write-ahead log, 16 MiB, from which on it is folded."""
_PAGES_OF_A_COMMIT = 4
"""What a commit writes beside the block's own bytes: the trees' right edge, the ledger."""
_PAGE_BYTES = 4096


class Checkpoints:
    """`connection` is the thread's own; everything else is the writer's to call."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._pages = 0
        self._asked = threading.Event()
        self._folded = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="penstock-checkpoint", daemon=True)
        self._thread.start()

    def after(self, writer: apsw.Connection, size: int) -> None:
        """A commit of `size` bytes was made by `writer`."""
        self._pages += size // _PAGE_BYTES + _PAGES_OF_A_COMMIT
        if self._folded.is_set():
            self._folded.clear()
            fold(writer)
        if self._pages >= _PAGES:
            self._pages = 0
            self._asked.set()

    def close(self) -> None:
        self._stopped = True
        self._asked.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while self._asked.wait() and not self._stopped:
            self._asked.clear()  # before the work, or a stop asked for meanwhile would be forgotten
            fold(self._connection)
            self._folded.set()


def fold(connection: apsw.Connection) -> None:
    """As much as can be without making anybody wait. What fails now is tried again: until all is
    folded and synced, SQLite keeps reading from the write-ahead log.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").get  # noqa: B018 - runs the statement
    except apsw.Error:
        return
