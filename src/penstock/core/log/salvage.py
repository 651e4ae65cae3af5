"""What can be read of a damaged log, in a new one, and a list of what cannot.

The damaged files are copied as plain bytes first, and SQLite sees the copy only. Where it finds a
page damaged, a seek finds the next block behind it. Blocks keep their numbers and are taken if
their checksum is right, so a record is in the new log as it was written, or is listed as lost.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import apsw

from penstock.core.errors import Misconfigured
from penstock.core.folder import FolderLock, is_taken, synced
from penstock.core.log import Damage, blocks, extents, tables
from penstock.core.log.backup import LOG, NO_DATA, PARTIAL, Bar, Bars, Unproven, check_empty
from penstock.core.log.disk import reason
from penstock.core.log.sqlite_reader import connect

_DAMAGED = LOG + ".damaged"
_FAILURES = (apsw.Error, MemoryError, UnicodeError)
"""A damaged length may be any, and bytes may claim to be text."""
_CHUNK_BYTES, _SECTOR_BYTES = 1 << 20, 4096
_STEP_MAX = 256
_PROBES_MAX = 1_000_000
"""So short are the steps in search of the next block, so that little lies between two of them."""
_NUMBER_MAX = 1 << 48
_COLUMNS = "first, count, at_ms, received, duplicate, rejected, checksum, body"

_Row = tuple[int, int, int, int, int, int, int, bytes]


class Topic(NamedTuple):
    name: str
    records: int
    """Those that were copied."""
    lost: list[Damage]
    end_known: bool
    """Otherwise more may be lost behind the last of them."""


class Salvaged(NamedTuple):
    topics: list[Topic]
    lacking: list[str]
    """What else could not be read in full."""


def salvage(log: Path, target: Path, bars: Bars) -> Salvaged:
    """Fill `target`, which must hold nothing, with what can be read; blocks until done.

    It needs room for two copies of the log. Raise `Unproven` when nothing can be read or written,
    `Misconfigured` when a process has either folder.
    """
    check_empty(target, NO_DATA)
    if is_taken(log.parent, "edge"):
        raise Misconfigured(f"a process serves {log.parent}; stop it")
    with ExitStack() as opened:
        opened.callback(FolderLock(target, "edge").release)
        for name in (LOG + PARTIAL, *(_DAMAGED + end for end in ("", "-wal", "-shm", "-journal"))):
            opened.callback((target / name).unlink, missing_ok=True)
        try:
            _copy(log, target / _DAMAGED, bars)
            if (wal := log.with_name(log.name + "-wal")).exists():
                _copy(wal, target / (_DAMAGED + "-wal"), bars)
            found = _salvage(target / _DAMAGED, target / (LOG + PARTIAL), bars)
            synced(target / (LOG + PARTIAL))
            (target / (LOG + PARTIAL)).rename(target / LOG)
            synced(target)
        except (OSError, apsw.Error) as error:
            raise Unproven(f"salvaging {log} into {target}: {reason(error)}") from error
    return found


def _copy(source: Path, target: Path, bars: Bars) -> None:
    """Sectors that the disk does not give become zeros."""
    with (
        source.open("rb", buffering=0) as reading,
        target.open("wb") as writing,
        bars(f"copying {source.name}", "bytes") as bar,
    ):
        size = os.fstat(reading.fileno()).st_size
        for at in range(0, size, _CHUNK_BYTES):
            wanted = min(_CHUNK_BYTES, size - at)
            try:
                writing.write(os.pread(reading.fileno(), wanted, at))
            except OSError:
                for sector in range(at, at + wanted, _SECTOR_BYTES):
                    part = min(_SECTOR_BYTES, at + wanted - sector)
                    writing.seek(sector)
                    writing.write(_sector(reading.fileno(), part, sector))
            writing.seek(at + wanted)
            bar.move(at + wanted, size)


def _sector(handle: int, size: int, at: int) -> bytes:
    try:
        return os.pread(handle, size, at)
    except OSError:
        return bytes(size)


def _salvage(damaged: Path, made: Path, bars: Bars) -> Salvaged:
    with (
        closing(connect(damaged, writable=True)) as source,
        closing(connect(made, writable=True)) as target,
    ):
        source.execute("PRAGMA cell_size_check = ON")
        target.execute("PRAGMA auto_vacuum = INCREMENTAL")
        target.execute("PRAGMA synchronous = OFF")
        target.execute("PRAGMA journal_mode = OFF").get  # noqa: B018 - runs the statement
        names, lacking = _names(source)
        topics = []
        with target:
            for statement in (*tables.SCHEMA.split(";\n"), *_named(names)):
                target.execute(statement)
            target.execute("INSERT INTO meta VALUES ('schema', ?)", (tables.SCHEMA_VERSION,))
            target.execute("INSERT INTO meta VALUES ('identity', ?)", (str(uuid4()),))
            for topic_id, name in names.items():
                target.execute("INSERT INTO topics VALUES (?, ?)", (topic_id, name))
                with bars(f"salvaging {name}", "records") as bar:
                    topics.append(_topic(source, target, topic_id, name, bar))
            carried = ("ledger", "idempotency", "origins", "extents")
            fates = {table: _carry(source, target, table) for table in carried}
            target.execute("UPDATE extents SET counted = start, bytes = 0")
    return Salvaged(topics, lacking + [f"{table}: {why}" for table, why in fates.items() if why])


def _names(source: apsw.Connection) -> tuple[dict[int, str], list[str]]:
    """Of every topic that has a table: what the list of topics and its index agree on, or the one
    that can be read. Otherwise the table's own; those are told too. Raise `Unproven`.
    """
    try:
        found = source.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        made = [str(name).removeprefix("blocks_") for (name,) in found]
    except _FAILURES as error:
        raise Unproven(f"the list of tables cannot be read: {error}; nothing else can") from error
    told: dict[int, set[str]] = {int(name): set() for name in made if name.isdecimal()}
    for how in ("NOT INDEXED", "INDEXED BY sqlite_autoindex_topics_1 ORDER BY name"):
        try:
            for topic_id, name in source.execute(f"SELECT id, name FROM topics {how}"):
                if topic_id in told and isinstance(name, str) and name and name.isprintable():
                    told[topic_id].add(name)
        except _FAILURES:
            continue
    names = {i: min(told[i]) if len(told[i]) == 1 else f"blocks_{i}" for i in told}
    unsure = sorted(name for i, name in names.items() if len(told[i]) != 1)
    return names, [f"{name}: a topic whose own name cannot be read" for name in unsure]


def _named(names: dict[int, str]) -> Iterator[str]:
    for topic_id in names:
        yield from tables.of_topic(topic_id)


def _carry(source: apsw.Connection, target: apsw.Connection, table: str) -> str:
    """All of a small table in place of what the blocks made of it; or why it cannot be."""
    try:
        # An older file lacks some columns, or the table.
        found = source.execute("SELECT name FROM pragma_table_info(?)", (table,))
        columns = ", ".join(str(name) for (name,) in found)
        if not columns:
            return ""
        rows = list(source.execute(f"SELECT {columns} FROM {table}"))
    except _FAILURES as error:
        return str(error)
    target.execute(f"DELETE FROM {table}")
    if rows:
        places = ", ".join("?" * len(rows[0]))
        target.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", rows)
    return ""


def _topic(
    source: apsw.Connection, target: apsw.Connection, topic_id: int, name: str, bar: Bar
) -> Topic:
    end = _end(source, topic_id)
    insert = f"INSERT INTO blocks_{topic_id} VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    lost: list[Damage] = []
    records, position = 0, _start(source, topic_id)
    for row in _rows(source, topic_id, end or _NUMBER_MAX):
        first, count = row[:2]
        if first < position or not _is_whole(row):
            continue
        if first > position:
            lost.append(Damage(position, first, "unreadable"))
        target.execute(insert, row)
        records += count
        position = first + count
        bar.move(position, max(end, position))
    if end > position:
        lost.append(Damage(position, end, "unreadable"))
    return Topic(name, records, lost, end > 0)


def _start(source: apsw.Connection, topic_id: int) -> int:
    """Where the topic begins, as far as that can still be told: what was trimmed is not lost."""
    try:
        start = int(extents.of(source, topic_id).start)
    except (*_FAILURES, TypeError, ValueError):
        return 0
    return start if 0 <= start < _NUMBER_MAX else 0


def _is_whole(row: _Row) -> bool:
    first, count, checksum, body = row[0], row[1], row[6], row[7]
    if not all(isinstance(cell, int) for cell in row[:7]) or not isinstance(body, bytes):
        return False
    return blocks.checksum(first, count, body) == checksum


def _end(source: apsw.Connection, topic_id: int) -> int:
    """The number after the last, as far as the tree or the ledger can still tell; else 0."""
    last = f"SELECT {_COLUMNS} FROM blocks_{topic_id} ORDER BY first DESC LIMIT 1"
    try:
        for row in source.execute(last):
            if _is_whole(row):
                return int(row[0] + row[1])
    except _FAILURES:
        pass
    try:
        stored = source.execute(f"SELECT sum(stored) FROM ledger WHERE topic = {topic_id}").get
    except _FAILURES:
        return 0
    return stored if isinstance(stored, int) and 0 < stored < _NUMBER_MAX else 0


def _rows(source: apsw.Connection, topic_id: int, end: int) -> Iterator[_Row]:
    """All that can be read, whole or not."""
    question = f"SELECT {_COLUMNS} FROM blocks_{topic_id} WHERE first >= ? ORDER BY first"
    position = 0
    while position < end:
        try:
            for row in source.execute(question, (position,)):
                yield row
                if position <= row[0] < end:
                    position = row[0] + 1
        except _FAILURES:
            position = _behind(source, f"{question} LIMIT 1", position, end)
        else:
            return


def _behind(source: apsw.Connection, question: str, failing: int, end: int) -> int:
    """The first number after a failing one from which on a block can be found; `end` if none."""

    def fails(number: int) -> bool:
        try:
            source.execute(question, (number,)).get  # noqa: B018 - reads the row
        except _FAILURES:
            return True
        return False

    step, steps_max = 1, max(_STEP_MAX, (end - failing) // _PROBES_MAX)
    while failing + step < end and fails(failing + step):
        failing, step = failing + step, min(step * 2, steps_max)
    found = min(failing + step, end)
    while failing + 1 < found:
        middle = (failing + found) // 2
        failing, found = (middle, found) if fails(middle) else (failing, middle)
    return found
