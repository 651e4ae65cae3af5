"""A mirror that is made again from the log: into a shadow of its own, beside that of its fold.

State and warehouse are two stores, so one takes its place before the other: until both have, the
states say of themselves that the table is not theirs, and a start fills it from them.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from penstock.core.log import Reader
from penstock.core.projection import comparing
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.runner import Consumer
from penstock.core.projection.stores import Stores


class Remirror:
    def __init__(
        self, live: Consumer, sink: FoldSink, stores: Stores, shadows: Sequence[Cursor]
    ) -> None:
        """`sink` fills the fold's shadow, by the cursors `shadows`."""
        assert isinstance(live.sink, FoldSink)
        assert live.sink.fold.mirror is not None
        self._mirror = live.sink.fold.mirror
        self._table = sink.mirror_table
        self._live = live
        self._live_sink = live.sink
        self._sink = sink
        self._stores = stores
        self._shadows = shadows

    def held(self) -> AbstractContextManager[object]:
        """Nobody else fills it meanwhile."""
        filling = self._live.filling
        return nullcontext() if filling is None else filling.held

    def catch_up(self) -> None:
        """The shadow has what the shadow of the fold knows. Raise `NotReady`."""
        for shadow in self._shadows:
            self._turn(self._sink, shadow.partition)

    def align(self, reader: Reader, cursors: Sequence[Cursor]) -> None:
        """So does the live one of the live fold. Nobody may be at it."""
        for cursor in cursors:
            if cursor.partition not in self._live_sink.mirrorings:
                cursor.resume(reader)
            self._turn(self._live_sink, cursor.partition)
        self.catch_up()

    def _turn(self, sink: FoldSink, partition: int) -> None:
        hand = partial(sink.settle_mirror, partition)
        sink.mirrorings[partition].turn(
            self._stores.clock.now_ms(), hand, partitions=len(self._shadows)
        )

    def differences(self) -> list[str]:
        return comparing.mirror_differences(self._mirror, self._stores.tables, self._table)

    def part(self) -> None:
        """Before the states take their place: the table is none of theirs yet."""
        for shadow in self._shadows:
            if self._sink.stored(shadow.partition) is not None:
                self._sink.adopt_mirror(shadow.partition, whole=False)

    def swap(self) -> None:
        self._stores.tables.exchange(self._table, self._mirror.table)

    def join(self) -> None:
        """When the live cursors have resumed."""
        for shadow in self._shadows:
            if self._live_sink.stored(shadow.partition) is not None:
                self._live_sink.adopt_mirror(shadow.partition, whole=True)
