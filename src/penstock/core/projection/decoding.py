"""Records into events: what cannot be read or projected becomes a dead letter, the rest goes on."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from penstock.core.events import Event, Undecodable
from penstock.core.log import Batch, record_number, record_numbers, record_place
from penstock.core.projection import Projection
from penstock.core.projection.dead_letters import GIVEN_UP, GIVEN_UP_REASON, DeadLetter, damaged
from penstock.core.projection.stores import Stores

T = TypeVar("T")


class Decoded(NamedTuple):
    events: list[Event]
    numbers: Sequence[int]
    times_ms: Sequence[int]
    """When the log took each of them."""
    dead_lettered: int
    given_up: int


class Decoding(Generic[T]):
    """Records into events, the undecodable ones put aside."""

    def __init__(self, projection: Projection, stores: Stores, *, of: str) -> None:
        """`of`: the projection's own name, also where a shadow of it is filled."""
        self._projection = projection
        self._stores = stores
        self._of = of
        self._codec = stores.codec(projection.topic)
        self._given_up: dict[int, frozenset[int]] = {}

    def resume(self, partition: int) -> None:
        self._given_up[partition] = self._stores.dead_letters.given_up(self._of, partition)

    def events(self, partition: int, batch: Batch) -> Decoded:
        name, topic = self._projection.name, self._projection.topic.name
        known = self._given_up.get(partition, ())
        given_up = {offset for offset in known if batch.first <= offset < batch.next}
        dead_lettered = 0
        for damage in batch.damages:
            letter = damaged(name, topic, partition, damage, self._stores.clock.now_ms())
            self._stores.dead_letters.add(letter)
            dead_lettered += letter.records
        decode = self._codec.decode
        if not given_up:
            with suppress(Undecodable):
                events = [decode(payload) for payload in batch.payloads]
                numbers = record_numbers(partition, batch.offsets)
                return Decoded(events, numbers, batch.times_ms, dead_lettered, 0)
        events, numbers, times_ms = [], [], []
        for offset, payload, at_ms in zip(
            batch.offsets, batch.payloads, batch.times_ms, strict=True
        ):
            if offset in given_up:
                self.dead_letter(partition, offset, batch, GIVEN_UP, GIVEN_UP_REASON)
                continue
            try:
                events.append(decode(payload))
            except Undecodable as error:
                self.dead_letter(partition, offset, batch, "undecodable", told_of(error))
                dead_lettered += 1
            else:
                numbers.append(record_number(partition, offset))
                times_ms.append(at_ms)
        return Decoded(events, numbers, times_ms, dead_lettered, len(given_up))

    def event(self, payload: bytes) -> Event:
        event: Event = self._codec.decode(payload)
        return event

    def dead_letter(
        self, partition: int, offset: int, batch: Batch, code: str, reason: str
    ) -> None:
        at = bisect_left(batch.offsets, offset)
        self._stores.dead_letters.add(
            DeadLetter(
                projection=self._projection.name,
                topic=self._projection.topic.name,
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
        project: Callable[[Event, int, int], None],
    ) -> int:
        """Project one by one; dead-letter those whose projection raises. Returns how many."""
        dead_lettered = 0
        for event, number, at_ms in zip(
            decoded.events, decoded.numbers, decoded.times_ms, strict=True
        ):
            try:
                project(event, number, at_ms)
            except Exception as error:  # noqa: BLE001 - whatever a projection raises is poison
                _, offset = record_place(number)
                self.dead_letter(partition, offset, batch, "rows", told_of(error))
                dead_lettered += 1
        return dead_lettered


def told_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
