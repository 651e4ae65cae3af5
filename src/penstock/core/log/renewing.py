"""A log file of a version that trimmed nothing, written anew so that its space can be given back.

Free pages of such a file are used again, but never leave it. The copy gets the file's name when all
of it is on the disk and compared; interrupted, there is the file as it was. It stays the same log.
"""

from contextlib import closing
from pathlib import Path

import apsw

from penstock.core.errors import Misconfigured
from penstock.core.folder import FolderLock, synced
from penstock.core.log.backup import PARTIAL, Bar, Bars
from penstock.core.log.disk import failed_open
from penstock.core.log.sqlite_reader import connect, end_of

_OPERATIONS = 100_000
"""Of SQLite's machine, between two looks at how far it is."""


def gives_back(file: Path) -> bool:
    """Whether what is trimmed of the file can leave it. Raise `Misconfigured`."""
    try:
        with closing(connect(file, writable=False)) as log:
            return bool(log.execute("PRAGMA auto_vacuum").get == 2)
    except apsw.Error as error:
        raise Misconfigured(failed_open(file, error)) from error


def renew(file: Path, bars: Bars) -> None:
    """Blocks until done; it needs as much space again. Raise `Misconfigured` when a process has the
    folder, or the file cannot be written anew, with the file as it was.
    """
    made = file.with_name(file.name + PARTIAL)
    lock = FolderLock(file.parent, "edge")
    try:
        made.unlink(missing_ok=True)
        with bars(f"writing {file.name} anew", "bytes") as bar:
            _write(file, made, bar)
        synced(made)
        made.rename(file)
        synced(file.parent)
    except (OSError, apsw.Error) as error:
        raise Misconfigured(failed_open(file, error, "writing anew")) from error
    finally:
        made.unlink(missing_ok=True)
        lock.release()


def _write(file: Path, made: Path, bar: Bar) -> None:
    with closing(connect(file, writable=True)) as log:
        run = log.execute
        run("PRAGMA wal_checkpoint(TRUNCATE)").get  # noqa: B018 - runs the statement
        run("PRAGMA auto_vacuum = INCREMENTAL")
        size = int(str(run("PRAGMA page_size").get))
        total = (int(str(run("PRAGMA page_count").get))) * size

        def moved() -> bool:
            bar.move(min(made.stat().st_size, total) if made.exists() else 0, total)
            return False

        log.set_progress_handler(moved, _OPERATIONS)
        moved()
        run("VACUUM INTO ?", (str(made),))
        log.set_progress_handler(None)
        with closing(connect(made, writable=True)) as copy:
            if _sum(copy) != _sum(log):
                raise apsw.CorruptError("what was written is not what there is")
        run("PRAGMA journal_mode = DELETE").get  # noqa: B018 - nothing is left written ahead


def _sum(log: apsw.Connection) -> list[object]:
    """What of each topic there is, and that all of it can be read."""
    found: list[object] = [str(log.execute("PRAGMA quick_check(1)").get)]
    for topic_id, name in log.execute("SELECT id, name FROM topics ORDER BY id").fetchall():
        number = int(str(topic_id))
        sums = f"SELECT count(*), total(checksum), total(length(body)) FROM blocks_{number}"
        found += [name, end_of(log, number), *log.execute(sums)]
    return found
