"""Moving house: a log's records carried over into another, still empty one, and compared.

Every record is decoded and encoded anew as the target keeps its events, gets the key that orders it
there, and keeps its project and the time at which it was taken. Both sides are then read and
compared by count and by a sum of hashes of their events, which no order of partitions can change.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from penstock.core.errors import Misconfigured, NotReady, PenstockError
from penstock.core.events import Codec, Undecodable
from penstock.core.events.generations import generation
from penstock.core.log import Append, Batch, Follow, Log
from penstock.core.log.awaiting import stored
from penstock.core.projection import Topic
from penstock.core.projects import order_of

Progress = Callable[[int, int], None]
"""Records done, records in all; each record counts twice: copied, and compared."""

_CHUNK_RECORDS = 5_000
_MASK = (1 << 64) - 1
_LOOK_SECONDS = 0.05
_STALLED_SECONDS = 60.0

_canonical = msgspec.msgpack.Encoder().encode


class Sum(NamedTuple):
    """What a topic holds, whatever its partitions."""

    records: int = 0
    checksum: int = 0
    damaged: int = 0

    def __str__(self) -> str:
        return f"{self.records} records, checksum {self.checksum:016x}"


class Copied(NamedTuple):
    topic: str
    source: Sum
    target: Sum
    renumbered: bool
    """Whether records have other numbers in the target, so that what was made of them is not known
    by these any more."""

    @property
    def equal(self) -> bool:
        return self.source[:2] == self.target[:2]


class Copy:
    """One copy of some topics from a log that nobody writes to."""

    def __init__(
        self,
        source: Follow,
        target: Log,
        topics: Sequence[Topic[Any]],
        *,
        read: Callable[[Topic[Any]], Codec[Any]] = Topic.codec,
        write: Callable[[Topic[Any]], Codec[Any]] = Topic.codec,
    ) -> None:
        """`read` and `write` are what the two sides' records are made with.

        Raise `Misconfigured` when the target holds something already.
        """
        self._source = source
        self._target = target
        self._topics = topics
        self._read = read
        self._write = write
        for topic in topics:
            if held := _extent(target, topic.name):
                raise Misconfigured(
                    f"the topic {topic.name} of the target holds {held} records already; a copy "
                    "goes into an empty log: name another one with --to"
                )

    def run(self, show: Progress) -> list[Copied]:
        """Copy and compare.

        Blocks until done. Raise `NotReady` when the target cannot take the records.
        """
        total = 2 * sum(_extent(self._source, topic.name) for topic in self._topics)
        done = 0

        def move(records: int) -> None:
            nonlocal done
            done += records
            show(done, total)

        found = []
        for topic in self._topics:
            source = self._carry(topic, move)
            self._await(topic.name, source.records)
            target = _summed(self._target, topic, self._write(topic), move)
            found.append(Copied(topic.name, source, target, self._renumbered(topic, source)))
        return found

    def _carry(self, topic: Topic[Any], move: Callable[[int], None]) -> Sum:
        codec, write, total = self._read(topic), self._write(topic), Sum()
        with closing(self._source.reader()) as reader:
            for partition in range(self._source.partitions(topic.name)):
                position, proof = self._source.start(topic.name, partition), ""
                end = self._source.end(topic.name, partition)
                while position < end:
                    batch = reader.read(topic.name, partition, position, _CHUNK_RECORDS, proof)
                    _submit(self._target, _appends(topic, codec, write, batch))
                    total = _added(total, codec, batch.payloads)
                    lost = sum(damage.next - damage.first for damage in batch.damages)
                    total = total._replace(damaged=total.damaged + lost)
                    move(batch.next - position)
                    position, proof = batch.next, batch.proof
        return total

    def _renumbered(self, topic: Topic[Any], carried: Sum) -> bool:
        """Where nothing is missing, the records of one partition begin and follow as they did."""
        one = self._source.partitions(topic.name) == self._target.partitions(topic.name) == 1
        return not one or carried.damaged > 0 or self._source.start(topic.name, 0) > 0

    def _await(self, topic: str, records: int) -> None:
        """Before it is read: brokers that were slow get the last records later than they were
        acknowledged, and tell later still where they end.
        """
        reached, since = -1, time.monotonic()
        while (there := _extent(self._target, topic)) < records or self._target.spooled:
            if there > reached:
                reached, since = there, time.monotonic()
            if time.monotonic() - since > _STALLED_SECONDS:
                raise NotReady(
                    f"the brokers have {there} of {records} records of {topic}, and get no more; "
                    "see to them, remove these topics and the spool.db of the data folder, and "
                    "copy again"
                )
            time.sleep(_LOOK_SECONDS)


def _appends(
    topic: Topic[Any], codec: Codec[Any], write: Codec[Any], batch: Batch
) -> Iterator[Append]:
    """One for all that were taken together; that is their time in the target, too."""
    taken = zip(batch.times_ms, batch.payloads, strict=True)
    for at_ms, records in groupby(taken, key=itemgetter(0)):
        append = _append(topic, codec, write, [payload for _, payload in records])
        yield append._replace(taken_ms=at_ms)


def _append(
    topic: Topic[Any],
    codec: Codec[Any],
    write: Codec[Any],
    payloads: Sequence[bytes],
) -> Append:
    """What cannot be decoded goes over as it is: it is somebody's dead letter."""
    made: list[bytes] = []
    keys: list[bytes] = []
    for payload in payloads:
        try:
            project, event = codec.read(payload)
            made.append(write.of(project, generation(payload))(event))
            keys.append(order_of(project, topic.key(event)))
        except Undecodable:
            made.append(payload)
            keys.append(b"")
    return Append(topic.name, made, keys)


def _submit(target: Log, appends: Iterable[Append]) -> None:
    submission = list(appends)
    if not submission:
        return
    try:
        stored(target, submission)
    except PenstockError as error:
        raise NotReady(f"copying into {submission[0].topic}: {error}") from error


def _summed(log: Follow, topic: Topic[Any], codec: Codec[Any], move: Callable[[int], None]) -> Sum:
    total = Sum()
    with closing(log.reader()) as reader:
        for partition in range(log.partitions(topic.name)):
            position, proof = log.start(topic.name, partition), ""
            end = log.end(topic.name, partition)
            while position < end:
                batch = reader.read(topic.name, partition, position, _CHUNK_RECORDS, proof)
                total = _added(total, codec, batch.payloads)
                move(len(batch.payloads))
                position, proof = batch.next, batch.proof
    return total


def _added(total: Sum, codec: Codec[Any], payloads: Sequence[bytes]) -> Sum:
    checksum = total.checksum
    for payload in payloads:
        spelled = payload
        with suppress(Undecodable):
            spelled = _canonical(codec.read(payload))
        checksum += int.from_bytes(hashlib.blake2b(spelled, digest_size=8).digest())
    return total._replace(records=total.records + len(payloads), checksum=checksum & _MASK)


def _extent(log: Follow, topic: str) -> int:
    return sum(log.end(topic, p) - log.start(topic, p) for p in range(log.partitions(topic)))
