"""The spool: an embedded log of what the brokers do not have yet, in the edge's own folder.

It keeps the idempotency keys and the account of the edge as well, brokers or not. For every topic
it knows how far it is drained, its *mark*, and, for every partition, the *low* offset that whatever
comes after the mark cannot lie before, should the brokers have it after all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import apsw

from penstock.core.clock import Clock, careful
from penstock.core.errors import Misconfigured, NotReady
from penstock.core.log import Append, Minute, Receipt
from penstock.core.log.checkpoint import bytes_of_log
from penstock.core.log.disk import FATAL, Space, failed_open, failed_write
from penstock.core.log.sqlite import Limits
from penstock.core.log.sqlite_file import SqliteFile, Transaction
from penstock.core.log.sqlite_reader import SqliteReader

_TABLES = """
CREATE TABLE IF NOT EXISTS drained (
  topic TEXT PRIMARY KEY, partitions INTEGER NOT NULL, mark INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lows (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, low INTEGER NOT NULL,
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (id BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_DISCARD_BLOCKS = 200
_VACUUM_PAGES = 4_096
"""Of so much at a time is the file made smaller: 16 MiB."""


class Progress(NamedTuple):
    """How far a topic is drained."""

    mark: int
    lows: Sequence[int]


class Spool(SqliteFile):
    """For one thread at a time, but for `ledger`."""

    def __init__(self, path: Path, clock: Clock, limits: Limits) -> None:
        """Raise `Misconfigured` when the folder or the file cannot be used."""
        self.failure = ""
        """Why nothing could be written just now."""
        self.progress: dict[str, Progress] = {}
        self.slack = False
        """Whether there is more to discard, or to give back, at the next note."""
        self._path = path
        self._clock = careful(clock)
        self._limits = limits
        super().__init__(path, vfs="", writable=True)
        self._space = Space(path, limits.disk_free_bytes_min, clock)
        try:
            self._load()
        except apsw.Error as error:
            self.close()
            raise Misconfigured(failed_open(path, error)) from error

    def _load(self) -> None:
        for topic, mark in self._connection.execute("SELECT topic, mark FROM drained"):
            lows = self._connection.execute(
                "SELECT low FROM lows WHERE topic = ? ORDER BY partition", (topic,)
            )
            name, drained = str(topic), int(str(mark))
            self.progress[name] = Progress(drained, [int(str(low)) for (low,) in lows])
            self.ends[name] = max(self.ends[name], drained)  # all of its blocks may be gone

    def _prepare(self) -> None:
        super()._prepare()
        with self._connection:
            for statement in _TABLES.split(";\n"):
                self._connection.execute(statement)

    # -- who sends ----------------------------------------------------------------------------

    def begin(self, session: bytes, ends: Mapping[str, Sequence[int]]) -> None:
        """A producer begins to send; where topics and partitions that are new here end by now.

        Raise `NotReady`.
        """
        try:
            with self._connection:
                if not self.waiting:
                    self._connection.execute("DELETE FROM sessions")
                self._connection.execute("INSERT INTO sessions VALUES (?)", (session,))
                for topic, lows in ends.items():
                    self._know(topic)
                    was = self.progress.get(topic, Progress(0, ()))
                    self._mark(topic, Progress(was.mark, [*was.lows, *lows[len(was.lows) :]]))
        except apsw.Error as error:
            raise self._refused(error) from error

    def sessions(self) -> set[bytes]:
        """Of all producers whose records may wait here."""
        rows = self._connection.execute("SELECT id FROM sessions")
        return {bytes(row[0]) for row in rows if isinstance(row[0], bytes)}

    # -- what waits ---------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Records that the brokers are not known to have."""
        return sum(self.ends[topic] - progress.mark for topic, progress in self.progress.items())

    def store(self, group: Sequence[Sequence[Append]]) -> list[list[Receipt]]:
        """Synced, all of it. Raise `NotReady` with nothing stored."""
        if self.failure.startswith(FATAL):
            raise NotReady(self.failure)
        if problem := self._space.problem():
            self.failure = problem
            raise NotReady(problem)
        transaction = self._transaction()
        try:
            receipts = self.write(transaction, group, {})
        except Exception as error:
            raise self._refused(error) from error
        self.failure = ""
        return receipts

    def note(self, progress: Mapping[str, Progress], lines: Mapping[str, Sequence[Minute]]) -> None:
        """What was drained, and what the account has besides. Raise `NotReady`, nothing noted."""
        transaction = self._transaction()
        self.slack = False
        try:
            with self._connection:
                for topic, of in progress.items():
                    self._mark(topic, of)
                    self._discard(topic, of.mark)
                for topic, added in lines.items():
                    self._know(topic)
                    for line in added:
                        self.account(topic, line)
                self._sweep(transaction, self._claims(transaction))
            self._checkpoints.after(self._connection, transaction.size)
            self._shrink()
            self.failure = self._space.problem()
        except apsw.Error as error:
            raise self._refused(error) from error

    @property
    def has_expired_keys(self) -> bool:
        return self.has_expired(self._transaction())

    def _transaction(self) -> Transaction:
        return Transaction(self._clock, self._limits.idempotency_hours)

    def _know(self, topic: str) -> None:
        if topic not in self._topics:
            self._create(topic)
            self.ends[topic] = 0

    def _mark(self, topic: str, progress: Progress) -> None:
        run = self._connection.execute
        run(
            "INSERT INTO drained VALUES (?1, ?2, ?3) "
            "ON CONFLICT DO UPDATE SET partitions = ?2, mark = ?3",
            (topic, len(progress.lows), progress.mark),
        )
        for partition, low in enumerate(progress.lows):
            run("INSERT OR REPLACE INTO lows VALUES (?, ?, ?)", (topic, partition, low))
        self.progress[topic] = progress

    def _discard(self, topic: str, mark: int) -> None:
        table = f"blocks_{self._topics[topic]}"
        self._connection.execute(
            f"DELETE FROM {table} WHERE first IN (SELECT first FROM {table} "
            f"WHERE first + count <= ? ORDER BY first LIMIT {_DISCARD_BLOCKS})",
            (mark,),
        )
        self.slack = self.slack or self._connection.changes() == _DISCARD_BLOCKS

    def _shrink(self) -> None:
        """Give space back when there is much, a bounded part of it."""
        free = self._connection.execute("PRAGMA freelist_count").get
        if int(str(free or 0)) >= _VACUUM_PAGES:
            self.slack = True
            list(self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})"))
            self._checkpoints.after(self._connection, _VACUUM_PAGES << 12)

    def _refused(self, error: Exception) -> NotReady:
        refused = failed_write("spool", error)
        self.failure, self.expired_left = refused.message, False
        return refused

    # -- by any thread ------------------------------------------------------------------------

    def reader(self) -> SqliteReader:
        return SqliteReader(self._path, vfs=self.vfs)

    def bytes_on_disk(self) -> int:
        return bytes_of_log(self._path)
