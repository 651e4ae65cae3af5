"""The file of the embedded log: its tables, one write transaction, one reader."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import apsw

from penstock.core.errors import Misconfigured, NotReady
from penstock.core.log import Append, Batch, Damage, Minute, Receipt, blocks, keys, tables
from penstock.core.log.checkpoint import KEPT_BYTES, Checkpoints
from penstock.core.log.disk import failed_open

_BUSY_MS = 5_000
_LEDGER_DAYS = 7
_MISSING = "missing from the log"
_BATCH_RECORDS = 1_000

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
        self.expired_left = False
        """Whether there are more keys to forget than the last transaction did."""
        self._swept_second = self._swept_minute = 0
        try:
            self._prepare()
            for topic_id, name in self._connection.execute("SELECT id, name FROM topics"):
                self._topics[str(name)] = int(str(topic_id))
            for name, topic_id in self._topics.items():
                self.ends[name] = _end(self._connection, topic_id)
            self.newest_ms = tables.newest_ms(self._connection)
        except apsw.Error as error:
            self._connection.close()
            raise Misconfigured(failed_open(path, error)) from error
        self._checkpoints = Checkpoints(connect(path, vfs=vfs, writable=writable))

    def _prepare(self) -> None:
        run = self._connection.execute
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
        known = dict(self._topics)
        claims = self._claims(transaction)
        try:
            if self._needs_several_statements(transaction, group, rejected):
                self._connection.execute("BEGIN IMMEDIATE")
            receipts = [[self._add(transaction, claims, a) for a in appends] for appends in group]
            for topic, count in rejected.items():
                written = self._topic(transaction, topic)
                written.received += count
                written.rejected += count
            for topic_write in transaction.topics.values():
                self._store(transaction, topic_write)
            if self._connection.in_transaction:
                self._sweep(transaction, claims)
                self._connection.execute("COMMIT")
        except BaseException:
            self._topics, self.expired_left = known, False
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
        if rejected or self.expired_left or transaction.now_ms // 1_000 != self._swept_second:
            return True
        topics = set()
        records = 0
        for appends in group:
            for append in appends:
                if append.idempotency_key:
                    return True
                topics.add(append.topic)
                records += len(append.payloads)
        return len(topics) != 1 or records > blocks.RECORDS_MAX or not topics <= self.ends.keys()

    def _add(self, transaction: Transaction, claims: keys.Claims, append: Append) -> Receipt:
        written = self._topic(transaction, append.topic)
        written.received += len(append.payloads) + append.rejected
        written.rejected += append.rejected
        if append.idempotency_key and (instead := claims.make(written.id, append)):
            if instead.is_duplicate:
                written.duplicate += len(append.payloads)
            else:
                written.rejected += len(append.payloads)
            return instead
        first = written.first + len(written.payloads)
        written.payloads.extend(append.payloads)
        return Receipt(0, first)

    def _claims(self, transaction: Transaction) -> keys.Claims:
        return keys.Claims(self._connection, transaction.now_ms, transaction.keys_from_ms)

    def _store(self, transaction: Transaction, written: _TopicWrite) -> None:
        now = transaction.now_ms
        counts = (written.received, written.duplicate, written.rejected)
        if not written.payloads:
            received, duplicate, refused = counts
            account = (now // 60_000, written.id, received, 0, duplicate, refused)
            self._connection.execute(_LEDGER, account)
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
            self.identity = str(uuid4())
            self._connection.execute(
                "UPDATE meta SET value = ? WHERE key = 'identity'", (self.identity,)
            )
        self.ends = dict.fromkeys(self._topics, 0)

    def start(self, topic: str) -> int:
        topic_id = self._topics.get(topic)
        if topic_id is None:
            return 0
        found = self._connection.execute(f"SELECT min(first) FROM blocks_{topic_id}").get
        return int(str(found or 0))

    def idle(self) -> None:
        """Nothing is to be written just now: a good moment to fold the write-ahead log."""
        self._checkpoints.idle()

    def close(self) -> None:
        self._checkpoints.close()
        self._connection.close()


class SqliteReader:
    """A read-only connection, for one thread at a time."""

    def __init__(self, path: Path, *, vfs: str = "") -> None:
        """Raise `NotReady` while the file cannot be opened."""
        try:
            self._connection = connect(path, vfs=vfs, writable=False)
        except Misconfigured as error:
            raise NotReady("the log cannot be opened", detail=str(error)) from error
        self._topics: dict[str, int] = {}

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Batch:
        del partition
        topic_id = self._topic(topic)
        nothing = Batch(offset, offset, (), (), 0)
        return nothing if topic_id is None else _gather(self._rows(topic_id, offset), offset, limit)

    def topics(self) -> list[str]:
        return [str(name) for (name,) in self._connection.execute("SELECT name FROM topics")]

    def blocks(self, topic: str, offset: int) -> list[Batch]:
        """From `offset` on, each block a batch of its own, with its own time: a thousand records
        or somewhat more, so that no reader, however slow, keeps the write-ahead log from folding.
        """
        topic_id = self._topic(topic)
        found: list[Batch] = []
        if topic_id is None:
            return found
        position = offset
        with closing(self._rows(topic_id, offset)) as rows:
            for row in rows:
                if (following := row[0] + row[1]) > position:
                    found.append(_gather(iter([row]), position, following - position))
                    position = found[-1].next
                if position - offset >= _BATCH_RECORDS:
                    break
        return found

    def end(self, topic: str) -> int:
        topic_id = self._topic(topic)
        return 0 if topic_id is None else _end(self._connection, topic_id)

    def ledger(self, topic: str, since_minute: int) -> list[Minute]:
        topic_id = self._topic(topic)
        rows = self._connection.execute(
            "SELECT minute, received, stored, duplicate, rejected FROM ledger "
            "WHERE topic = ? AND minute >= ? ORDER BY minute",
            (topic_id, since_minute),
        )
        return [Minute(*(int(str(cell)) for cell in row)) for row in rows]

    def totals(self, topic: str) -> Minute:
        sums = self._connection.execute(
            "SELECT 0, coalesce(sum(received), 0), coalesce(sum(stored), 0), "
            "coalesce(sum(duplicate), 0), coalesce(sum(rejected), 0) FROM ledger WHERE topic = ?",
            (self._topic(topic),),
        ).get
        return Minute(*sums)

    def idempotency_keys(self) -> int:
        return keys.number(self._connection)

    def identity(self) -> str:
        return str(self._connection.execute("SELECT value FROM meta WHERE key = 'identity'").get)

    def close(self) -> None:
        self._connection.close()

    def _topic(self, name: str) -> int | None:
        if name not in self._topics:
            found = self._connection.execute("SELECT id FROM topics WHERE name = ?", (name,)).get
            if found is None:
                return None
            self._topics[name] = int(str(found))
        return self._topics[name]

    def _rows(self, topic_id: int, offset: int) -> Generator[tuple[int, int, int, int, bytes]]:
        table = f"blocks_{topic_id}"
        cursor = self._connection.execute(
            f"SELECT {tables.BLOCK} FROM {table} WHERE first >= "
            f"coalesce((SELECT max(first) FROM {table} WHERE first <= ?), 0) ORDER BY first",
            (offset,),
        )
        with closing(cursor):
            yield from cursor


def _gather(rows: Iterator[tuple[int, int, int, int, bytes]], offset: int, limit: int) -> Batch:
    """Blocks into one batch of exactly the asked range, holes and damage named."""
    position, stop, at_ms = offset, offset + limit, 0
    offsets: list[int] = []
    payloads: list[bytes] = []
    runs: list[tuple[int, int]] = []
    damages: list[Damage] = []
    reason, claimed = _MISSING, 0
    for first, count, block_at_ms, checksum, body in rows:
        if first > position:
            damages.append(Damage(position, min(first, stop), reason))
            position = min(first, stop)
        reason, claimed = _MISSING, 0
        if position >= stop:
            break
        end = min(first + count, stop)
        if position < end:
            at_ms = at_ms or block_at_ms
        if blocks.checksum(first, count, body) != checksum:
            # Its count may be what is damaged: the next block says where this one ends.
            reason, claimed = "checksum does not match", end
        elif position < end:
            payloads.extend(blocks.unpack(body)[position - first : end - first])
            offsets.extend(range(position, end))
            runs.append((block_at_ms, end - position))
            position = end
        if position >= stop:
            break
    if claimed > position:
        damages.append(Damage(position, claimed, reason))
        position = claimed
    times = blocks.times(runs, at_ms)
    return Batch(offset, position, offsets, payloads, at_ms, tuple(damages), taken_ms=times)


def _end(connection: apsw.Connection, topic_id: int) -> int:
    found = connection.execute(
        f"SELECT first + count FROM blocks_{topic_id} ORDER BY first DESC LIMIT 1"
    ).get
    return int(str(found or 0))


def connect(path: Path, *, vfs: str = "", writable: bool) -> apsw.Connection:
    """Raise `Misconfigured`. Only one that is writable makes a file that is not there."""
    flags = apsw.SQLITE_OPEN_READONLY
    if writable:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags=flags, vfs=vfs or None)
        connection.set_busy_timeout(_BUSY_MS)
    except (apsw.Error, OSError) as error:
        raise Misconfigured(failed_open(path, error)) from error
    return connection
