"""The file of the embedded log: its tables, and one write transaction."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import apsw

from penstock.core.errors import Misconfigured
from penstock.core.log import DUPLICATE, Append, Minute, Receipt, blocks, tables
from penstock.core.log.checkpoint import Checkpoints
from penstock.core.log.disk import failed_open
from penstock.core.log.sqlite_reader import connect, end_of

_LEDGER_DAYS = 7

_FOLD_OLD_MINUTES = """INSERT INTO ledger
SELECT 0, topic, sum(received), sum(stored), sum(duplicate), sum(rejected) FROM ledger
WHERE minute > 0 AND minute < ? GROUP BY topic"""
"""Minute 0 holds the sums of what is too old for minutes of its own, so that totals only grow."""
_LEDGER = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?) " + tables.ADD_UP


class _TopicWrite:
    """What one transaction does to one topic."""

    __slots__ = ("duplicate", "first", "id", "payloads", "received", "rejected")

    def __init__(self, topic_id: int, first: int) -> None:
        self.id = topic_id
        self.first = first
        self.payloads: list[bytes] = []
        self.received = 0
        self.duplicate = 0
        self.rejected = 0


class Transaction:
    """The state of one group commit."""

    def __init__(self, now_ms: int, idempotency_hours: float) -> None:
        self.now_ms = now_ms
        self.keys_from_ms = now_ms - int(idempotency_hours * 3_600_000)
        self.topics: dict[str, _TopicWrite] = {}
        self.size = 0
        """Bytes of its blocks."""


class SqliteFile:
    """The writer's connection. `ends` is the truth about offsets for this process."""

    def __init__(self, path: Path, *, vfs: str, writable: bool) -> None:
        self.vfs = vfs
        self._connection = connect(path, vfs=vfs, writable=writable)
        self._topics: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self._opening = uuid4().hex
        """Of no other opening, nor of a copy: who added a record is what proves it."""
        self._opened: set[str] = set()
        """Topics that know this opening; the first record that it adds brings it along."""
        self._swept_minute = 0
        try:
            self._prepare()
            for topic_id, name in self._connection.execute("SELECT id, name FROM topics"):
                self._topics[str(name)] = int(str(topic_id))
            for name, topic_id in self._topics.items():
                self.ends[name] = end_of(self._connection, topic_id)
        except apsw.Error as error:
            self._connection.close()
            raise Misconfigured(failed_open(path, error)) from error
        self._checkpoints = Checkpoints(connect(path, vfs=vfs, writable=writable))

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL").get  # noqa: B018 - reading the answer runs the statement
        run("PRAGMA synchronous = FULL")
        run("PRAGMA wal_autocheckpoint = 0")
        # What a crash left in the write-ahead log is synced into the file before anything is added.
        run("PRAGMA wal_checkpoint(TRUNCATE)").get  # noqa: B018 - as above
        with self._connection:
            for statement in tables.SCHEMA.split(";\n"):
                run(statement)
            run("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (tables.SCHEMA_VERSION,))
            run("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (str(uuid4()),))
        self.identity = str(run("SELECT value FROM meta WHERE key = 'identity'").get)

    def write(
        self,
        transaction: Transaction,
        group: Sequence[Sequence[Append]],
        rejected: dict[str, int],
    ) -> list[list[Receipt]]:
        """Commit, synced. Raise `apsw.Error` with nothing stored and `ends` as they were."""
        known, opened = dict(self._topics), set(self._opened)
        try:
            if self._needs_several_statements(transaction, group, rejected):
                self._connection.execute("BEGIN IMMEDIATE")
            receipts = [[self._add(transaction, a) for a in appends] for appends in group]
            for topic, count in rejected.items():
                written = self._topic(transaction, topic)
                written.received += count
                written.rejected += count
            for topic, topic_write in transaction.topics.items():
                self._store(transaction, topic, topic_write)
            if self._connection.in_transaction:
                self._sweep(transaction)
                self._connection.execute("COMMIT")
        except BaseException:
            self._topics, self._opened = known, opened
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        for name, written in transaction.topics.items():
            self.ends[name] = written.first + len(written.payloads)
        self._checkpoints.after(self._connection, transaction.size)
        return receipts

    def _needs_several_statements(
        self,
        transaction: Transaction,
        group: Sequence[Sequence[Append]],
        rejected: dict[str, int],
    ) -> bool:
        """Most groups are one block of one topic: a single statement, which is a transaction of
        its own. It gives the interpreter up once; each further one would ask for it back.
        """
        if rejected or transaction.now_ms // 60_000 != self._swept_minute:
            return True
        topics = set()
        records = 0
        for appends in group:
            for append in appends:
                if append.idempotency_key:
                    return True
                topics.add(append.topic)
                records += len(append.payloads)
        return len(topics) != 1 or records > blocks.RECORDS_MAX or not topics <= self._opened

    def _add(self, transaction: Transaction, append: Append) -> Receipt:
        written = self._topic(transaction, append.topic)
        written.received += len(append.payloads) + append.rejected
        written.rejected += append.rejected
        if append.idempotency_key and not self._claim(transaction, written, append):
            written.duplicate += len(append.payloads)
            return DUPLICATE
        first = written.first + len(written.payloads)
        written.payloads.extend(append.payloads)
        return Receipt(0, first)

    def _claim(self, transaction: Transaction, written: _TopicWrite, append: Append) -> bool:
        """Whether this key is new, or its window has passed."""
        self._connection.execute(
            "INSERT INTO idempotency VALUES (?1, ?2, ?3) "
            "ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms WHERE at_ms < ?4",
            (written.id, append.idempotency_key, transaction.now_ms, transaction.keys_from_ms),
        )
        return self._connection.changes() > 0

    def _store(self, transaction: Transaction, topic: str, written: _TopicWrite) -> None:
        now = transaction.now_ms
        counts = (written.received, written.duplicate, written.rejected)
        if not written.payloads:
            received, duplicate, refused = counts
            account = (now // 60_000, written.id, received, 0, duplicate, refused)
            self._connection.execute(_LEDGER, account)
        elif topic not in self._opened:
            self._open(topic, written)
        for start in range(0, len(written.payloads), blocks.RECORDS_MAX):
            part = written.payloads[start : start + blocks.RECORDS_MAX]
            first = written.first + start
            body = blocks.pack(part)
            transaction.size += len(body)
            self._connection.execute(
                f"INSERT INTO blocks_{written.id} VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (first, len(part), now, *counts, blocks.checksum(first, len(part), body), body),
            )
            counts = (0, 0, 0)

    def _open(self, topic: str, written: _TopicWrite) -> None:
        """From here on records are of this opening, whatever a lost end had said."""
        place = (written.id, written.first)
        self._connection.execute("DELETE FROM openings WHERE topic = ? AND first >= ?", place)
        self._connection.execute("INSERT INTO openings VALUES (?, ?, ?)", (*place, self._opening))
        self._opened.add(topic)

    def _topic(self, transaction: Transaction, name: str) -> _TopicWrite:
        written = transaction.topics.get(name)
        if written is None:
            if name not in self._topics:
                self._create(name)
            written = _TopicWrite(self._topics[name], self.ends.get(name, 0))
            transaction.topics[name] = written
        return written

    def _create(self, name: str) -> None:
        run = self._connection.execute
        run("INSERT INTO topics (name) VALUES (?)", (name,))
        topic_id = self._connection.last_insert_rowid()
        for statement in tables.of_topic(topic_id):
            run(statement)
        self._topics[name] = topic_id

    def _sweep(self, transaction: Transaction) -> None:
        """Forget expired keys and old minutes, once a minute and a bounded number at a time."""
        minute = transaction.now_ms // 60_000
        if minute == self._swept_minute:
            return
        self._swept_minute = minute
        run = self._connection.execute
        run(
            "DELETE FROM idempotency WHERE (topic, key) IN "
            "(SELECT topic, key FROM idempotency WHERE at_ms < ? LIMIT 10000)",
            (transaction.keys_from_ms,),
        )
        old = (minute - _LEDGER_DAYS * 1440,)
        run(f"{_FOLD_OLD_MINUTES} {tables.ADD_UP}", old)
        run("DELETE FROM ledger WHERE minute > 0 AND minute < ?", old)

    def account(self, topic: str, line: Minute) -> None:
        """Add to the ledger what is not written here, within a transaction of the caller's."""
        self._connection.execute(_LEDGER, (line.minute, self._topics[topic], *line[1:]))

    def clear(self) -> None:
        with self._connection:
            for topic_id in self._topics.values():
                self._connection.execute(f"DELETE FROM blocks_{topic_id}")
            self._connection.execute("DELETE FROM idempotency")
            self._connection.execute("DELETE FROM ledger")
            self._connection.execute("DELETE FROM openings")
            self.identity = str(uuid4())
            self._connection.execute(
                "UPDATE meta SET value = ? WHERE key = 'identity'", (self.identity,)
            )
        self.ends, self._opened = dict.fromkeys(self._topics, 0), set()

    def start(self, topic: str) -> int:
        topic_id = self._topics.get(topic)
        if topic_id is None:
            return 0
        found = self._connection.execute(f"SELECT min(first) FROM blocks_{topic_id}").get
        return int(str(found or 0))

    def close(self) -> None:
        self._checkpoints.close()
        self._connection.close()
