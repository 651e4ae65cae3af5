"""Rebuilding a read model from the log: into a shadow, then compared, then swapped.

The live model keeps answering all the while; its consumer is held only for the last steps.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import Misconfigured
from penstock.core.log import Follow, Reader
from penstock.core.projection import Fold, Table
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import FoldSink, Stores, TableSink
from penstock.core.state import History, State
from penstock.core.telemetry import Logger
from penstock.core.warehouse import Warehouse

Progress = Callable[[int, int], None]
"""Records done, records in all."""

_SHADOW = "__shadow"
_DIFFERENCES_SHOWN = 5
_GROUPS_COMPARED = 1_000
_EVERYTHING = 1 << 31


class Rebuilt(msgspec.Struct, frozen=True):
    projection: str
    records: int
    """Records of the log that went in."""
    compared: bool
    differences: list[str]
    """In words, the first few; empty when both are equal."""
    swapped: bool


class Rebuild:
    """One rebuild of one projection, by a process that has all of its partitions."""

    def __init__(
        self, live: Consumer, stores: Stores, log: Follow, clock: Clock, logger: Logger
    ) -> None:
        self._live = live
        self._stores = stores
        self._log = log
        self._topic = live.projection.topic.name
        self._shadow_name = live.projection.name + _SHADOW
        projection = live.projection
        if isinstance(projection, Table):
            sink: TableSink | FoldSink = TableSink(projection, stores, into=self._shadow_name)
        else:
            sink = FoldSink(projection, stores, into=self._shadow_name)
        self._shadows = [
            Cursor(projection, sink, log, clock, logger, partition=partition)
            for partition in range(log.partitions(self._topic))
        ]

    def run(
        self, statement: str, progress: Progress, *, compare: bool = True, swap: bool = True
    ) -> Rebuilt:
        """`statement` creates the table, empty for a fold. Blocks until done.

        With `compare=False` the live model is not read at all: it may be of another log.
        """
        name = self._live.projection.name
        reader = self._log.reader()
        try:
            self._clear(statement)
            for shadow in self._shadows:
                shadow.resume(reader)
            reached = self._ends()
            self._catch_up(reader, reached, progress)
            with self._live.paused():
                cursors = self._live.whole()
                if compare:
                    self._align(reader, cursors, reached)
                else:
                    self._catch_up(reader, self._ends(), progress)
                differences = self._differences() if compare else []
                if swap:
                    self._swap()
                    for cursor in cursors:
                        cursor.resume(reader)
                    self._live.begin()
            return Rebuilt(name, self._records(), compare, differences, swap)
        finally:
            reader.close()
            self._drop()

    def _ends(self) -> list[int]:
        return [self._log.end(self._topic, shadow.partition) for shadow in self._shadows]

    def _records(self) -> int:
        return sum(
            shadow.position - self._log.start(self._topic, shadow.partition)
            for shadow in self._shadows
        )

    def _clear(self, statement: str) -> None:
        self._drop()
        if isinstance(self._live.projection, Table):
            table = self._live.projection.table
            named = f"CREATE TABLE IF NOT EXISTS {table}"
            if named not in statement:
                raise Misconfigured(f"no statement creates the table {table}")
            self._stores.tables.create(
                [statement.replace(named, f"CREATE TABLE {self._shadow_name}", 1)]
            )

    def _drop(self) -> None:
        if isinstance(self._live.projection, Table):
            self._stores.tables.drop(self._shadow_name)
        else:
            self._stores.state.drop(self._shadow_name)
        for letter in self._stores.parking.letters(self._shadow_name, limit=1 << 62):
            self._stores.parking.remove(letter)

    def _catch_up(self, reader: Reader, targets: Sequence[int], progress: Progress) -> None:
        missing = sum(
            max(0, target - shadow.position)
            for shadow, target in zip(self._shadows, targets, strict=True)
        )
        done, total = self._records(), self._records() + missing
        block = self._live.projection.flush.block_records
        for shadow, target in zip(self._shadows, targets, strict=True):
            while shadow.position < target:
                progress(done, total)
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

    def _differences(self) -> list[str]:
        projection = self._live.projection
        if isinstance(projection, Table):
            return _table_differences(projection, self._stores.tables, self._shadow_name)
        return _fold_differences(projection, self._stores.state, self._shadow_name)

    def _swap(self) -> None:
        projection, parking = self._live.projection, self._stores.parking
        if isinstance(projection, Table):
            self._stores.tables.exchange(self._shadow_name, projection.table)
        else:
            self._stores.state.swap(self._shadow_name, projection.space)
        for letter in parking.letters(projection.name, limit=1 << 62):
            parking.remove(letter)
        for letter in parking.letters(self._shadow_name, limit=1 << 62):
            parking.park(msgspec.structs.replace(letter, projection=projection.name))


def _table_differences(table: Table[Any], warehouse: Warehouse, shadow: str) -> list[str]:
    """Partitions whose rows differ, by count and by a sum of hashes that ignores their order."""

    def summary(name: str) -> dict[str, tuple[object, ...]]:
        retained = table.retained.format(table=name)
        rows = warehouse.query(
            f"SELECT _partition_id, count(), sum(cityHash64(*)) FROM {name} "
            f"WHERE {retained} GROUP BY _partition_id",
            {},
        )
        return {str(row[0]): row[1:] for row in rows}

    live, rebuilt = summary(table.table), summary(shadow)
    different = [
        f"partition {key}: {live.get(key, (0,))[0]} rows live, {rebuilt.get(key, (0,))[0]} rebuilt"
        for key in sorted(live.keys() | rebuilt.keys())
        if live.get(key) != rebuilt.get(key)
    ]
    return _first_few(different)


def _fold_differences(fold: Fold[Any], state: State, shadow: str) -> list[str]:
    """Groups of the live space whose history is another in the shadow, and how many there are."""
    keep = fold.keep or None
    different: list[str] = []
    live = 0
    for chunk in _chunks(_groups(state, fold.space)):
        live += len(chunk)
        rebuilt = state.first(shadow, [group for group, _ in chunk], keep or _EVERYTHING)
        different += [
            f"group {group.decode(errors='replace')!r}: {len(history[:keep])} entries live, "
            f"{len(other)} rebuilt"
            for (group, history), other in zip(chunk, rebuilt, strict=True)
            if history[:keep] != other
        ]
    if live != (rebuilt_groups := sum(1 for _ in _groups(state, shadow))):
        different.append(f"{live} groups live, {rebuilt_groups} rebuilt")
    return _first_few(different)


def _groups(state: State, space: str) -> Iterator[tuple[bytes, History]]:
    for group, entries in groupby(state.scan(space), key=lambda entry: entry.group):
        yield group, [(entry.sort, entry.value) for entry in entries]


def _chunks(groups: Iterator[tuple[bytes, History]]) -> Iterator[list[tuple[bytes, History]]]:
    while chunk := list(islice(groups, _GROUPS_COMPARED)):
        yield chunk


def _first_few(differences: list[str]) -> list[str]:
    more = len(differences) - _DIFFERENCES_SHOWN
    return differences[:_DIFFERENCES_SHOWN] + ([f"and {more} more"] if more > 0 else [])
