"""What indexes and folds share: a space of the state, and a position written with its entries."""

from collections.abc import Iterable, Sequence
from typing import Any

from penstock.core.errors import Disproved
from penstock.core.position import is_of
from penstock.core.projection import Fold, Index, verdicts
from penstock.core.projection.contract import Resume
from penstock.core.projection.stores import Stores
from penstock.core.projection.views import ViewSink
from penstock.core.state import Entry, Place, Position, Trim


class SpaceSink(ViewSink):
    """All of a `Sink` but for what is made of a batch."""

    def __init__(
        self, projection: Index[Any] | Fold[Any, Any], stores: Stores, *, into: str
    ) -> None:
        super().__init__(projection, stores, into=into)
        self._version = projection.version
        self._positions: dict[int, Position | None] = {}

    def resume(self, log: str, partition: int) -> Resume:
        self._decoding.resume(partition)
        position = self._state.position(self._into, partition)
        self._positions[partition] = position
        if position is None:
            return Resume(None)
        if not is_of(position.log, log):
            raise verdicts.other_log(self._into, "space")
        if position.version != self._version:
            raise Disproved(
                f"{self._into} was filled by version {position.version} of its projection, and "
                f"this is {self._version}; run `penstock rebuild {self._into} --from-scratch`"
            )
        return Resume(position, position.next)

    def adopt(self, partition: int, proof: str) -> None:
        if (position := self._positions[partition]) is not None:
            self._write(partition, position._replace(proof=proof))

    def stored(self, partition: int) -> Position | None:
        return self._state.position(self._into, partition)

    def needed(self, partition: int) -> int | None:
        stored = self.stored(partition)
        return None if stored is None else stored.next

    def settle(self, partition: int) -> None:
        """Entries and position are one write: nothing of it is made again."""

    def lacks(self, *, deep: bool = False) -> str:
        del deep
        return self._state.lacking(self._into)

    def compact(self) -> None:
        self._state.compact(self._into)

    def _write(
        self,
        partition: int,
        position: Position,
        entries: Sequence[Entry] = (),
        *,
        deletes: Iterable[Place] = (),
        trims: Sequence[Trim] = (),
    ) -> None:
        """Entries and position, all or nothing. Raise `Moved` and `NotReady`."""
        self._state.apply(
            self._into,
            entries,
            partition=partition,
            was=self._positions.get(partition),
            position=position,
            deletes=deletes,
            trims=trims,
        )
        self._positions[partition] = position
