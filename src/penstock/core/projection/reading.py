"""One reader for each topic of a process: what it read is decoded once, for all its projections.

A projection keeps a thread and a position of its own, so that one which is held up holds up no
other. What they share is the newest part of what was read: whoever comes first reads on, the others
take it from here, and it goes when all have. In a backlog the first waits for those who are not far
behind, for to decode twice would cost more. One that is far behind, or stands still, is waited for
by nobody; it reads for itself, until it has caught up with the others.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from typing import Any, NamedTuple

from penstock.core.events import Codec, Undecodable
from penstock.core.log import Batch, Damage, Follow, Reader, record_numbers
from penstock.core.projection import Projection, Record, Topic

_PIECE_RECORDS = 10_000
"""At most, of what is read at once."""
_STANDS_SECONDS = 1.0
"""Who has taken nothing for so long is waited for by nobody."""
_WAIT_SECONDS = 1.0
"""At most, for all others together, before one piece."""


class _Piece(NamedTuple):
    before: str
    """The proof of the record before it."""
    batch: Batch


class _Pieces:
    """What was read last of one partition, in order and without a gap."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.read: deque[_Piece] = deque()
        self.records = 0
        self.at: dict[Listener, int] = {}
        """Where the listeners are, wherever they take from."""
        self.identity = ""
        """Of the topic that it was read from."""

    @property
    def first(self) -> int:
        return self.read[0].batch.first

    @property
    def end(self) -> int:
        return self.read[-1].batch.next

    def has(self, offset: int) -> bool:
        """Whether reading can go on from there."""
        return bool(self.read) and self.first <= offset <= self.end

    def add(self, piece: _Piece) -> None:
        self.read.append(piece)
        self.records += piece.batch.next - piece.batch.first

    def drop(self) -> None:
        batch = self.read.popleft().batch
        self.records -= batch.next - batch.first

    def begin(self, identity: str) -> None:
        self.read.clear()
        self.records, self.identity = 0, identity


class Reading:
    """Of one topic; each of its projections has a `Listener`."""

    def __init__(
        self, log: Follow, topic: str, codec: Codec[Any], block_records: Collection[int]
    ) -> None:
        """`block_records`: how many records the projections take at most."""
        self.log = log
        self.topic = topic
        self._codec = codec
        self._piece = min(*block_records, _PIECE_RECORDS)
        self._held_max = max(block_records) + self._piece
        self._moved = threading.Condition()
        self._seen: dict[Listener, float] = {}
        """When each of them last took something, by the monotonic clock."""
        self._pieces: dict[int, _Pieces] = {}
        self._source: Reader | None = None

    def listener(self) -> "Listener":
        made = Listener(self)
        with self._moved:
            self._seen[made] = time.monotonic()
        return made

    # -- for listeners --------------------------------------------------------------------------

    def take(
        self, listener: "Listener", partition: int, offset: int, limit: int, proof: str
    ) -> list[_Piece]:
        """What there is from `offset` on, as many whole pieces as go into `limit`, but the first
        may begin before it. Nothing for one who is to read for itself.
        """
        with self._moved:
            pieces = self._pieces.setdefault(partition, _Pieces(partition))
            try:
                return self._take(listener, pieces, offset, limit, proof)
            except BaseException:
                pieces.begin("")
                self._close()
                raise

    def prove(self, partition: int, offset: int, proof: str) -> Batch:
        """Whether the record before `offset` is the one; nothing is read."""
        with self._moved:
            try:
                return self._read(partition, offset, 0, proof)
            except BaseException:
                self._close()
                raise

    def leave(self, listener: "Listener") -> None:
        with self._moved:
            self._seen.pop(listener, None)
            for pieces in self._pieces.values():
                pieces.at.pop(listener, None)
            if not self._seen:
                self._pieces.clear()
                self._close()
            self._moved.notify_all()

    def _take(
        self, listener: "Listener", pieces: _Pieces, offset: int, limit: int, proof: str
    ) -> list[_Piece]:
        self._seen[listener], pieces.at[listener] = time.monotonic(), offset
        self._forget(pieces)
        self._moved.notify_all()
        self._make_way(pieces, offset)
        identity = self.log.identity(self.topic)
        if pieces.identity != identity or (pieces.read and offset > pieces.end):
            pieces.begin(identity)
        if pieces.read and not pieces.has(offset):
            return []
        self._read_on(pieces, offset, offset + limit, proof)
        return [
            piece
            for piece in pieces.read
            if piece.batch.next > offset and piece.batch.next <= offset + limit
        ]

    def _forget(self, pieces: _Pieces) -> None:
        """What all have passed, but for the last of it: it knows what the next follows on."""
        while len(pieces.read) > 1 and not self._waited_for(pieces, pieces.read[0].batch.next):
            pieces.drop()

    def _waited_for(self, pieces: _Pieces, following: int) -> bool:
        """Whether somebody may yet take from here what is before `following`."""
        near, since = pieces.first - self._held_max, time.monotonic() - _STANDS_SECONDS
        return any(
            near <= pieces.at.get(listener, pieces.first) < following and seen >= since
            for listener, seen in self._seen.items()
        )

    def _make_way(self, pieces: _Pieces, offset: int) -> None:
        """For one more piece, if that is what is asked for. Who has a backlog waits for those that
        it is to go along with; what is new waits for nobody.
        """
        until = time.monotonic() + _WAIT_SECONDS
        while pieces.records >= self._held_max and pieces.has(offset) and offset == pieces.end:
            behind = self.log.end(self.topic, pieces.partition) - offset
            left = until - time.monotonic()
            waited_for = self._waited_for(pieces, pieces.read[0].batch.next)
            if behind < self._piece or left <= 0 or not waited_for:
                pieces.drop()
            else:
                self._moved.wait(left)
                self._forget(pieces)

    def _read_on(self, pieces: _Pieces, offset: int, stop: int, proof: str) -> None:
        at, before = (pieces.end, pieces.read[-1].batch.proof) if pieces.read else (offset, proof)
        while at < min(stop, self.log.end(self.topic, pieces.partition)):
            batch = self._read(pieces.partition, at, min(self._piece, stop - at), before)
            if batch.next == at:
                return
            records = self._decoded(pieces.partition, batch)
            pieces.add(_Piece(before, batch._replace(records=records)))
            at, before = batch.next, batch.proof

    def _read(self, partition: int, offset: int, limit: int, proof: str) -> Batch:
        if self._source is None:
            self._source = self.log.reader()
        return self._source.read(self.topic, partition, offset, limit, proof)

    def _decoded(self, partition: int, batch: Batch) -> Sequence[Any] | None:
        """None where one of them is no event: each projection says so for itself."""
        try:
            projects, events = self._codec.read_all(batch.payloads)
        except Undecodable:
            return None
        numbers = record_numbers(partition, batch.offsets)
        return list(map(Record, numbers, projects, batch.times_ms, events))

    def _close(self) -> None:
        """The next read gets a reader of its own."""
        if self._source is not None:
            source, self._source = self._source, None
            source.close()


