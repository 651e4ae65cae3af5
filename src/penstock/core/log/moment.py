"""The log as it was at one moment, in a file of its own, without holding on to that moment.

Who reads one snapshot for as long as a gentle copy takes keeps the writer's write-ahead log from
being folded: it would grow by all that is written meanwhile. But blocks are only ever added, and
never change. So only what does change, and how far each topic goes, is read in one transaction; the
blocks up to there follow in many, each shorter than anybody notices.
"""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw

from penstock.core.errors import Misconfigured
from penstock.core.log.disk import forsaken
from penstock.core.log.pace import Pace

_BUSY_MS = 5_000
_PIECE_BYTES = 128 << 10
_SYNC_BYTES = 512 << 10
"""So much of the copy at most stands before the log's own syncs at the disk."""
_OPERATIONS = 1_000
"""Of SQLite's machine, well below a millisecond: so often somebody asks whether to rest."""
_IDENTITY = "SELECT value FROM log.meta WHERE key = 'identity'"
_MADE = """SELECT sql FROM log.sqlite_schema
WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND """


class Copy:
    """A file that is being written; everything goes through `paced`, to the disk and out of memory,
    which is left to what the server reads.
    """

    def __init__(self, path: Path, pace: Pace) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._pace = pace
        self._size = self._synced = 0

    def paced(self) -> bool:
        """Also SQLite's to call, amid a statement; it goes on."""
        before, self._size = self._size, os.fstat(self._file).st_size
        if self._size - self._synced >= _SYNC_BYTES:
            self.sync()
        self._pace.did(self._size - before)
        return False

    def sync(self) -> int:
        """How large it is."""
        os.fdatasync(self._file)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        self._synced = os.fstat(self._file).st_size
        return self._synced

    def close(self) -> None:
        os.close(self._file)


def copy(log: Path, target: Path, pace: Pace, moved: Callable[[int, int], None]) -> None:
    """Fill the file `target`, which is not there yet, and sync it; tell how many bytes of how many.

    Raise `apsw.Error`, `OSError`, and `Misconfigured` for a log that must not be opened.
    """
    if why := forsaken(log):
        raise Misconfigured(why)
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    with closing(Copy(target, pace)) as made, closing(apsw.Connection(str(target), flags)) as both:
        run = both.execute
        both.set_busy_timeout(_BUSY_MS)
        run("PRAGMA synchronous = OFF")
        run("PRAGMA journal_mode = OFF").get  # noqa: B018 - runs the statement
        run("ATTACH ? AS log", (f"{log.absolute().as_uri()}?mode=ro",))
        run("PRAGMA log.cell_size_check = ON")
        total = _number(both, "PRAGMA log.page_count") * _number(both, "PRAGMA log.page_size")
        run(f"PRAGMA main.page_size = {_number(both, 'PRAGMA log.page_size')}")

        def step() -> None:
            made.paced()
            moved(min(target.stat().st_size, total), total)

        both.set_progress_handler(made.paced, _OPERATIONS)
        with both:
            identity = run(_IDENTITY).get
            lasts = _moment(both)
        both.set_progress_handler(None)
        for table, last in lasts.items():
            _blocks(both, table, last, step)
        if run(_IDENTITY).get != identity:
            raise apsw.AbortError("the log was cleared meanwhile")
        for table, last in lasts.items():
            if _number(both, f"SELECT max(first) FROM main.{table}", -1) != last:
                raise apsw.CorruptError(f"the last blocks of {table} are gone")
        both.set_progress_handler(made.paced, _OPERATIONS)
        _make(both, "type <> 'table'")
        run("DETACH log")
        made.sync()
        moved(total, total)


def _moment(both: apsw.Connection) -> dict[str, int]:
    """Make all tables, and fill those that are not blocks; of those that are, the last number."""
    run, lasts = both.execute, {}
    _make(both, "type = 'table'")
    for (table,) in run("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
        if str(table).startswith("blocks_"):
            lasts[str(table)] = _number(both, f"SELECT max(first) FROM log.{table}", -1)
        else:
            run(f"INSERT INTO main.{table} SELECT * FROM log.{table}")
    return lasts


def _make(both: apsw.Connection, which: str) -> None:
    """Of the schema, by the words of the log's own."""
    for (statement,) in both.execute(_MADE + which).fetchall():
        both.execute(str(statement))


def _blocks(both: apsw.Connection, table: str, last: int, step: Callable[[], None]) -> None:
    """As far as there are any."""
    reached = -1
    while (end := _end_of_piece(both, table, reached, last)) > reached:
        both.execute(
            f"INSERT INTO main.{table} SELECT * FROM log.{table} "
            "WHERE first > ? AND first <= ? ORDER BY first",
            (reached, end),
        )
        reached = end
        step()


def _end_of_piece(both: apsw.Connection, table: str, reached: int, last: int) -> int:
    """The last block of the next so many bytes, or what was reached if that was the last of all.

    SQLite tells lengths without reading bodies. Raise `apsw.CorruptError`.
    """
    end, size = reached, 0
    rows = both.execute(
        f"SELECT first, length(body) FROM log.{table} WHERE first > ? AND first <= ? "
        "ORDER BY first",
        (reached, last),
    )
    with closing(rows):
        for first, length in rows:
            if first <= end:
                raise apsw.CorruptError(f"the blocks of {table} are out of order")
            end = first
            size += length or 0
            if size >= _PIECE_BYTES:
                break
    return end


def _number(both: apsw.Connection, question: str, otherwise: int = 0) -> int:
    found = both.execute(question).get
    return otherwise if found is None else int(str(found))
