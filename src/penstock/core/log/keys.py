"""Idempotency keys in the file of the log: claimed where events are stored, forgotten in time.

A key is claimed in the transaction that stores what came with it. Every transaction that claims
forgets at least twice as many whose window is over, if there are so many, so that the table never
outgrows what came within one window; the rest goes while nothing else is to be done. How many there
are is written down beside them: to count a day's keys would take seconds.

A key is claimed at the latest that the time may be, and expires by the earliest: no clock that is
wrong and then right takes it away early. One claimed while the clock was ahead stays for longer.
"""

from collections.abc import Iterator

import apsw

from penstock.core.log import DUPLICATE, REUSED, Append, Receipt, tables

_SWEPT_AT_ONCE = 250
"""A few milliseconds of work, which a commit may have to wait for."""
_PAGE_BYTES = 4096


def prepare(connection: apsw.Connection) -> None:
    """Within a transaction: add what files of before lack, and count what is there but once."""
    run = connection.execute
    has = _columns(connection)
    for column, kind in tables.KEY_COLUMNS_SINCE.items():
        if column not in has:
            run(f"ALTER TABLE idempotency ADD COLUMN {column} {kind}")
    if run("SELECT 1 FROM meta WHERE key = 'idempotency_keys'").get is None:
        counted(connection)


def counted(connection: apsw.Connection) -> int:
    """Count them, which takes long, and write the number down."""
    connection.execute(
        "INSERT OR REPLACE INTO meta SELECT 'idempotency_keys', count(*) FROM idempotency"
    )
    return number(connection)


def number(connection: apsw.Connection) -> int:
    found = connection.execute("SELECT value FROM meta WHERE key = 'idempotency_keys'").get
    return int(str(found or 0))


def have_expired(connection: apsw.Connection, from_ms: int) -> bool:
    """Whether there is any that was claimed before that."""
    oldest = connection.execute("SELECT min(at_ms) FROM idempotency").get
    return oldest is not None and int(str(oldest)) < from_ms


def clear(connection: apsw.Connection) -> None:
    connection.execute("DELETE FROM idempotency")
    connection.execute("UPDATE meta SET value = 0 WHERE key = 'idempotency_keys'")


def rows(connection: apsw.Connection) -> Iterator[tuple[object, ...]]:
    """All of a file, also of an older one; with the names of their topics."""
    has = _columns(connection)
    since = ", ".join(name if name in has else "x''" for name in tables.KEY_COLUMNS_SINCE)
    yield from connection.execute(
        f"SELECT name, key, at_ms, {since} FROM idempotency JOIN topics ON topics.id = topic"
    )


def insert(connection: apsw.Connection, row: tuple[object, ...]) -> None:
    """One of another file's, if its topic is known, and its key is not."""
    name, *rest = row
    connection.execute(
        "INSERT OR IGNORE INTO idempotency SELECT id, ?, ?, ?, ? FROM topics WHERE name = ?",
        (*rest, name),
    )


def _columns(connection: apsw.Connection) -> set[object]:
    return {
        name for (name,) in connection.execute("SELECT name FROM pragma_table_info('idempotency')")
    }


class Claims:
    """What one transaction does to the keys. `close` it before it is committed."""

    __slots__ = ("_added", "_connection", "_from_ms", "_latest_ms", "_made", "_swept")

    def __init__(self, connection: apsw.Connection, latest_ms: int, from_ms: int) -> None:
        """Claims are made at `latest_ms`; those before `from_ms` are anybody's again."""
        self._connection = connection
        self._latest_ms = latest_ms
        self._from_ms = from_ms
        self._made = self._added = self._swept = 0

    def make(self, topic_id: int, append: Append) -> Receipt | None:
        """Claim the append's key for it; or say what the append gets instead of being stored."""
        run, key = self._connection.execute, (topic_id, append.idempotency_key)
        mine = (self._latest_ms, append.fingerprint, append.answer)
        self._made += 1
        run("INSERT OR IGNORE INTO idempotency VALUES (?, ?, ?, ?, ?)", (*key, *mine))
        if self._connection.changes():
            self._added += 1
            return None
        found = run(
            "SELECT at_ms, CAST(fingerprint AS BLOB), CAST(answer AS BLOB) FROM idempotency "
            "WHERE topic = ? AND key = ?",
            key,
        )
        [(at_ms, fingerprint, answer)] = found
        if at_ms < self._from_ms:
            run(
                "UPDATE idempotency SET at_ms = ?, fingerprint = ?, answer = ? "
                "WHERE topic = ? AND key = ?",
                (*mine, *key),
            )
            return None
        if fingerprint and append.fingerprint and fingerprint != append.fingerprint:
            return REUSED
        return DUPLICATE._replace(answer=answer)

    def sweep(self, rows: int = _SWEPT_AT_ONCE) -> bool:
        """Forget expired ones, so many or twice those that were claimed; whether there are more."""
        limit = max(rows, 2 * self._made)
        self._connection.execute(
            "DELETE FROM idempotency WHERE (topic, key) IN "
            "(SELECT topic, key FROM idempotency WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
            (self._from_ms, limit),
        )
        self._swept += self._connection.changes()
        return self._connection.changes() == limit

    def close(self) -> int:
        """Write the number down. About how many bytes of the file have changed, at the most."""
        if change := self._added - self._swept:
            self._connection.execute(
                "UPDATE meta SET value = CAST(value AS INTEGER) + ? WHERE key = 'idempotency_keys'",
                (change,),
            )
        return (self._made + self._swept) * _PAGE_BYTES
