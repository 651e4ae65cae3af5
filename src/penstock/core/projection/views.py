"""What all sinks share: which view they fill, what they read it from, and what is told of it."""

from abc import ABC, abstractmethod
from typing import Any

from penstock.core.projection import Projection, verdicts
from penstock.core.projection.decoding import Decoding
from penstock.core.projection.stores import Stores
from penstock.core.state import Position


class ViewSink(ABC):
    """Of a `Sink` what is the same for tables and spaces."""

    def __init__(self, projection: Projection, stores: Stores, *, into: str) -> None:
        self._into = into or projection.name
        self._state = stores.state
        self.repeats = stores.repeats(projection.topic)
        self._decoding: Decoding[Any] = Decoding(projection, stores, into=self._into)

    def judge(self, partition: int, disproved: str) -> None:
        verdicts.note(self._state, self._into, partition, disproved)

    def judged(self) -> dict[int, str]:
        return verdicts.told(self._state, self._into)

    def reason(self, partition: int) -> str:
        return self._decoding.reasons.get(partition, "")

    def position(self, partition: int) -> int:
        stored = self.stored(partition)
        return 0 if stored is None else stored.next

    @abstractmethod
    def stored(self, partition: int) -> Position | None: ...
