"""Records into events: what cannot be read, or projected, is parked, and the rest goes on."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from penstock.core.events import Event, Undecodable
from penstock.core.log import Batch, record_number, record_numbers, record_place
from penstock.core.projection import Projection
from penstock.core.projection.parking import DeadLetter, damaged
from penstock.core.projection.stores import Stores

T = TypeVar("T")


class Decoding(Generic[T]):
    """Records into events, the undecodable ones parked."""

    def __init__(self, projection: Projection, stores: Stores) -> None:
        self._projection = projection
        self._stores = stores
        self._codec = stores.codec(projection.topic)

    def events(self, partition: int, batch: Batch) -> tuple[list[Event], Sequence[int], int]:
        """Events, their record numbers, and how many records were parked."""
        name, topic = self._projection.name, self._projection.topic.name
        parked = 0
        for damage in batch.damages:
            letter = damaged(name, topic, partition, damage, self._stores.clock.now_ms())
            self._stores.parking.park(letter)
            parked += letter.records
        decode = self._codec.decode
        try:
            events = [decode(payload) for payload in batch.payloads]
            return events, record_numbers(partition, batch.offsets), parked
        except Undecodable:
            pass
        events = []
        numbers: list[int] = []
        for offset, payload in zip(batch.offsets, batch.payloads, strict=True):
            try:
                events.append(decode(payload))
                numbers.append(record_number(partition, offset))
            except Undecodable as error:
                self.park(partition, offset, payload, "undecodable", error)
                parked += 1
        return events, numbers, parked

    def event(self, payload: bytes) -> Event:
        event: Event = self._codec.decode(payload)
        return event

    def park(
        self, partition: int, offset: int, payload: bytes, code: str, error: Exception
    ) -> None:
        self._stores.parking.park(
            DeadLetter(
                projection=self._projection.name,
                topic=self._projection.topic.name,
                partition=partition,
                offset=offset,
                next=offset + 1,
                code=code,
                reason=f"{type(error).__name__}: {error}",
                payload=payload,
                attempts=1,
                at_ms=self._stores.clock.now_ms(),
            )
        )

    def isolate(
        self,
        partition: int,
        events: Sequence[Event],
        numbers: Sequence[int],
        batch: Batch,
        project: Callable[[Event, int], None],
    ) -> int:
        """Project one by one; park those whose projection raises. Returns how many."""
        parked = 0
        payloads = dict(zip(batch.offsets, batch.payloads, strict=True))
        for event, number in zip(events, numbers, strict=True):
            try:
                project(event, number)
            except Exception as error:  # noqa: BLE001 - whatever a projection raises is poison
                _, offset = record_place(number)
                self.park(partition, offset, payloads[offset], "rows", error)
                parked += 1
        return parked
