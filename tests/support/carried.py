"""The tests' own table and index over real stores and an embedded log, carried on by hand."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from penstock.core.errors import Disproved
from penstock.core.log import Follow
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Projection
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import Stores, sink
from penstock.core.state.rocksdb import RocksState
from penstock.core.watch import Watch
from support import notes
from support.clock import MovedClock
from support.lines import Lines
from support.notes import Unreliable, rows_of
from support.stores import open_state, stores

BOTH: tuple[Projection, ...] = (notes.table, notes.index)


class Carried:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = MovedClock()
        self.lines = Lines()
        self.log = self._open_log()
        self.open_stores()

    def open_stores(self) -> None:
        self.state: RocksState = open_state(self.folder)
        self.warehouse: Unreliable = notes.open_unreliable(self.folder)
        self.stores: Stores = stores(self.warehouse, self.state, self.clock)

    def _open_log(self) -> SqliteLog:
        (self.folder / "log").mkdir(exist_ok=True)
        return SqliteLog(self.folder / "log" / "log.db", self.clock, Limits())

    def cursor(self, projection: Projection) -> Cursor:
        inner = sink(projection, self.stores)
        return Cursor(projection, inner, self.log, self.clock, self.lines.logger)

    def consumer(self, projection: Projection, log: Follow | None = None) -> Consumer:
        inner = sink(projection, self.stores)
        return Consumer(projection, inner, log or self.log, self.clock, self.lines.logger)

    def carry(self, *projections: Projection) -> None:
        """As after a restart: resume, then all there is."""
        for projection in projections or BOTH:
            cursor, reader = self.cursor(projection), self.log.reader()
            try:
                cursor.resume(reader)
                while cursor.step(reader, 40):
                    pass
            finally:
                reader.close()

    def refusals(self) -> list[str]:
        """What each projection says when it is to go on."""
        said = []
        for projection in BOTH:
            try:
                self.carry(projection)
            except Disproved as error:
                said.append(error.message)
        return said

    def numbers(self) -> tuple[list[int], list[bytes]]:
        """In the table, and in the index."""
        [history] = self.state.first("tests.notes", [b"word"], 1_000)
        return [row[1] for row in rows_of(self.warehouse)], [value for _, value in history]

    # -- putting things back --------------------------------------------------------------------

    def copy_log(self, name: str = "older") -> Path:
        """Of the log as it is now; it goes on behind."""
        self.log.close()
        copy = self.folder / name
        shutil.copytree(self.folder / "log", copy)
        self.log = self._open_log()
        return copy

    def put_back(self, copy: Path) -> None:
        self.log.close()
        shutil.rmtree(self.folder / "log")
        shutil.copytree(copy, self.folder / "log")
        self.log = self._open_log()

    def copy_stores(self) -> Path:
        self.close_stores()
        copy = self.folder / "stores"
        for name in ("state", "warehouse"):
            shutil.copytree(self.folder / name, copy / name, symlinks=True)
        self.open_stores()
        return copy

    def put_stores_back(self, copy: Path) -> None:
        self.close_stores()
        for name in ("state", "warehouse"):
            shutil.rmtree(self.folder / name)
            shutil.copytree(copy / name, self.folder / name, symlinks=True)
        self.open_stores()

    def close_stores(self) -> None:
        self.warehouse.close()
        self.state.close()

    def close(self) -> None:
        self.close_stores()
        self.log.close()


def watching(carried: Carried, consumers: Iterable[Consumer]) -> Watch:
    named = {consumer.projection.name: consumer for consumer in consumers}
    return Watch(named, carried.log, None, clock=carried.clock, logger=Lines().logger)
