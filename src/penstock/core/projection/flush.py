"""Flush policies: when a projection takes what has gathered in the log since its last block.

Nothing is buffered: the backlog is a range of the log. So a policy only chooses moments, and every
policy has a longest wait, because freshness must not depend on more events coming.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Backlog:
    records: int
    bytes: int
    """Estimated from the records read so far."""
    age_seconds: float
    """How long the oldest of them has waited."""
    cost_seconds: float
    """How long the last block took to go in."""


@dataclass(frozen=True)
class Flush:
    """Use the named constructors. Whatever the policy, `block_records` bounds a block, and a whole
    block is due at once.
    """

    wait_seconds: float
    records: int | None = None
    bytes: int | None = None
    share: float | None = None
    block_records: int = 50_000

    @classmethod
    def immediate(cls) -> "Flush":
        """As soon as there is something."""
        return cls(wait_seconds=0.0)

    @classmethod
    def time(cls, seconds: float) -> "Flush":
        """When the oldest record has waited so long."""
        return cls(wait_seconds=seconds)

    @classmethod
    def size(cls, records: int, *, wait_seconds: float = 1.0) -> "Flush":
        """When so many records have gathered, at the latest after the wait."""
        return cls(wait_seconds=wait_seconds, records=records)

    @classmethod
    def hybrid(cls, records: int, seconds: float) -> "Flush":
        """Whichever comes first."""
        return cls(wait_seconds=seconds, records=records)

    @classmethod
    def memory(cls, size: int, *, wait_seconds: float = 1.0) -> "Flush":
        """When about so many bytes have gathered, at the latest after the wait."""
        return cls(wait_seconds=wait_seconds, bytes=size)

    @classmethod
    def adaptive(cls, *, share: float = 0.2, wait_seconds: float = 0.5) -> "Flush":
        """As often as keeps inserting below this share of the time, at the latest after the wait:
        fresh when blocks are cheap, large blocks when they are dear.
        """
        return cls(wait_seconds=wait_seconds, share=share)

    @property
    def gathers(self) -> bool:
        """Whether more records may make a backlog due before its time."""
        return self.records is not None or self.bytes is not None

    def wait(self, backlog: Backlog) -> float:
        """Seconds until the backlog is due; 0.0: now."""
        if backlog.records >= min(self.block_records, self.records or self.block_records):
            return 0.0
        if self.bytes is not None and backlog.bytes >= self.bytes:
            return 0.0
        wait = self.wait_seconds
        if self.share is not None:
            wait = min(wait, backlog.cost_seconds / self.share)
        return max(0.0, wait - backlog.age_seconds)
