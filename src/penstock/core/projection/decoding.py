"""Records into events: what cannot be read or projected becomes a dead letter, the rest goes on."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from penstock.core.errors import told_of
from penstock.core.events import Undecodable
from penstock.core.log import Batch, record_number, record_numbers, record_place
from penstock.core.projection import Projection, Record
from penstock.core.projection.dead_letters import GIVEN_UP, GIVEN_UP_REASON, DeadLetter, damaged
from penstock.core.projection.ids import id_of
from penstock.core.projection.stores import Stores

T = TypeVar("T")


class Decoded(NamedTuple):
    records: Sequence[Record[Any]]
    dead_lettered: int
    left_out: int
    """Repeats, and what was given up."""


class Decoding(Generic[T]):
    """Records into events, the undecodable ones put aside."""

    def __init__(self, projection: Projection, stores: Stores, *, into: str) -> None:
        """`into`: what is filled, whose dead letters they are; a shadow of it maybe."""
        self._into = into
        self._name = projection.name
        self._topic = projection.topic.name
        self._stores = stores
        self._codec = stores.codec(projection.topic)
        self._unique = projection.topic.unique
        self._given_up: dict[int, frozenset[int]] = {}
        self.reasons: dict[int, str] = {}
        """By partition, why the first dead letter of its newest batch is one."""

    def resume(self, partition: int) -> None:
        self._given_up[partition] = self._stores.dead_letters.given_up(self._name, partition)

    def records(self, partition: int, batch: Batch) -> Decoded:
        known = self._given_up.get(partition, ())
        given_up = {offset for offset in known if batch.first <= offset < batch.next}
        self.reasons.pop(partition, None)
        dead_lettered = 0
        for damage in batch.damages:
            letter = damaged(
                self._into, self._topic, partition, damage, self._stores.clock.now_ms()
            )
            self._stores.dead_letters.add(letter)
            self.reasons.setdefault(partition, letter.reason)
            dead_lettered += letter.records
        if not given_up and not batch.repeats:
            if batch.records is not None:
                return Decoded(batch.records, dead_lettered, 0)
            with suppress(Undecodable):
                projects, events = self._codec.read_all(batch.payloads)
                numbers = record_numbers(partition, batch.offsets)
                records = list(map(Record, numbers, projects, batch.times_ms, events))
                return Decoded(records, dead_lettered, 0)
        return self._apart(partition, batch, given_up, dead_lettered)

    def _apart(
        self, partition: int, batch: Batch, given_up: Collection[int], dead_lettered: int
    ) -> Decoded:
        """One by one: some are to be left out, or are no events."""
        records, repeats, left_out = list[Record[Any]](), batch.repeats, 0
        for at, offset in enumerate(batch.offsets):
            if offset in given_up:
                self.dead_letter(partition, offset, batch, GIVEN_UP, GIVEN_UP_REASON)
                left_out += 1
            elif offset in repeats and repeats[offset] is not None:
                left_out += 1
            elif (record := self._one(partition, batch, at)) is None:
                dead_lettered += 1
            else:
                records.append(record)
        return Decoded(records, dead_lettered, left_out)

    def _one(self, partition: int, batch: Batch, at: int) -> Record[Any] | None:
        """None where it has become a dead letter."""
        offset = batch.offsets[at]
        if batch.records is not None:
            record: Record[Any] = batch.records[at]
        else:
            try:
                project, event = self._codec.read(batch.payloads[at])
            except Undecodable as error:
                self.dead_letter(partition, offset, batch, "undecodable", told_of(error))
                return None
            number = record_number(partition, offset)
            record = Record(number, project, batch.times_ms[at], event)
        if offset in batch.repeats:
            try:
                self._told_id(record)
            except Exception as error:  # noqa: BLE001 - whatever it raises is poison
                self.dead_letter(partition, offset, batch, "unique", raised(error))
                return None
        return record

    def _told_id(self, record: Record[Any]) -> None:
        """Raise where the id cannot be told of a record, as it could not when it was asked."""
        if self._unique is not None:
            id_of(self._unique, record.project, record.event)

    def record(self, letter: DeadLetter) -> Record[Any]:
        """The record of a dead letter. Raise `Undecodable`, and what its id raises."""
        number = record_number(letter.partition, letter.offset)
        project, event = self._codec.read(letter.payload)
        record = Record(number, project, letter.taken_ms, event)
        if letter.code == "unique":
            self._told_id(record)
        return record

    def dead_letter(
        self, partition: int, offset: int, batch: Batch, code: str, reason: str
    ) -> None:
        at = bisect_left(batch.offsets, offset)
        if code != GIVEN_UP:  # it was told when it was
            self.reasons.setdefault(partition, reason)
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
                self.dead_letter(partition, offset, batch, "rows", raised(error))
                dead_lettered += 1
        return dead_lettered


def raised(error: Exception) -> str:
    """The same of what an application's function raised, and where: by file and line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return told_of(error)
    file = "/".join(Path(trace.tb_frame.f_code.co_filename).parts[-2:])
    return f"{told_of(error)} ({file}:{trace.tb_lineno})"
