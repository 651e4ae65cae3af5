"""Backups of the embedded log: a folder with the log as it was at one moment, and what is in it;
and with the database of what people edit, where that is embedded too.

A backup is made beside whoever writes, and asks nothing of the writer. It takes its time: written
at once, it would keep the log's syncs and the server's threads waiting. The folder gets its name
last, when everything in it is on the disk: an interrupted backup never looks like one. The counts
and checksums are those of the copy, read back from the disk that holds it.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import apsw
import msgspec

from penstock.core.errors import PenstockError
from penstock.core.folder import FolderLock, synced
from penstock.core.log import blocks, extents, moment, tables
from penstock.core.log.checkpoint import bytes_of_log
from penstock.core.log.disk import is_damage, reason
from penstock.core.log.pace import Pace
from penstock.core.log.sqlite_reader import connect, end_of


class Bar(Protocol):
    def move(self, done: int, total: int) -> None: ...


Bars = Callable[[str, str], AbstractContextManager[Bar]]
"""Shows one piece of long work: its title, and its unit."""

LOG = "log.db"
DATABASE = "database.db"
CONTENTS = "backup.json"
_FORM = 1
_OPERATIONS = 8
"""Of SQLite's machine, or pages of a tree that it checks, each with the dozens that its rows go on
in: a quarter of a second passes with a thousand of those.
"""
_CHUNK_BYTES = 4 << 20
PARTIAL = ".partial"
_OTHERWISE = "use another backup, or copy what can be read of this one with `penstock salvage`"
NO_DATA = {"edge.lock", "work.lock", "lost+found", LOG + PARTIAL, DATABASE + PARTIAL}
"""What may lie in a folder that holds nothing."""


class Unproven(PenstockError):
    """There is no backup here, it is not what was written, or it could not be made."""


class TopicSum(msgspec.Struct, frozen=True):
    topic: str
    next: int
    """Number that the next record gets."""
    records: int
    """Those that can be read; others from `start` on were unreadable in the log already."""
    checksum: str
    """Of all blocks as they are stored, in hex."""
    start: int = 0
    """The oldest number that the log still kept."""


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`backup.json`; older versions read it where it has nothing that they do not know."""

    form: int
    made_at: str
    identity: str
    """Of the log it was made from."""
    bytes: int
    topics: list[TopicSum]
    database: str = ""
    """Checksum of the file, in hex; empty where there is none."""


def create(
    log: Path,
    folder: Path,
    bars: Bars,
    pace: Pace,
    *,
    free_bytes_min: int = 0,
    database: Path | None = None,
) -> Contents:
    """Back the log up to a folder that is not there yet, or is empty, and the database if that is a
    file. On the disk of the log twice the minimum is left free: at one of it events are refused.

    Raise `Unproven` with no such folder made.
    """
    if folder.resolve().is_relative_to(log.parent.resolve()):
        raise Unproven(f"{folder} is inside the data folder, and would be lost with it")
    check_empty(folder, set())
    unfinished = folder.parent / f".{folder.name}{PARTIAL}"
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        handle = os.open(unfinished, os.O_RDONLY)
        try:
            _alone(handle, unfinished)
            for leftover in unfinished.iterdir():
                leftover.unlink()
            try:
                shared = unfinished.stat().st_dev == log.parent.stat().st_dev
                left_alone = 2 * free_bytes_min if shared else 0
                moment.leave(unfinished, left_alone, bytes_of_log(log))
                contents = _create(log, unfinished, bars, pace, left_alone, database=database)
                check_empty(folder, set())
                unfinished.rename(folder)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
        finally:
            os.close(handle)
        synced(folder.parent)
    except (OSError, apsw.Error) as error:
        raise Unproven(f"backing up {log} to {folder}: {reason(error)}; {_cause(error)}") from error
    return contents


def verify(folder: Path, bars: Bars, pace: Pace) -> Contents:
    """Read the whole backup, and hold it against what it says of itself. Raise `Unproven`."""
    said = contents_of(folder)
    try:
        _compare(folder, said, _contents(folder / LOG, bars, pace))
        _compare_database(folder, folder / DATABASE, said)
    except (OSError, apsw.Error) as error:
        raise Unproven(
            f"the backup {folder} cannot be read: {reason(error)}; {_OTHERWISE}"
        ) from error
    return said


def restore(folder: Path, target: Path, bars: Bars) -> Contents:
    """Make `target`, which must hold nothing, a data folder with the log of the backup, and its
    database if it has one.

    The log gets an identity of its own: what a store elsewhere knows of the old one, which may have
    gone on after the backup, does not hold for it. Raise `Unproven` with no log made, and
    `Misconfigured` when the folder cannot be written, or is in use.
    """
    said = contents_of(folder)
    check_empty(target, NO_DATA)
    lock = FolderLock(target, "edge")
    unfinished, database = target / (LOG + PARTIAL), target / (DATABASE + PARTIAL)
    try:
        check_empty(target, NO_DATA)
        _copy_file(folder / LOG, unfinished, bars)
        with closing(connect(unfinished, writable=True)) as log:
            log.execute("UPDATE meta SET value = ? WHERE key = 'identity'", (str(uuid4()),))
        _compare(folder, said, _contents(unfinished, bars, Pace(0)))
        synced(unfinished)
        if said.database:
            _copy_file(folder / DATABASE, database, bars)
            _compare_database(folder, database, said)
            synced(database)
            database.rename(target / DATABASE)
        unfinished.rename(target / LOG)
        synced(target)
    except (OSError, apsw.Error) as error:
        otherwise = f"; {_OTHERWISE}" if is_damage(error) else ""
        raise Unproven(f"restoring {folder} to {target}: {reason(error)}{otherwise}") from error
    finally:
        for left in (unfinished, database):
            left.unlink(missing_ok=True)
        lock.release()
    return said


