"""The file of the embedded log: its tables, and one write transaction."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import apsw

from penstock.core.clock import CarefulClock
from penstock.core.errors import Misconfigured
from penstock.core.log import (
    DUPLICATE,
    Append,
    Extent,
    Minute,
    Receipt,
    blocks,
    keys,
    tables,
)
from penstock.core.log.checkpoint import KEPT_BYTES, Checkpoints
from penstock.core.log.disk import failed_open
from penstock.core.log.origins import Origins
from penstock.core.log.sqlite_reader import connect, end_of
from penstock.core.log.trimming import Spoilt, Trimming

_LEDGER_DAYS = 7

_FOLD_OLD_MINUTES = """INSERT INTO ledger
SELECT 0, topic, sum(received), sum(stored), sum(duplicate), sum(rejected) FROM ledger
WHERE minute > 0 AND minute < ? GROUP BY topic"""
"""Minute 0 holds the sums of what is too old for minutes of its own, so that totals only grow."""
_LEDGER = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?) " + tables.ADD_UP
_INCREMENTAL = 2


class _TopicWrite:
    """What one transaction does to one topic."""

    __slots__ = ("duplicate", "first", "id", "now_ms", "payloads", "received", "rejected", "runs")

    def __init__(self, topic_id: int, first: int, now_ms: int) -> None:
        self.id = topic_id
        self.first = first
        self.now_ms = now_ms
        self.payloads: list[bytes] = []
        self.runs: list[tuple[int, int]] = []
        """From which payload on they were taken when, if not all of them just now."""
        self.received = 0
        self.duplicate = 0
        self.rejected = 0

    def extend(self, payloads: Sequence[bytes], taken_ms: int) -> None:
        if taken_ms or self.runs:
            self.runs = self.runs or [(0, self.now_ms)]
            self.runs.append((len(self.payloads), taken_ms or self.now_ms))
        self.payloads.extend(payloads)

    def blocks(self) -> Iterator[tuple[int, int, Sequence[bytes]]]:
        """First record, when they were taken, and the payloads of each."""
        runs = self.runs or [(0, self.now_ms)]
        ends = [begin for begin, _ in runs[1:]] + [len(self.payloads)]
        for (begin, at_ms), end in zip(runs, ends, strict=True):
            for start in range(begin, end, blocks.RECORDS_MAX):
                part = self.payloads[start : min(start + blocks.RECORDS_MAX, end)]
                yield self.first + start, at_ms, part

    def turn_away(self, append: Append, instead: Receipt) -> None:
        """Account for what was stored before, or not at all."""
        events = len(append.payloads)
        self.received += events + append.rejected
        self.duplicate += events if instead.is_duplicate else 0
        self.rejected += append.rejected + (0 if instead.is_duplicate else events)


class Transaction:
    """The state of one group commit."""

    def __init__(self, clock: CarefulClock, idempotency_hours: float) -> None:
        self.now_ms = clock.now_ms()
        self.latest_ms = clock.latest_ms()
        self.keys_from_ms = self.now_ms - int(idempotency_hours * 3_600_000)
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
        self.expired_left = False
        """Whether there are more keys to forget than the last transaction did."""
        self._opening = uuid4().hex
        """Of no other opening, nor of a copy: who added a record is what proves it."""
        self._opened: set[str] = set()
        """Topics that know this opening; the first record that it adds brings it along."""
        self._swept_second = self._swept_minute = 0
        try:
            self._prepare()
            for topic_id, name in self._connection.execute("SELECT id, name FROM topics"):
                self._topics[str(name)] = int(str(topic_id))
            self.trimming = Trimming(self._connection)
            self.trimming.load([*self._topics.values()])
            for name, topic_id in self._topics.items():
                self.ends[name] = end_of(self._connection, topic_id)
            self.newest_ms = tables.newest_ms(self._connection)
        except apsw.Error as error:
            self._connection.close()
            raise Misconfigured(failed_open(path, error)) from error
        self._checkpoints = Checkpoints(connect(path, vfs=vfs, writable=writable))

    def _prepare(self) -> None:
        run = self._connection.execute
        # Before there is a table: later it would take writing the whole file anew. Said again it
        # would be written again, at every opening.
        if run("PRAGMA auto_vacuum").get != _INCREMENTAL:
            run("PRAGMA auto_vacuum = INCREMENTAL")
        run("PRAGMA secure_delete = ON").get  # noqa: B018 - reading the answer runs the statement
        run("PRAGMA journal_mode = WAL").get  # noqa: B018 - reading the answer runs the statement
        run("PRAGMA synchronous = FULL")
        run("PRAGMA wal_autocheckpoint = 0")
        run(f"PRAGMA journal_size_limit = {KEPT_BYTES}").get  # noqa: B018 - as above
        # What a crash left in the write-ahead log is synced into the file before anything is added.
        run("PRAGMA wal_checkpoint(TRUNCATE)").get  # noqa: B018 - as above
        with self._connection:
            for statement in tables.SCHEMA.split(";\n"):
                run(statement)
            keys.prepare(self._connection)
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
        try:
            return self._write(transaction, group, rejected)
        except Spoilt:
            transaction.topics, transaction.size = {}, 0
            return self._write(transaction, group, rejected)

    def _write(
        self,
        transaction: Transaction,
        group: Sequence[Sequence[Append]],
        rejected: dict[str, int],
    ) -> list[list[Receipt]]:
        known, opened = dict(self._topics), set(self._opened)
        claims, origins = self._claims(transaction), Origins(self._connection)
        try:
            if self._needs_several_statements(transaction, group, rejected):
                self._connection.execute("BEGIN IMMEDIATE")
            receipts = [self._add_all(transaction, claims, origins, appends) for appends in group]
            for topic, count in rejected.items():
                written = self._topic(transaction, topic)
                written.received += count
                written.rejected += count
            for topic, topic_write in transaction.topics.items():
                self._store(transaction, topic, topic_write)
            if self._connection.in_transaction:
                origins.close()
                self._sweep(transaction, claims)
                if self.trimming.due:
                    transaction.size += self.trimming.portion()
                self.trimming.note()
                self._connection.execute("COMMIT")
        except BaseException:
            self._topics, self._opened = known, opened
            self.expired_left = False
            self.trimming.settled(committed=False)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self.trimming.settled(committed=True)
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
        if rejected or self.expired_left or transaction.now_ms // 1_000 != self._swept_second:
            return True
        if self.trimming.due:
            return True
        topics = set()
        records = 0
        for appends in group:
            for append in appends:
                if append.idempotency_key or append.origin is not None or append.taken_ms:
                    return True
                topics.add(append.topic)
                records += len(append.payloads)
        return len(topics) != 1 or records > blocks.RECORDS_MAX or not topics <= self._opened

    def _add_all(
        self,
        transaction: Transaction,
        claims: keys.Claims,
        origins: Origins,
        appends: Sequence[Append],
    ) -> list[Receipt]:
        receipts: list[Receipt] = []
        for append in appends:
            if append.follows and not receipts[-1].stored:
                self._topic(transaction, append.topic).turn_away(append, receipts[-1])
                receipts.append(receipts[-1])
            else:
                receipts.append(self._add(transaction, claims, origins, append))
        return receipts

    def _add(
        self, transaction: Transaction, claims: keys.Claims, origins: Origins, append: Append
    ) -> Receipt:
        written = self._topic(transaction, append.topic)
        if append.origin is not None:
            append = origins.fresh(written.id, append, append.origin)
            if not append.payloads:
                return DUPLICATE
        if append.idempotency_key and (instead := claims.make(written.id, append)):
            written.turn_away(append, instead)
            return instead
        written.received += len(append.payloads) + append.rejected
        written.rejected += append.rejected
        first = written.first + len(written.payloads)
        written.extend(append.payloads, append.taken_ms)
        return Receipt(0, first)

    def _claims(self, transaction: Transaction) -> keys.Claims:
        return keys.Claims(self._connection, transaction.latest_ms, transaction.keys_from_ms)

    def _store(self, transaction: Transaction, topic: str, written: _TopicWrite) -> None:
        now = transaction.now_ms
        counts = (written.received, written.duplicate, written.rejected)
        if not any(counts):
            return  # all of it had been taken before
        if not written.payloads:
            received, duplicate, refused = counts
            account = (now // 60_000, written.id, received, 0, duplicate, refused)
            self._connection.execute(_LEDGER, account)
        elif topic not in self._opened:
            self._open(topic, written)
        for first, at_ms, part in written.blocks():
            body = blocks.pack(part)
            transaction.size += len(body)
            self.trimming.added(len(body))
            self._connection.execute(
                f"INSERT INTO blocks_{written.id} VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (first, len(part), at_ms, *counts, blocks.checksum(first, len(part), body), body),
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
            written = _TopicWrite(self._topics[name], self.ends.get(name, 0), transaction.now_ms)
            transaction.topics[name] = written
        return written

    def _create(self, name: str) -> None:
        run = self._connection.execute
        run("INSERT INTO topics (name) VALUES (?)", (name,))
        topic_id = self._connection.last_insert_rowid()
        for statement in tables.of_topic(topic_id):
            run(statement)
        self._topics[name] = topic_id

    def _sweep(self, transaction: Transaction, claims: keys.Claims) -> None:
        """Forget expired keys, once a second and then until none is left, and old minutes."""
        second, minute = transaction.now_ms // 1_000, transaction.now_ms // 60_000
        if self.expired_left or second != self._swept_second:
            self._swept_second = second
            self.expired_left = claims.sweep()
        transaction.size += claims.close()
        if minute == self._swept_minute:
            return
        self._swept_minute = minute
        run = self._connection.execute
        old = (minute - _LEDGER_DAYS * 1440,)
        run(f"{_FOLD_OLD_MINUTES} {tables.ADD_UP}", old)
        run("DELETE FROM ledger WHERE minute > 0 AND minute < ?", old)

    def has_expired(self, transaction: Transaction) -> bool:
        """Whether there are keys for the next transaction to forget."""
        try:
            self.expired_left = keys.have_expired(self._connection, transaction.keys_from_ms)
        except apsw.Error:
            return False  # who writes next finds out why
        return self.expired_left

    def account(self, topic: str, line: Minute) -> None:
        """Add to the ledger what is not written here, within a transaction of the caller's."""
        self._connection.execute(_LEDGER, (line.minute, self._topics[topic], *line[1:]))

    def clear(self) -> None:
        with self._connection:
            for topic_id in self._topics.values():
                self._connection.execute(f"DELETE FROM blocks_{topic_id}")
            keys.clear(self._connection)
            self._connection.execute("DELETE FROM ledger")
            self._connection.execute("DELETE FROM openings")
            self._connection.execute("DELETE FROM origins")
            self._connection.execute("DELETE FROM extents")
            self.identity = str(uuid4())
            self._connection.execute(
                "UPDATE meta SET value = ? WHERE key = 'identity'", (self.identity,)
            )
        self.ends, self._opened = dict.fromkeys(self._topics, 0), set()
        self.trimming.forget()

    def extent(self, topic: str) -> Extent:
        """For any thread."""
        topic_id = self._topics.get(topic)
        return Extent() if topic_id is None else self.trimming.of(topic_id)

    def want(self, topic: str, start: int, until_ms: int) -> None:
        """Let a topic begin there, by and by; the writer's to call."""
        if topic in self._topics and start <= self.ends.get(topic, 0):
            self.trimming.want(self._topics[topic], start, until_ms)

    def count(self, topic: str, was: Extent, now: Extent) -> None:
        """Somebody counted a topic on; the writer's to call."""
        if topic in self._topics:
            self.trimming.count(self._topics[topic], was, now)

    def idle(self) -> None:
        """Nothing is to be written just now: a good moment to fold the write-ahead log."""
        self._checkpoints.idle()

    def close(self) -> None:
        self._checkpoints.close()
        self._connection.close()
