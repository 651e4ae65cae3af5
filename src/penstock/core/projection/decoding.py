"""Records into events: what cannot be read or projected becomes a dead letter, the rest goes on."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from penstock.core.events import Undecodable
from penstock.core.log import Batch, record_number, record_numbers, record_place
from penstock.core.projection import Projection, Record
from penstock.core.projection.dead_letters import GIVEN_UP, GIVEN_UP_REASON, DeadLetter, damaged
from penstock.core.projection.stores import Stores

T = TypeVar("T")


class Decoded(NamedTuple):
    records: Sequence[Record[Any]]
    dead_lettered: int
    given_up: int


class Decoding(Generic[T]):
    """Records into events, the undecodable ones put aside."""

    def __init__(self, projection: Projection, stores: Stores, *, into: str) -> None:
        """`into`: what is filled, whose dead letters they are; a shadow of it maybe."""
        self._into = into
        self._name = projection.name
        self._topic = projection.topic.name
        self._stores = stores
        self._codec = stores.codec(projection.topic)
        self._given_up: dict[int, frozenset[int]] = {}

    def resume(self, partition: int) -> None:
        self._given_up[partition] = self._stores.dead_letters.given_up(self._name, partition)

    def records(self, partition: int, batch: Batch) -> Decoded:
        known = self._given_up.get(partition, ())
        given_up = {offset for offset in known if batch.first <= offset < batch.next}
        dead_lettered = 0
        for damage in batch.damages:
            letter = damaged(
                self._into, self._topic, partition, damage, self._stores.clock.now_ms()
            )
            self._stores.dead_letters.add(letter)
            dead_lettered += letter.records
        if not given_up and batch.records is not None:
            return Decoded(batch.records, dead_lettered, 0)
        if not given_up:
            with suppress(Undecodable):
                projects, events = self._codec.read_all(batch.payloads)
                numbers = record_numbers(partition, batch.offsets)
                records = list(map(Record, numbers, projects, batch.times_ms, events))
                return Decoded(records, dead_lettered, 0)
        records = []
        for offset, payload, at_ms in zip(
            batch.offsets, batch.payloads, batch.times_ms, strict=True
        ):
            if offset in given_up:
                self.dead_letter(partition, offset, batch, GIVEN_UP, GIVEN_UP_REASON)
                continue
            try:
                project, event = self._codec.read(payload)
            except Undecodable as error:
                self.dead_letter(partition, offset, batch, "undecodable", told_of(error))
                dead_lettered += 1
            else:
                number = record_number(partition, offset)
                records.append(Record(number, project, at_ms, event))
        return Decoded(records, dead_lettered, len(given_up))

    def record(self, letter: DeadLetter) -> Record[Any]:
        """The record of a dead letter. Raise `Undecodable`."""
        number = record_number(letter.partition, letter.offset)
        project, event = self._codec.read(letter.payload)
        return Record(number, project, letter.taken_ms, event)

    def dead_letter(
        self, partition: int, offset: int, batch: Batch, code: str, reason: str
    ) -> None:
        at = bisect_left(batch.offsets, offset)
        self._stores.dead_letters.add(
            DeadLetter(
                projection=self._into,
                topic=self._topic,
                partition=partition,
                offset=offset,
                next=offset + 1,
                code=code,
                reason=reason,
                payload=batch.payloads[at],
                attempts=1,
                at_ms=self._stores.clock.now_ms(),
                taken_ms=batch.times_ms[at],
            )
        )

    def isolate(
        self,
        partition: int,
        decoded: Decoded,
        batch: Batch,
        project: Callable[[Record[Any]], None],
    ) -> int:
        """Project one by one; dead-letter those whose projection raises. Returns how many."""
        dead_lettered = 0
        for record in decoded.records:
            try:
                project(record)
            except Exception as error:  # noqa: BLE001 - whatever a projection raises is poison
                _, offset = record_place(record.number)
                self.dead_letter(partition, offset, batch, "rows", told_of(error))
                dead_lettered += 1
        return dead_lettered


def told_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
