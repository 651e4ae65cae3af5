"""The log: the one place where an event is born, and the only buffer there is.

What can be lost? Nothing that was acknowledged. `done` is called with receipts only after the
records are on disk (the file is synced, or every in-sync replica has them); whatever happens to the
process after that, `read` returns them, once, at the offsets of the receipt, in that order, for
ever. What was not acknowledged may be there or not. A block that the disk damaged afterwards is
found by its checksum and reported as `Damage` with its offsets, never skipped in silence.

Records of one topic partition have offsets 0, 1, 2, …; the order of offsets is the order of
acceptance. The embedded engine has one partition per topic.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from penstock.core.errors import PenstockError


class Append(NamedTuple):
    """What one request adds to one topic: all of it, or nothing."""

    topic: str
    payloads: Sequence[bytes]
    key: bytes = b""
    """Records of one key keep their order, on every engine."""
    idempotency_key: str = ""
    """A repeat within the window stores nothing and gets `DUPLICATE`; empty: no such check."""
    rejected: int = 0
    """Events of the same request that were refused, for the ledger."""


class Receipt(NamedTuple):
    partition: int
    first: int
    """Offset of the first of the append's records; -1 for a duplicate."""


DUPLICATE = Receipt(partition=-1, first=-1)

Done = Callable[[Sequence[Receipt] | PenstockError], None]
"""Called once per submission, on a thread of the log; it must not block."""


class Damage(NamedTuple):
    """Offsets whose records cannot be read any more, and why."""

    first: int
    next: int
    reason: str


class Batch(NamedTuple):
    """Records `first <= offset < next` of one partition, but for the damaged ones."""

    first: int
    next: int
    offsets: Sequence[int]
    payloads: Sequence[bytes]
    appended_at_ms: int
    """When the oldest of them was stored; 0 for an empty batch."""
    damages: tuple[Damage, ...] = ()


class Minute(NamedTuple):
    """One minute's account of one topic: received = stored + duplicate + rejected."""

    minute: int
    """Wall-clock minutes since the epoch."""
    received: int
    stored: int
    duplicate: int
    rejected: int


class Reader(Protocol):
    """Reads on behalf of one thread."""

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Batch:
        """At most `limit` records from `offset` on; empty when there are none yet."""
        ...

    def close(self) -> None: ...


class Follow(Protocol):
    """The reading half: all that a projection needs."""

    @property
    def identity(self) -> str:
        """Names this very log; offsets mean nothing in another one."""
        ...

    def reader(self) -> Reader: ...

    def start(self, topic: str, partition: int) -> int:
        """The oldest offset still kept."""
        ...

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will get. Cheap: consumers ask all the time."""
        ...

    def listen(self, topic: str, wake: Callable[[], None]) -> None:
        """Call `wake`, which must not block, soon after records were added to the topic."""
        ...

    def ledger(self, topic: str, since_minute: int) -> list[Minute]: ...

    def bytes_on_disk(self) -> int: ...

    def close(self) -> None: ...


class Log(Follow, Protocol):
    def submit(self, appends: Sequence[Append], done: Done) -> None:
        """Add the appends, in this order, and tell `done`; never blocks on the disk.

        Raise `Overloaded` when too much is waiting already. `done` gets `NotReady` when the records
        could not be made durable; then none of them is stored.
        """
        ...

    def tally(self, topic: str, *, rejected: int) -> None:
        """Account for events that were refused before they could become an append."""
        ...

    def failure(self) -> str:
        """Why nothing can be made durable just now; empty when all is well."""
        ...

    @property
    def commits(self) -> int:
        """Group commits since the start."""
        ...
