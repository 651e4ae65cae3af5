"""Reading the file of the embedded log: on connections of their own, in any process."""

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import apsw

from penstock.core.errors import Disproved, Misconfigured, NotReady
from penstock.core.folder import identity_of
from penstock.core.log import (
    FORGOTTEN,
    Batch,
    Damage,
    Extent,
    Minute,
    blocks,
    extents,
    keys,
    tables,
)
from penstock.core.log.disk import failed_open, forsaken
from penstock.core.log.extents import Front

_BUSY_MS = 5_000
_MISSING = "missing from the log"
_BATCH_RECORDS = 1_000
_COUNTED_AT_ONCE = 20_000


class SqliteReader:
    """A read-only connection, for one thread at a time."""

    def __init__(self, path: Path, *, vfs: str = "") -> None:
        """Raise `NotReady` while the file cannot be opened."""
        try:
            self._connection = connect(path, vfs=vfs, writable=False)
        except Misconfigured as error:
            raise NotReady("the log cannot be opened", detail=str(error)) from error
        self._path = path
        self._files = _files(path)
        self._topics: dict[str, int] = {}

    def read(
        self, topic: str, partition: int, offset: int, limit: int, proof: str | None = None
    ) -> Batch:
        """Raise `NotReady` when another file is in the place of this one."""
        del partition
        if self.replaced():
            raise NotReady("another log is in the place of the one that was read")
        topic_id = self._topic(topic)
        batch = Batch(offset, offset, (), (), 0)
        if topic_id is not None and limit > 0:
            batch = _gather(self._rows(topic_id, offset), offset, limit)
            batch = self._told_apart(topic_id, batch, limit)
        # What was read is compared, not what was there a moment before.
        return batch if proof is None else batch._replace(proof=self._prove(topic_id, batch, proof))

    def replaced(self) -> bool:
        """Whether there is a file in this one's place; one that was only moved away is read on."""
        files = _files(self._path)
        if files == self._files or files[0] is None:
            return False
        if self._files[1] is None and files[0] == self._files[0]:
            self._files = files  # the write-ahead log is made by whoever comes first
            return False
        return True

    def _prove(self, topic_id: int | None, batch: Batch, proof: str) -> str:
        """Of the record before the batch's end, as it is before its beginning. Raise `Disproved`.

        Within one opening records are only added, and it begins behind those of another: so who
        knows the opening of a record knows all before it.
        """
        first, following = batch.first, batch.next
        if first == following:
            end = 0 if topic_id is None else end_of(self._connection, topic_id)
            if first > end:
                raise Disproved(f"the log ends at {end}")
        if proof and first and self._opening_before(topic_id, first) != proof:
            raise Disproved("the log has other records there")
        return self._opening_before(topic_id, following) if following else ""

    def _told_apart(self, topic_id: int, batch: Batch, limit: int) -> Batch:
        """What is missing at the front, whether it was trimmed or got lost."""
        first, damages = batch.first, batch.damages
        missing = bool(damages) and damages[0].first == first and damages[0].reason == _MISSING
        if not missing and batch.next > first:
            return batch
        end = damages[0].next if missing else first + limit
        start = min(extents.of(self._connection, topic_id).start, end)
        if start <= first:
            return batch
        trimmed = (Damage(first, start, FORGOTTEN),)
        if not missing:
            return batch._replace(next=start, damages=trimmed)
        lost = (damages[0]._replace(first=start),) if start < end else ()
        return batch._replace(damages=(*trimmed, *lost, *damages[1:]))

    def _opening_before(self, topic_id: int | None, offset: int) -> str:
        try:
            return str(self._connection.execute(tables.OPENING, (topic_id, offset)).get)
        except apsw.SQLError:  # whoever writes it is of a version that notes none
            return self.identity()

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
                    limit = following - position
                    batch = _gather(iter([row]), position, limit)
                    found.append(self._told_apart(topic_id, batch, limit))
                    position = found[-1].next
                if position - offset >= _BATCH_RECORDS:
                    break
        return found

    def end(self, topic: str) -> int:
        topic_id = self._topic(topic)
        return 0 if topic_id is None else end_of(self._connection, topic_id)

    def start(self, topic: str) -> int:
        return self.extent(topic).start

    def extent(self, topic: str) -> Extent:
        topic_id = self._topic(topic)
        return Extent() if topic_id is None else extents.of(self._connection, topic_id)

    def fronts(self, topic: str, first: int) -> Generator[Front]:
        """The blocks from there on, the oldest first; close it, for it holds on to a moment."""
        topic_id = self._topic(topic)
        if topic_id is not None:
            yield from extents.fronts(self._connection, topic_id, first)

    def counted(self, topic: str, extent: Extent, blocks: int) -> Extent | None:
        """The extent with so many more blocks counted; None where there are no more."""
        topic_id = self._topic(topic)
        if topic_id is None:
            return None
        return extents.counted(self._connection, topic_id, extent, blocks)

    def bytes_of(self, topic: str) -> int:
        """Of its blocks, as they are kept. Looks at those that nobody counted, but reads none."""
        extent = self.extent(topic)
        while (more := self.counted(topic, extent, _COUNTED_AT_ONCE)) is not None:
            extent = more
        return extent.bytes

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
        found = self._connection.execute("SELECT value FROM meta WHERE key = 'identity'").get
        if found is None:
            raise apsw.CorruptError("the log does not say which one it is")
        return str(found)

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


def end_of(connection: apsw.Connection, topic_id: int) -> int:
    """The number that the topic's next record gets."""
    found = connection.execute(
        f"SELECT first + count FROM blocks_{topic_id} ORDER BY first DESC LIMIT 1"
    ).get
    return extents.of(connection, topic_id).start if found is None else int(str(found))


def _files(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Which files the log and its write-ahead log are; None for one that is not there."""
    found: list[tuple[int, int] | None] = []
    for file in (path, path.with_name(path.name + "-wal")):
        try:
            found.append(identity_of(file))
        except OSError:
            found.append(None)
    return tuple(found)


def connect(path: Path, *, vfs: str = "", writable: bool) -> apsw.Connection:
    """Raise `Misconfigured`. Only one that is writable makes a file that is not there."""
    if why := forsaken(path):
        raise Misconfigured(why)
    flags = apsw.SQLITE_OPEN_READONLY
    if writable:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags=flags, vfs=vfs or None)
        connection.set_busy_timeout(_BUSY_MS)
    except (apsw.Error, OSError) as error:
        raise Misconfigured(failed_open(path, error)) from error
    return connection
