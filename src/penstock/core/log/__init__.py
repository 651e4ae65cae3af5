"""The log: the one place where an event is born, and the only buffer there is.

What can be lost? Nothing that was acknowledged. `done` is called with receipts only after the
records are on disk (the file is synced, or every in-sync replica has them); whatever happens to the
process after that, `read` returns them, once, at the offsets of the receipt, in that order, for
as long as their topic is kept. What was not acknowledged may be there or not. A block that the disk
damaged afterwards is found by its checksum and reported as `Damage` with its offsets, and so is
what was to be kept no longer: neither is skipped in silence.

Records of one topic partition have ascending offsets, 0, 1, 2, … on the embedded engine; the order
of offsets is the order of acceptance. The embedded engine has one partition per topic; on others
the key of a record chooses its partition.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from penstock.core.errors import PenstockError


class Origin(NamedTuple):
    """What an append's records were made from, which makes a repeat of them known, for ever."""

    source: str
    """Who made them; its name."""
    partition: int
    numbers: Sequence[int]
    """One for each payload, never falling: of the record of the source that it was made from. All
    payloads of one number come in one append.
    """
    attempt: bytes = b""
    """Where another try may say something else under the same number, its name: of the first that
    comes the log has all, and of others nothing.
    """
    alone: bool = False
    """Whether nothing else comes of this source: it need not be remembered for ever."""


class Made(NamedTuple):
    """What one record was made from, where the log keeps that beside it."""

    source: str
    partition: int
    number: int
    nth: int
    """Which it is of all that its topic has of this number."""


class Append(NamedTuple):
    """What one request adds to one topic: all of it, or nothing."""

    topic: str
    payloads: Sequence[bytes]
    keys: Sequence[bytes] = ()
    """One for each payload, or none: records of one key keep their order, on every engine."""
    idempotency_key: str = ""
    """A repeat within the window stores nothing and gets `DUPLICATE`; empty: no such check."""
    rejected: int = 0
    """Events of the same request that were refused, for the ledger."""
    fingerprint: bytes = b""
    """What was asked under the key: with another one within the window nothing is stored, and the
    receipt is `REUSED`. Empty, here or there: not known, and taken for the same.
    """
    answer: bytes = b""
    """What repeats of this append are to be told; they find it in their receipt."""
    origin: Origin | None = None
    """Only payloads whose numbers are above the last that the topic took from this partition of the
    source are ever read. Embedded engines store no others, which count as no event that was
    received; the receipt is that of the first that was stored, or `DUPLICATE`. On brokers all are
    stored, and readers pass over the others: the receipt tells nothing of that.
    """
    taken_ms: int = 0
    """When another log took its records, of which this one is to be a copy; 0: now."""
    follows: bool = False
    """It is of the request of the append before it in the submission, and stored only if that is;
    if not, it has that one's receipt.
    """


class Receipt(NamedTuple):
    """Where the first of the append's records is; a negative number where that is not known."""

    partition: int
    first: int
    answer: bytes = b""
    """Of a duplicate: what the append that was stored left for it."""

    @property
    def is_duplicate(self) -> bool:
        return self[:2] == DUPLICATE[:2]

    @property
    def stored(self) -> bool:
        """Whether the append's records are in the log because of it."""
        return not self.is_duplicate and self.first != REUSED.first


DUPLICATE = Receipt(partition=-1, first=-1)
REUSED = Receipt(partition=-3, first=-3)
"""The key stands for something else; nothing was stored, and the events count as rejected."""
SPOOLED = Receipt(partition=-2, first=-2)
"""Safe on this machine's disk, and on its way to the brokers."""

Done = Callable[[Sequence[Receipt] | PenstockError], None]
"""Called once per submission, on a thread of the log; it must not block."""


FORGOTTEN = "the log keeps it no longer"
"""Why records are gone that its topic was not to keep for so long."""


class Damage(NamedTuple):
    """Offsets whose records cannot be read any more, and why."""

    first: int
    next: int
    reason: str


NO_REPEATS: Mapping[int, int | None] = MappingProxyType({})


class Batch(NamedTuple):
    """Records `first <= offset < next` of one partition, but for the damaged ones."""

    first: int
    next: int
    offsets: Sequence[int]
    payloads: Sequence[bytes]
    appended_at_ms: int
    """When the oldest of them was stored; 0 for an empty batch."""
    damages: tuple[Damage, ...] = ()
    taken_ms: Sequence[int] = ()
    """When the log took each of them; empty where it took all of them when it took the oldest."""
    proof: str = ""
    """By which the record before `next` is known again, if that was asked for and there is one."""
    origins: Sequence[Made | None] = ()
    """Of each of them; empty where that is not told."""
    before: str = ""
    """The proof that it was read behind, if it was."""
    records: Sequence[Any] | None = None
    """What somebody made of all the payloads already, for everybody who reads them."""
    repeats: Mapping[int, int | None] = NO_REPEATS
    """Of a topic whose records are unique by an id: offsets of those that repeat an earlier one,
    with its offset; None where the id cannot be told.
    """

    @property
    def times_ms(self) -> Sequence[int]:
        """When the log took each of them, by its own clock; it reads the same again."""
        return self.taken_ms or (self.appended_at_ms,) * len(self.payloads)


class Minute(NamedTuple):
    """One minute's account of one topic: received = stored + duplicate + rejected."""

    minute: int
    """Wall-clock minutes since the epoch; 0 for the sum of many."""
    received: int
    stored: int
    duplicate: int
    rejected: int


