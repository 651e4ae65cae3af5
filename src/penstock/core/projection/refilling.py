"""A mirror that is made again from the states of its fold: into a shadow, compared, swapped in."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext

from penstock.core.log import Follow, Reader
from penstock.core.projection import comparing
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.mirroring import Mirroring, Told
from penstock.core.projection.runner import Consumer
from penstock.core.projection.shadows import (
    SHADOW,
    Rebuilt,
    Turn,
    claimed,
    clean,
    create_shadow,
)
from penstock.core.projection.stores import Stores


class Refill:
    """One of them, by a process that has all partitions of the fold, which goes on meanwhile."""

    def __init__(self, live: Consumer, stores: Stores, log: Follow, turn: Turn | None) -> None:
        assert isinstance(live.sink, FoldSink)
        assert live.sink.fold.mirror is not None
        self._live = live
        self._sink = live.sink
        self._mirror = live.sink.fold.mirror
        self._stores = stores
        self._turn = turn
        fold = live.sink.fold
        self._shadow = self._mirror.table + SHADOW
        self._fillers = [
            Mirroring(fold, stores, into=fold.space, table=self._shadow, partition=p, anew=True)
            for p in range(log.partitions(fold.topic.name))
        ]

    def run(self, statement: str, reader: Reader, *, compare: bool, swap: bool) -> Rebuilt:
        """`statement` creates the table. Raise `NotReady` with the mirror as it was."""
        filling, projection = self._live.filling, self._live.projection
        with claimed(self._live, self._turn):
            clean(projection, self._stores)
            try:
                create_shadow(self._stores, statement, self._mirror.table)
                # What changes from now on is marked until the end, and goes into both.
                with nullcontext() if filling is None else filling.held:
                    return self._run(reader, compare=compare, swap=swap)
            finally:
                clean(projection, self._stores)

    def _run(self, reader: Reader, *, compare: bool, swap: bool) -> Rebuilt:
        for filler in self._fillers:
            filler.resume()
            filler.turn(self._now_ms(), _nothing, partitions=len(self._fillers))
        with self._live.paused():
            for cursor in self._live.whole():
                if cursor.partition not in self._sink.mirrorings:
                    cursor.resume(reader)
            now_ms = self._now_ms()
            for filler in self._fillers:
                filler.mark()
                filler.turn(now_ms, _nothing, partitions=len(self._fillers))
            if compare:
                for partition, mirroring in self._sink.mirrorings.items():
                    hand = self._settling(partition)
                    mirroring.turn(now_ms, hand, partitions=len(self._fillers))
            tables = self._stores.tables
            found = (
                comparing.mirror_differences(self._mirror, tables, self._shadow) if compare else []
            )
            if swap:
                tables.exchange(self._shadow, self._mirror.table)
                for partition in self._sink.mirrorings:
                    if self._sink.stored(partition) is not None:
                        self._sink.adopt_mirror(partition, whole=True)
        rows = sum(filler.table.rows for filler in self._fillers)
        return Rebuilt(self._mirror.table, rows, compare, found, [], swap, [])

    def _now_ms(self) -> int:
        return self._stores.clock.now_ms()

    def _settling(self, partition: int) -> Callable[[Told], None]:
        return lambda told: self._sink.settle_mirror(partition, told)


def mirrored_in(consumers: Iterable[Consumer], table: str) -> Consumer | None:
    """Whose mirror this is."""
    found = (one for one in consumers if one.projection.name != table)
    return next((one for one in found if table in one.projection.tables), None)


def _nothing(told: Told) -> None:
    """The marks are those of the live one."""
    del told