class Listener:
    """The reader of one projection; for one thread at a time."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._own: Reader | None = None

    def read(
        self, topic: str, partition: int, offset: int, limit: int, proof: str | None = None
    ) -> Batch:
        """Perhaps less than there is, where others read on from elsewhere."""
        if proof is None:
            return self.alone().read(topic, partition, offset, limit, proof)
        if limit == 0 or self._reading.log.end(topic, partition) <= offset:
            return self._reading.prove(partition, offset, proof)
        pieces = self._reading.take(self, partition, offset, limit, proof)
        if not pieces:
            return self.alone().read(topic, partition, offset, limit, proof)
        before, first = pieces[0]
        if first.first < offset or before != proof:
            self.alone().read(topic, partition, offset, 0, proof)
        elif self._own is not None:
            self._own.close()
            self._own = None
        return _joined([_cut(first, offset), *(piece.batch for piece in pieces[1:])])

    def close(self) -> None:
        self._reading.leave(self)
        if self._own is not None:
            self._own.close()

    def alone(self) -> Reader:
        """What reads for this projection only."""
        if self._own is None:
            self._own = self._reading.log.reader()
        return self._own


def exact(reader: Reader) -> Reader:
    """What reads as much as it is asked for."""
    return reader.alone() if isinstance(reader, Listener) else reader


def readings(
    log: Follow, projections: Collection[Projection], codec: Callable[[Topic[Any]], Codec[Any]]
) -> dict[str, Reading]:
    """One for each topic that they are of, by its name."""
    topics = {projection.topic.name: projection.topic for projection in projections}
    return {
        name: Reading(
            log, name, codec(topic),
            [p.block_records for p in projections if p.topic.name == name],
        )
        for name, topic in topics.items()
    }  # fmt: skip


def _cut(batch: Batch, offset: int) -> Batch:
    """Without what is before `offset`."""
    if batch.first >= offset:
        return batch
    skipped = sum(at < offset for at in batch.offsets)
    times = batch.times_ms[skipped:]
    return batch._replace(
        first=offset,
        offsets=batch.offsets[skipped:],
        payloads=batch.payloads[skipped:],
        appended_at_ms=times[0] if times else batch.appended_at_ms,
        damages=tuple(
            damage._replace(first=max(damage.first, offset))
            for damage in batch.damages
            if damage.next > offset
        ),
        taken_ms=times,
        origins=batch.origins[skipped:],
        records=None if batch.records is None else batch.records[skipped:],
    )


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    decoded = [batch.records for batch in batches if batch.records is not None]
    return Batch(
        first=batches[0].first,
        next=batches[-1].next,
        offsets=list(chain.from_iterable(batch.offsets for batch in batches)),
        payloads=list(chain.from_iterable(batch.payloads for batch in batches)),
        appended_at_ms=batches[0].appended_at_ms,
        damages=_merged(chain.from_iterable(batch.damages for batch in batches)),
        taken_ms=list(chain.from_iterable(batch.times_ms for batch in batches)),
        proof=batches[-1].proof,
        records=list(chain.from_iterable(decoded)) if len(decoded) == len(batches) else None,
    )


def _merged(damages: "chain[Damage]") -> tuple[Damage, ...]:
    """One that goes on in the next piece is one."""
    found: list[Damage] = []
    for damage in damages:
        if found and found[-1].next == damage.first and found[-1].reason == damage.reason:
            found[-1] = found[-1]._replace(next=damage.next)
        else:
            found.append(damage)
    return tuple(found)
