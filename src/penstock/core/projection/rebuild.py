"""Rebuilding a read model from the log: into a shadow, then compared, then swapped.

The live model keeps answering all the while; its consumer is held only for the last steps. What
was built takes its place only if it has no less, or if the operator said that it may. Whatever
becomes of a rebuild, no shadow is left: what a process that was killed could not drop, the next
start drops.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import NotReady
from penstock.core.log import Follow, Reader
from penstock.core.position import Position
from penstock.core.projection import Fold, Table, comparing
from penstock.core.projection.coverage import Uncovered, begins, uncovered
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.disk_space import DiskSpace
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.outputs import Outputs
from penstock.core.projection.queue import keep_by_hand
from penstock.core.projection.remirroring import Remirror
from penstock.core.projection.runner import Consumer
from penstock.core.projection.shadows import SHADOW, Rebuilt, Turn, claimed, clean, create_shadow
from penstock.core.projection.sinks import Stores, sink
from penstock.core.telemetry import Logger

Progress = Callable[[int, int], None]
"""Records done, records in all."""


class Rebuild:
    """One rebuild of one projection, by a process that has all of its partitions."""

    def __init__(
        self,
        live: Consumer,
        stores: Stores,
        log: Follow,
        clock: Clock,
        logger: Logger,
        *,
        turn: Turn | None = None,
        disk_space: DiskSpace | None = None,
        leaving: Callable[[], bool] = lambda: False,
        shared: Collection[str] = (),
    ) -> None:
        """`leaving`: the process is about to end. `shared`: topics that more than one writes to.
        Without `turn` nobody else may have a hand in.
        """
        self._shared = shared
        self._live = live
        self._stores = stores
        self._log = log
        self._logger = logger
        self._turn = turn
        self._disk_space = disk_space or DiskSpace(None, 0)
        self._leaving = leaving
        self._topic = live.projection.topic.name
        self._shadow_name = live.projection.name + SHADOW
        projection = live.projection
        self._sink = sink(projection, stores, into=self._shadow_name)
        self._starts: dict[int, int] = {}
        """Where the shadow began: what it has of each partition of the log."""
        self._uncovered: list[Uncovered] = []
        self._shadows = [
            Cursor(projection, self._sink, log, clock, logger, partition=partition)
            for partition in range(log.partitions(self._topic))
        ]
        self._mirror: Remirror | None = None
        if isinstance(self._sink, FoldSink) and self._sink.mirror_table:
            self._mirror = Remirror(live, self._sink, stores, self._shadows)

    def run(
        self,
        statement: str,
        progress: Progress,
        *,
        compare: bool = True,
        swap: bool = True,
        accept_loss: bool = False,
        muted: bool = False,
    ) -> Rebuilt:
        """`statement` creates the table, empty for what is in the state. Blocks until done.

        With `compare=False` the live model is only counted: it may be of another log. With
        `accept_loss` it is replaced though what was built has less; `muted`, a fold says nothing
        of what it says, for the log has that already. Raise `NoDiskSpace`, `NotReady`
        with the live model as it was.
        """
        name = self._live.projection.name
        with ExitStack() as opened:
            opened.enter_context(claimed(self._live, self._turn))
            self._live.shadows = self._shadows
            opened.callback(setattr, self._live, "shadows", ())
            clean(self._live.projection, self._stores)
            self._disk_space.check(name, self._needed())
            opened.callback(self._drop)
            reader = self._log.reader()
            opened.callback(reader.close)
            if isinstance(self._sink, FoldSink):
                # Beside a live fold that gets as far; from scratch, what the log lacks it gets now.
                self._sink.muted = muted or compare or not swap
                self._sink.outputs = self._outputs(opened) if compare else None
            for table in self._live.projection.tables:
                create_shadow(self._stores, statement, table)
            return self._run(reader, progress, compare=compare, swap=swap, accept_loss=accept_loss)

    def _run(
        self, reader: Reader, progress: Progress, *, compare: bool, swap: bool, accept_loss: bool
    ) -> Rebuilt:
        for shadow in self._shadows:
            shadow.resume(reader)
        self._starts = {shadow.partition: shadow.position for shadow in self._shadows}
        reached = self._ends()
        self._catch_up(reader, reached, progress)
        if self._mirror is not None:
            self._mirror.catch_up()
        with self._held(), self._live.paused():
            cursors = self._live.whole()
            if compare:
                self._align(reader, cursors, reached)
            else:
                self._catch_up(reader, self._ends(), progress)
                if self._mirror is not None:
                    self._mirror.catch_up()
            self._uncovered = self._not_covered() if compare else []
            differences = self._differences() if compare else []
            lost = self._lost(equal=compare and not differences)
            swap = swap and (accept_loss or not lost)
            if swap:
                self._swap()
                for cursor in cursors:
                    cursor.resume(reader)
                if self._mirror is not None:
                    self._mirror.join()
                self._live.begin()
        name, kept = self._live.projection.name, [str(one) for one in self._uncovered]
        return Rebuilt(name, self._records(), compare, differences, lost, swap, kept)

    def _held(self) -> AbstractContextManager[object]:
        return nullcontext() if self._mirror is None else self._mirror.held()

    def _outputs(self, opened: ExitStack) -> Outputs:
        fold, log = self._live.projection, self._log
        assert isinstance(fold, Fold)
        keyed = self._stores.log is not None and self._stores.log.keyed
        outputs = Outputs(
            fold,
            log.reader,
            self._stores.codec,
            starts=lambda topic: max(log.start(topic, p) for p in range(log.partitions(topic))),
            shared={*self._shared, self._topic},  # it began with what somebody else said
            partitions=log.partitions if keyed else None,
        )
        opened.callback(outputs.close)
        if outputs.not_compared:
            self._logger.warning("rebuild.not_compared", topics=", ".join(outputs.not_compared))
        return outputs

    def _watch(self) -> None:
        """Between two blocks. Raise `NoDiskSpace` and `NotReady`."""
        self._disk_space.check(self._live.projection.name)
        if self._turn is not None:
            self._turn.keep()
        if self._leaving():
            raise NotReady("the process is about to end, and the rebuild with it; start it again")

    def _needed(self) -> int:
        """Bytes of what there is, and as much more as it is behind; else those of the log."""
        projection, stores = self._live.projection, self._stores
        if isinstance(projection, Table):
            size = stores.tables.bytes_of(projection.table)
        else:
            size = stores.state.bytes_of(projection.space)
        done = sum(position.next for position in self._positions().values() if position is not None)
        if size == 0 or done == 0:
            return self._log.bytes_on_disk()
        return int(size * max(1.0, sum(self._ends()) / done))

    def _positions(self) -> dict[int, Position | None]:
        """Of the live model, whoever carries it."""
        return {
            shadow.partition: self._live.sink.stored(shadow.partition) for shadow in self._shadows
        }

    def _ends(self) -> list[int]:
        return [self._log.end(self._topic, shadow.partition) for shadow in self._shadows]

    def _records(self) -> int:
        return sum(shadow.position - self._starts[shadow.partition] for shadow in self._shadows)

    def _drop(self) -> None:
        try:
            clean(self._live.projection, self._stores)
        except Exception as error:  # noqa: BLE001 - what ended the rebuild is to be told, not this
            self._logger.warning("rebuild.left_behind", shadow=self._shadow_name, error=str(error))

    def _catch_up(self, reader: Reader, targets: Sequence[int], progress: Progress) -> None:
        missing = sum(
            max(0, target - shadow.position)
            for shadow, target in zip(self._shadows, targets, strict=True)
        )
        done, total = self._records(), self._records() + missing
        block = self._live.projection.block_records
        for shadow, target in zip(self._shadows, targets, strict=True):
            while shadow.position < target:
                progress(done, total)
                self._watch()
                step = shadow.step(reader, min(block, target - shadow.position))
                if step == 0:
                    break
                done += step
        progress(done, total)

    def _align(self, reader: Reader, cursors: Sequence[Cursor], reached: Sequence[int]) -> None:
        """Bring both to the same positions, so that equal means equal."""
        for cursor, target in zip(cursors, reached, strict=True):
            if cursor.position < target and cursor.state == "stopped":
                cursor.resume(reader)
            while cursor.position < target:
                cursor.step(reader, target - cursor.position)
        positions = [cursor.position for cursor in cursors]
        self._catch_up(reader, positions, lambda _done, _total: None)
        if self._mirror is not None:
            self._mirror.align(reader, cursors)

    def _not_covered(self) -> list[Uncovered]:
        """Of a table of the same form: it may have partitions of both."""
        projection = self._live.projection
        if not isinstance(projection, Table) or projection.compared:
            return []
        tables = self._stores.tables
        if {*tables.columns(projection.table)} != {*tables.columns(self._shadow_name)}:
            return []
        return uncovered(projection, tables, self._starts)

    def _differences(self) -> list[str]:
        projection, kept = self._live.projection, {one.partition for one in self._uncovered}
        if isinstance(projection, Table):
            tables = self._stores.tables
            return comparing.table_differences(projection, tables, self._shadow_name, kept)
        state, now_ms = self._stores.state, self._stores.clock.now_ms()
        states = comparing.entry_differences(projection, state, self._shadow_name, now_ms)
        outputs = self._sink.outputs if isinstance(self._sink, FoldSink) else None
        said = [] if outputs is None else outputs.differences()
        mirrored = [] if self._mirror is None else self._mirror.differences()
        return [*states, *said, *mirrored]

    def _lost(self, *, equal: bool) -> list[str]:
        """What the live model has and the shadow has not."""
        projection, stores, shadow = self._live.projection, self._stores, self._shadow_name
        live = self._positions()
        if not any(live.values()):
            return []
        reached = {cursor.partition: cursor.position for cursor in self._shadows}
        given_up = sum(
            len(stores.dead_letters.given_up(projection.name, cursor.partition))
            for cursor in self._shadows
        )
        if isinstance(projection, Table):
            kept = {one.partition for one in self._uncovered}
            fewer = comparing.fewer_rows(projection, stores.tables, shadow, kept, given_up=given_up)
            if projection.compared and not equal:  # no row tells of which records it is
                fewer += begins(self._starts)
        else:
            now_ms = stores.clock.now_ms()
            fewer = comparing.fewer_entries(
                projection, stores.state, shadow, given_up=given_up, now_ms=now_ms
            )
            fewer += [] if equal else begins(self._starts)
        letters = [
            stores.dead_letters.letters(name, limit=1 << 62) for name in (projection.name, shadow)
        ]
        damaged = "" if self._live.damaged is None else self._live.damaged.lacks
        return [
            *(f"{one}, and it is damaged: {damaged}" for one in self._uncovered if damaged),
            *comparing.shorter(self._log.identity(self._topic), live, reached),
            *comparing.newly_damaged(*letters),
            *fewer,
        ]

    def _swap(self) -> None:
        projection, dead_letters = self._live.projection, self._stores.dead_letters
        kept = [
            letter
            for letter in dead_letters.letters(projection.name, limit=1 << 62)
            if letter.offset < self._starts[letter.partition]
        ]
        if isinstance(projection, Table):
            for one in self._uncovered:
                self._stores.tables.carry_over(projection.table, one.partition, self._shadow_name)
            self._stores.tables.exchange(self._shadow_name, projection.table)
        else:
            if isinstance(self._sink, FoldSink):
                keep_by_hand(self._stores.state, projection.space, self._shadow_name)
            if self._mirror is not None:
                self._mirror.part()
            self._stores.state.swap(self._shadow_name, projection.space)
            if self._mirror is not None:
                self._mirror.swap()
        dead_letters.forget(projection.name)
        for letter in [*kept, *dead_letters.letters(self._shadow_name, limit=1 << 62)]:
            dead_letters.add(msgspec.structs.replace(letter, projection=projection.name))