class Extent(NamedTuple):
    """Where a topic begins, and what is known of its size."""

    start: int = 0
    """The oldest number that is kept."""
    until_ms: int = 0
    """When the newest of what was trimmed had been taken."""
    trimmed_bytes: int = 0
    """In all."""
    counted: int = 0
    """Blocks that begin before are in `bytes`: all of them, but for the newest."""
    bytes: int = 0
    """Of what is kept."""

    def trimmed(self, start: int, until_ms: int, size: int) -> "Extent":
        """What begins before `start` is gone; it took `size`."""
        return Extent(
            start,
            max(self.until_ms, until_ms),
            self.trimmed_bytes + size,
            max(self.counted, start),
            max(self.bytes - size, 0) if self.counted >= start else 0,
        )


def added_up(minutes: Iterable[Minute]) -> Minute:
    columns = list(zip(*minutes, strict=True))[1:] or [()] * 4
    return Minute(0, *map(sum, columns))


class Reader(Protocol):
    """Reads on behalf of one thread."""

    def read(
        self, topic: str, partition: int, offset: int, limit: int, proof: str | None = None
    ) -> Batch:
        """At most `limit` records from `offset` on; empty when there are none yet.

        With a proof, raise `Disproved` where the log ends before `offset`, or where the record
        before it is another one; an empty proof is that of any record. Records that retention
        deleted can be neither proved nor disproved, and are believed.
        """
        ...

    def close(self) -> None: ...


class Share(Protocol):
    """One process's part of a topic, among all processes that work for the same group."""

    def commit(self, partition: int, following: int) -> None:
        """Note for the log's own tools that everything before this offset is in its store.

        The store's position is the one that counts; this never blocks and never fails.
        """
        ...

    def close(self) -> None:
        """Leave the group; the others take over. `changed` is not called any more."""
        ...


class Follow(Protocol):
    """The reading half: all that a projection needs."""

    def identity(self, topic: str) -> str:
        """Names this very topic of this very log; offsets mean nothing in another one."""
        ...

    def partitions(self, topic: str) -> int:
        """They are numbered from 0; it never changes while a process runs."""
        ...

    def share(self, group: str, topic: str, changed: Callable[[frozenset[int]], None]) -> Share:
        """Join a group: `changed` is told which partitions are this process's, at every change.

        It is called on a thread of the log, or within this very call, and may block until the work
        on partitions that are going away has ended: nobody else gets them before it returns.
        """
        ...

    def reader(self) -> Reader: ...

    def start(self, topic: str, partition: int) -> int:
        """The oldest offset still kept."""
        ...

    def extent(self, topic: str, partition: int) -> Extent:
        """The same, with what it takes; on engines that leave that to others, no more than that."""
        ...

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will get. Cheap: consumers ask all the time."""
        ...

    def listen(self, topic: str, wake: Callable[[], None]) -> None:
        """Call `wake`, which must not block, soon after records were added to the topic."""
        ...

    def ledger(self, topic: str, since_minute: int) -> list[Minute]: ...

    def totals(self, topic: str) -> Minute:
        """The whole ledger added up. Cheap, however old it is: scrapes ask all the time."""
        ...

    def failure(self) -> str:
        """Why nothing can be made durable just now, or, for one that only reads, why nothing new
        can be read; empty when all is well.
        """
        ...

    def remembers(self) -> str:
        """Why `start` and `end` are told as they were known last; empty while they are as told."""
        ...

    def bytes_on_disk(self) -> int: ...

    def close(self) -> None: ...


RECORD_BYTES_MAX = 900_000
"""Of what is to go into any log: a request to a broker is at most a million bytes, key, headers
and framing included.
"""
RECORD_BITS = 48


def record_number(partition: int, offset: int) -> int:
    """One number for a record within its topic; on one partition's records it is their order."""
    return partition << RECORD_BITS | offset


def record_numbers(partition: int, offsets: Sequence[int]) -> Sequence[int]:
    if partition == 0:
        return offsets
    return [record_number(partition, offset) for offset in offsets]


def record_place(number: int) -> tuple[int, int]:
    """Partition and offset of a record number."""
    return number >> RECORD_BITS, number & (1 << RECORD_BITS) - 1


def partition_of(key: bytes, partitions: int) -> int:
    """Where records of this key are: as librdkafka's partitioner `consistent` would have it."""
    return zlib.crc32(key) % partitions


class Whole:
    """The share of one who is alone with its log."""

    def __init__(self, partitions: int, changed: Callable[[frozenset[int]], None]) -> None:
        changed(frozenset(range(partitions)))

    def commit(self, partition: int, following: int) -> None:
        """An embedded log has no tools of its own."""

    def close(self) -> None:
        """There is nobody to take over."""


class Appender(Protocol):
    """The writing half: all that folds and schedules need."""

    def partitions(self, topic: str) -> int:
        """See `Follow`."""
        ...

    @property
    def keyed(self) -> bool:
        """Whether keys choose partitions; if not, nobody need work them out."""
        ...

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        """Add the appends, in this order, and tell `done`; never blocks on the disk.

        Raise `Overloaded` when too much is waiting already. `done` gets `NotReady` when the records
        could not be made durable; then none of them is stored, but of those with an origin perhaps
        some are, which is no matter when they are said again.
        """
        ...


class Log(Follow, Appender, Protocol):
    def tally(self, topic: str, *, rejected: int) -> None:
        """Account for events that were refused before they could become an append."""
        ...

    @property
    def commits(self) -> int:
        """Group commits since the start."""
        ...

    @property
    def idempotency_keys(self) -> int:
        """How many are remembered, or not forgotten yet. Cheap: scrapes ask all the time."""
        ...

    @property
    def spooled(self) -> int:
        """Records that were acknowledged and are on this machine's disk only, for the brokers were
        away; 0 where the log is on this disk.
        """
        ...