def contents_of(folder: Path) -> Contents:
    """What the backup says of itself. Raise `Unproven`."""
    path = folder / CONTENTS
    try:
        said = msgspec.json.decode(path.read_bytes(), type=Contents)
    except OSError as error:
        raise Unproven(f"{folder} is no backup: {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise Unproven(f"{folder} is no backup that can be read: {path}: {error}") from error
    if said.form != _FORM:
        raise Unproven(f"{folder} has the form {said.form}; this version reads {_FORM}")
    return said


def _create(
    log: Path,
    unfinished: Path,
    bars: Bars,
    pace: Pace,
    left_alone: int,
    *,
    database: Path | None,
) -> Contents:
    copy = unfinished / LOG
    with bars("copying", "bytes") as bar:
        moment.copy(log, copy, pace, bar.move, left_alone)
    contents = _contents(copy, bars, pace)
    if database is not None and database.is_file():
        kept = unfinished / DATABASE
        with closing(
            connect(database, writable=False)
        ) as opened:  # small, so one moment of it may be held
            opened.execute("VACUUM INTO ?", (str(kept),))
        contents = msgspec.structs.replace(contents, database=_checksum(kept))
        synced(kept)
    (unfinished / CONTENTS).write_bytes(msgspec.json.format(msgspec.json.encode(contents)) + b"\n")
    for path in (copy, unfinished / CONTENTS, unfinished):
        synced(path)
    return contents


def _contents(log: Path, bars: Bars, pace: Pace) -> Contents:
    """Of a file that nobody writes to, and beside which nothing is made."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    with closing(apsw.Connection(f"{log.absolute().as_uri()}?immutable=1", flags=flags)) as opened:
        opened.set_progress_handler(partial(_rested, pace), _OPERATIONS)
        verdict = str(opened.execute("PRAGMA quick_check(1)").get)
        if verdict != "ok":
            raise apsw.CorruptError(" ".join(verdict.split()))
        identity = str(opened.execute("SELECT value FROM meta WHERE key = 'identity'").get)
        opened.set_progress_handler(None)
        topics = [
            (int(str(topic_id)), str(name))
            for topic_id, name in opened.execute("SELECT id, name FROM topics ORDER BY name")
        ]
        total = sum(end_of(opened, topic_id) for topic_id, _ in topics)
        sums: list[TopicSum] = []
        with bars("checking", "records") as bar:
            for topic_id, name in topics:
                before = sum(one.next for one in sums)
                sums.append(
                    _sum(opened, topic_id, name, pace, partial(_reached, bar, before, total))
                )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Contents(_FORM, now, identity, log.stat().st_size, sums)


def _rested(pace: Pace) -> bool:
    """SQLite's to call amid a statement; it goes on."""
    pace.did()
    return False


def _reached(bar: Bar, before: int, total: int, number: int) -> None:
    bar.move(before + number, total)


def _sum(
    log: apsw.Connection, topic_id: int, topic: str, pace: Pace, reached: Callable[[int], None]
) -> TopicSum:
    start, records, hashed = extents.of(log, topic_id).start, 0, blake2b(digest_size=16)
    end = start
    rows = log.execute(f"SELECT {tables.BLOCK} FROM blocks_{topic_id} ORDER BY first")
    for first, count, _, checksum, body in rows:
        hashed.update(b"%d:%d:" % (first, count))
        hashed.update(body)
        if blocks.checksum(first, count, body) == checksum:
            records += count
        end = first + count
        reached(end)
        pace.did(len(body))
    return TopicSum(topic, end, records, hashed.hexdigest(), start)


def _checksum(file: Path) -> str:
    with file.open("rb") as reading:
        return hashlib.file_digest(reading, lambda: blake2b(digest_size=16)).hexdigest()


def _compare_database(folder: Path, file: Path, said: Contents) -> None:
    if said.database and _checksum(file) != said.database:
        raise Unproven(f"the database of the backup {folder} is not what was written; use another")


def _compare(folder: Path, said: Contents, found: Contents) -> None:
    if said.topics == found.topics:
        return
    there = {one.topic: one for one in found.topics}
    names = [one.topic for one in said.topics if there.get(one.topic) != one]
    raise Unproven(
        f"the backup {folder} is not what was written: {', '.join(names) or 'more topics'} differs "
        f"from {CONTENTS}; {_OTHERWISE}"
    )


def check_empty(folder: Path, no_data: set[str]) -> None:
    """Raise `Unproven`."""
    if not folder.exists():
        return
    if not folder.is_dir() or {entry.name for entry in folder.iterdir()} - no_data:
        raise Unproven(f"{folder} holds something already; name a folder that does not exist yet")


def _alone(handle: int, unfinished: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Unproven(f"another backup writes {unfinished}; wait for it to end") from error


def _copy_file(source: Path, target: Path, bars: Bars) -> None:
    size, done = source.stat().st_size, 0
    with (
        source.open("rb") as reading,
        target.open("wb") as writing,
        bars("copying", "bytes") as bar,
    ):
        while chunk := reading.read(_CHUNK_BYTES):
            writing.write(chunk)
            done += len(chunk)
            bar.move(done, size)


def _cause(error: Exception) -> str:
    if is_damage(error):
        return "copy what can be read of the log with `penstock salvage`, then back that up"
    if isinstance(error, apsw.FullError) or getattr(error, "errno", 0) == errno.ENOSPC:
        return "there is too little space for it; no backup was made"
    return "no backup was made"
