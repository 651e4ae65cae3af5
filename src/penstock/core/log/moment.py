"""The log as it was at one moment, in a file of its own, without holding on to that moment.

Who reads one snapshot for as long as a gentle copy takes keeps the writer's write-ahead log from
being folded: it would grow by all that is written meanwhile. But blocks are only ever added, and
trimmed from the front, and never change. So only what does change, and how far each topic goes, is
read in one transaction; the blocks up to there follow in many, each shorter than anybody notices.
What was trimmed meanwhile is no part of the copy either, so that nothing lacks in the middle. That
it was the same log all the while is proved at the end, as a position is: see decision 30.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

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
_SCHEMA = """SELECT type, name, sql FROM log.sqlite_schema
WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"""
_IDENTITY = "SELECT value FROM log.meta WHERE key = 'identity'"
_OPENING = """SELECT id FROM log.openings WHERE topic = ? AND first <= ?
ORDER BY first DESC LIMIT 1"""


class _Moment(NamedTuple):
    lasts: dict[str, int]
    """Of each table of blocks, the number of the last one; -1 where there is none."""
    later: list[str]
    """Statements that make the rest of the schema, once the tables are filled."""
    proof: list[object]


class Copy:
    """A file that is being written; everything goes through `paced`, to the disk and out of memory,
    which is left to what the server reads.
    """

    def __init__(self, path: Path, pace: Pace, left_alone: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._path = path
        self._pace = pace
        self._left_alone = left_alone
        self._size = self._synced = 0

    def paced(self) -> bool:
        """Also SQLite's to call, amid a statement; it goes on."""
        before, self._size = self._size, os.fstat(self._file).st_size
        if self._size - self._synced >= _SYNC_BYTES:
            self.sync()
        self._pace.did(self._size - before)
        return False

    def sync(self) -> int:
        """How large it is. Raise `apsw.FullError` where the disk is wanted for others."""
        os.fdatasync(self._file)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        leave(self._path.parent, self._left_alone)
        self._synced = os.fstat(self._file).st_size
        return self._synced

    def close(self) -> None:
        os.close(self._file)


def leave(folder: Path, left_alone: int, needed: int = 0) -> None:
    """Before so many bytes are written. Raise `apsw.FullError` if less than `left_alone` would stay
    free, which is 0 where nobody needs that.
    """
    if left_alone and (free := free_bytes(folder)) - needed < left_alone:
        takes = f"it takes about {needed} bytes" if needed else "it went on"
        raise apsw.FullError(
            f"{takes} while {free} are free on the log's disk, of which {left_alone} are left "
            "alone, twice PENSTOCK_DISK_FREE_BYTES_MIN: free some, or name a folder elsewhere"
        )


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def copy(
    log: Path,
    target: Path,
    pace: Pace,
    moved: Callable[[int, int], None],
    left_alone: int = 0,
) -> None:
    """Fill the file `target`, which is not there yet, and sync it; tell how many bytes of how many.

    Raise `apsw.Error`, `OSError`, and `Misconfigured` for a log that must not be opened.
    """
    if why := forsaken(log):
        raise Misconfigured(why)
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    with (
        closing(Copy(target, pace, left_alone)) as made,
        closing(apsw.Connection(str(target), flags)) as both,
    ):
        run = both.execute
        both.set_busy_timeout(_BUSY_MS)
        run("PRAGMA main.auto_vacuum = INCREMENTAL")  # what is trimmed of it can be given back
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
        run("BEGIN")  # without a journal nothing can be taken back: what fails is thrown away
        moment = _begun(both)
        run("COMMIT")
        both.set_progress_handler(None)
        for table, last in moment.lasts.items():
            _blocks(both, table, last, step)
        if _proof(both, moment.lasts) != moment.proof:
            raise apsw.AbortError("the log was cleared or replaced meanwhile")
        starts = _trimmed(both, moment.lasts)
        for table, last in moment.lasts.items():
            there = -1 if last < starts.get(table, 0) else last
            if _number(both, f"SELECT max(first) FROM main.{table}", -1) != there:
                raise apsw.CorruptError(f"the last blocks of {table} are gone")
        run("DETACH log")
        both.set_progress_handler(made.paced, _OPERATIONS)
        for statement in moment.later:
            run(statement)
        made.sync()
        moved(total, total)


def _begun(both: apsw.Connection) -> _Moment:
    """Make all tables, and fill those that are not blocks."""
    run, lasts = both.execute, {}
    schema = [tuple(map(str, row)) for row in run(_SCHEMA)]
    for kind, table, statement in schema:
        if kind != "table":
            continue
        run(statement)
        if table.startswith("blocks_"):
            lasts[table] = _number(both, f"SELECT max(first) FROM log.{table}", -1)
        else:
            run(f"INSERT INTO main.{table} SELECT * FROM log.{table}")
    later = [statement for kind, _, statement in schema if kind != "table"]
    return _Moment(lasts, later, _proof(both, lasts))


def _proof(both: apsw.Connection, lasts: dict[str, int]) -> list[object]:
    """Which log it is, and who added each last block: who knows that knows all before it."""
    proof = [both.execute(_IDENTITY).get]
    if both.execute("SELECT 1 FROM main.sqlite_schema WHERE name = 'openings'").get:
        for table, last in lasts.items():
            proof.append(both.execute(_OPENING, (table.removeprefix("blocks_"), last)).get)
    return proof


def _trimmed(both: apsw.Connection, lasts: dict[str, int]) -> dict[str, int]:
    """Have each topic begin where it begins in the log by now; where that is."""
    run, starts = both.execute, {}
    if run("SELECT 1 FROM main.sqlite_schema WHERE name = 'extents'").get is None:
        return {}
    run("DELETE FROM main.extents")
    now = run("SELECT topic, start, until_ms, trimmed_bytes FROM log.extents").fetchall()
    for topic, start, until_ms, trimmed_bytes in now:
        table = f"blocks_{topic}"
        if table in lasts:
            starts[table] = int(str(start))
            run(f"DELETE FROM main.{table} WHERE first < ?", (start,))
            run(
                "INSERT INTO main.extents "
                "(topic, start, until_ms, trimmed_bytes, counted, bytes) VALUES (?, ?, ?, ?, ?, 0)",
                (topic, start, until_ms, trimmed_bytes, start),
            )
    return starts


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
