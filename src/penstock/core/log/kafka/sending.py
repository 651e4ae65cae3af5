"""What is on its way to the brokers: records of one partition go, and arrive, together.

The producer keeps their order and repeats what got no answer, without doubling it; so when the last
record of a part has arrived, all before it have. Only the last one reports, and the first of an
append, whose offset is in the receipt: a report per record would cost more than the sending.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from penstock.core.log import Append, Done, Receipt, partition_of
from penstock.core.log.kafka import repeats

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

UNKNOWN = Receipt(partition=-1, first=-2)


class Submission:
    """What somebody waits for."""

    __slots__ = ("appends", "done", "left", "parts", "receipts", "records", "since", "size")

    def __init__(self, appends: Sequence[Append], done: Done, since: float) -> None:
        self.appends = appends
        self.done = done
        self.since = since
        self.records = self.size = 0
        for append in appends:
            self.records += len(append.payloads)
            self.size += sum(map(len, append.payloads))
        self.receipts = [UNKNOWN] * len(appends)
        self.parts: list[Part] = []
        self.left = 0
        """Parts that have not arrived."""


class Stretch:
    """Records of the spool that the producer has."""

    __slots__ = ("first", "left", "lows", "next", "since", "told")

    def __init__(
        self, first: int, following: int, lows: Sequence[int], since: float, *, told: bool
    ) -> None:
        self.first = first
        self.next = following
        self.told = told
        """Whether they are acknowledged; if not, they will be when they arrive."""
        self.lows = lows
        """What the producer had delivered before: these records lie behind that."""
        self.since = since
        self.left = 0


class Part:
    """Records for one partition, in their order."""

    __slots__ = (
        "append", "arrived", "at_ms", "ids", "keys", "origins", "partition", "payloads", "spooled",
        "stretch", "submission", "topic",
    )  # fmt: skip

    def __init__(self, topic: str, partition: int, at_ms: int) -> None:
        self.topic = topic
        self.partition = partition
        self.at_ms = at_ms
        self.ids: list[bytes] = []
        self.keys: list[bytes | None] = []
        self.payloads: list[bytes] = []
        self.origins: list[bytes] = []
        """Headers of what was made of other records; else none."""
        self.append = -1
        """Of which append of the submission it holds the first record."""
        self.submission: Submission | None = None
        self.stretch: Stretch | None = None
        self.arrived = False
        self.spooled = False
        """The spool has it, and has accounted for it."""

    @property
    def is_unsafe(self) -> bool:
        """Neither the brokers nor the spool are known to have it."""
        return not self.arrived and self.stretch is None

    def begun(self, error: "KafkaError | None", message: "Message") -> None:
        """The append's first record has arrived."""
        if error is None and self.submission is not None:
            receipt = Receipt(self.partition, message.offset() or 0)
            self.submission.receipts[self.append] = receipt


def divide(append: Append, partitions: int, turn: int, at_ms: int) -> list[Part]:
    """By partition: that of its key, or the one whose turn it is."""
    payloads, topic = append.payloads, append.topic
    origins = repeats.headers(append)
    if not append.keys:
        alone = Part(topic, turn % partitions, at_ms)
        alone.payloads = list(payloads)
        alone.keys = [None] * len(payloads)
        alone.origins = list(origins)
        return [alone] if payloads else []
    parts: dict[int, Part] = {}
    for n, (key, payload) in enumerate(zip(append.keys, payloads, strict=True)):
        partition = partition_of(key, partitions)
        part = parts.get(partition)
        if part is None:
            part = parts[partition] = Part(topic, partition, at_ms)
        part.payloads.append(payload)
        part.keys.append(key)
        if origins:
            part.origins.append(origins[n])
    return list(parts.values())


Report = Callable[[Part, int], None]
"""A part has arrived; the offset of its last record."""
