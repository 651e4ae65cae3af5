"""Rebuilding a read model from the log: into a shadow, then compared, then swapped.

The live model keeps answering all the while; its consumer is held only for the last steps.
"""

from collections.abc import Callable, Iterator
from itertools import groupby, islice, zip_longest
from typing import Any

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import Misconfigured
from penstock.core.log import Follow
from penstock.core.projection import Fold, Table
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import FoldSink, Stores, TableSink
from penstock.core.state import Entry, State
from penstock.core.telemetry import Logger
from penstock.core.warehouse import Warehouse

Progress = Callable[[int, int], None]
"""Records done, records in all."""

_SHADOW = "__shadow"
_DIFFERENCES_SHOWN = 5


class Rebuilt(msgspec.Struct, frozen=True):
    projection: str
    records: int
    """Records of the log that went in."""
    compared: bool
    differences: list[str]
    """In words, the first few; empty when both are equal."""
    swapped: bool


class Rebuild:
    """One rebuild of one projection."""

    def __init__(
        self, live: Consumer, stores: Stores, log: Follow, clock: Clock, logger: Logger
    ) -> None:
        self._live = live
        self._stores = stores
        self._log = log
        self._shadow_name = live.projection.name + _SHADOW
        projection = live.projection
        if isinstance(projection, Table):
            sink: TableSink | FoldSink = TableSink(projection, stores, into=self._shadow_name)
        else:
            sink = FoldSink(projection, stores, into=self._shadow_name)
        self._shadow = Consumer(projection, sink, log, clock, logger)

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
            self._catch_up(reader_end := self._end(), progress)
            with self._live.paused():
                if compare:
                    self._align(reader_end)
                else:
                    self._catch_up(self._end(), progress)
                differences = self._differences() if compare else []
                if swap:
                    self._swap()
                    self._live.resume(reader)
            return Rebuilt(name, self._shadow.position, compare, differences, swap)
        finally:
            reader.close()
            self._drop()

    def _end(self) -> int:
        return self._log.end(self._live.projection.topic.name, self._live.partition)

    def _clear(self, statement: str) -> None:
        self._drop()
        if isinstance(self._live.projection, Table):
            table = self._live.projection.table
            named = f"CREATE TABLE IF NOT EXISTS {table}"
            if named not in statement:
                raise Misconfigured(f"no statement creates the table {table}")
            self._stores.warehouse.command(
                statement.replace(named, f"CREATE TABLE {self._shadow_name}", 1)
            )

    def _drop(self) -> None:
        if isinstance(self._live.projection, Table):
            self._stores.warehouse.drop(self._shadow_name)
        else:
            self._stores.state.drop(self._shadow_name)
        for letter in self._stores.parking.letters(self._shadow_name, limit=1 << 62):
            self._stores.parking.remove(letter)

    def _catch_up(self, target: int, progress: Progress) -> None:
        reader = self._log.reader()
        try:
            block = self._live.projection.flush.block_records
            while self._shadow.position < target:
                progress(self._shadow.position, target)
                step = min(block, target - self._shadow.position)
                if self._shadow.step(reader, step) == 0:
                    break
            progress(self._shadow.position, target)
        finally:
            reader.close()

    def _align(self, reached: int) -> None:
        """Bring both to the same position, so that equal means equal."""
        reader = self._log.reader()
        try:
            if self._live.position < reached:
                if self._live.state == "stopped":
                    self._live.resume(reader)
                while self._live.position < reached:
                    self._live.step(reader, reached - self._live.position)
            self._catch_up(self._live.position, lambda _done, _total: None)
        finally:
            reader.close()

    def _differences(self) -> list[str]:
        projection = self._live.projection
        if isinstance(projection, Table):
            return _table_differences(projection, self._stores.warehouse, self._shadow_name)
        return _fold_differences(projection, self._stores.state, self._shadow_name)

    def _swap(self) -> None:
        projection, parking = self._live.projection, self._stores.parking
        if isinstance(projection, Table):
            self._stores.warehouse.exchange(self._shadow_name, projection.table)
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
    different: list[str] = []
    kept = (_kept(state, fold.space, fold.keep), _kept(state, shadow, fold.keep))
    for live, rebuilt in zip_longest(*kept):
        if live != rebuilt:
            group = (live or rebuilt or Entry(b"", b"", b"")).group
            different.append(
                f"group {group.decode(errors='replace')!r} differs, or what follows it"
            )
            break
    return different


def _kept(state: State, space: str, keep: int) -> Iterator[Entry]:
    for _, entries in groupby(state.scan(space), key=lambda entry: entry.group):
        yield from islice(entries, keep or None)


def _first_few(differences: list[str]) -> list[str]:
    more = len(differences) - _DIFFERENCES_SHOWN
    return differences[:_DIFFERENCES_SHOWN] + ([f"and {more} more"] if more > 0 else [])
