"""A topic whose records are unique by an id, and an index, a table and a fold that count them."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from penstock.core.events import Event
from penstock.core.log import Append
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Fold, Index, Projection, Record, Row, Rows, Step, Table, Topic
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.rebuild import Rebuild
from penstock.core.projection.repeats import SPACES, Repeats
from penstock.core.projection.runner import Consumer
from penstock.core.projection.shadows import Rebuilt
from penstock.core.projection.sinks import Stores, sink
from penstock.core.state import Entry, State
from penstock.core.warehouse import Warehouse
from support.clock import MovedClock
from support.lines import Lines
from support.logs import submit

POISON = "poison"
FLUSH = Flush(wait_seconds=0.0, block_records=40)
_names = count()


class Paid(Event, frozen=True, array_like=True, gc=False, tag="paid/1"):
    id: str


class PaidRow(Row, frozen=True, array_like=True, gc=False):
    id: str


class Sum(msgspec.Struct, frozen=True, array_like=True):
    numbers: Sequence[int] = ()


def _id(event: Paid) -> bytes:
    if event.id == POISON:
        raise ValueError("cannot bear this id")
    return event.id.encode()


def _rows(records: Sequence[Record[Paid]], _: Any) -> Rows:
    rows = [PaidRow(record.number, record.project, record.event.id) for record in records]
    return Rows(rows, None)


@dataclass(frozen=True)
class Views:
    """Of a topic of its own."""

    topic: Topic[Paid]
    index: Index[Paid]
    fold: Fold[Paid, Sum]
    table: Table[Paid]
    schema: str


def views(hours: float = 24.0) -> Views:
    name = f"tests.paid{next(_names)}"
    topic: Topic[Paid] = Topic(name, (Paid,), lambda _: b"k", unique=_id, unique_hours=hours)
    table = name.replace(".", "_")
    return Views(
        topic,
        Index(
            space=f"{name}.index", topic=topic, flush=FLUSH,
            entries=lambda records: [Entry(b"k", b"%08d" % one.number, b"") for one in records],
        ),
        Fold(
            space=f"{name}.fold", topic=topic, state=Sum, flush=FLUSH,
            step=lambda known, record: Step(Sum([*known.numbers, record.number])),
        ),
        Table(
            table=table, topic=topic, row=PaidRow, rows=_rows, flush=FLUSH,
            subject="id = {subject:String}",
        ),
        f"CREATE TABLE IF NOT EXISTS {table} (log_offset UInt64, project String, id String) "
        "ENGINE = MergeTree ORDER BY id PARTITION BY log_offset % 2 "
        "SETTINGS non_replicated_deduplication_window = 1000",
    )  # fmt: skip


class Bench:
    """Real stores, and projections that are carried on by hand."""

    def __init__(self, folder: Any, state: State, warehouse: Warehouse | None = None) -> None:
        self.clock, self.lines = MovedClock(), Lines()
        self._folder = folder
        self.state, self.warehouse = state, warehouse
        self.reopen_log()

    def reopen_log(self) -> None:
        self.log = SqliteLog(self._folder / "log.db", self.clock, Limits())
        letters = DeadLetters(self.state)
        self.stores = Stores(self.warehouse, self.state, letters, self.clock, log=self.log)

    def pay(self, of: Views, *ids: str, project: str = "default") -> None:
        """Taken when the clock says, wherever it was set since."""
        encode, at_ms = of.topic.codec().of(project), self.clock.ms
        submit(self.log, Append(of.topic.name, [encode(Paid(n)) for n in ids], taken_ms=at_ms))

    def cursor(self, projection: Projection) -> Cursor:
        made = sink(projection, self.stores)
        kind = FoldCursor if isinstance(made, FoldSink) else Cursor
        return kind(projection, made, self.log, self.clock, self.lines.logger)

    def carry(self, projection: Projection, block: int = 40, blocks: int = 1 << 30) -> Cursor:
        """As after a restart: resume, then all there is."""
        cursor = self.cursor(projection)
        with closing(self.log.reader()) as reader:
            cursor.resume(reader)
            while blocks and cursor.step(reader, block):
                blocks -= 1
        return cursor

    def rebuild(self, projection: Projection, statement: str = "", **how: bool) -> Rebuilt:
        live = Consumer(
            projection, sink(projection, self.stores), self.log, self.clock, self.lines.logger
        )
        work = Rebuild(live, self.stores, self.log, self.clock, self.lines.logger)
        return work.run(statement, lambda _done, _total: None, **how)

    def asked(self, of: Views) -> Repeats:
        """As another process has it."""
        found = self.stores.repeats(of.topic)
        assert found is not None
        return found

    def repeats(self, of: Views) -> dict[int, int | None]:
        return self.asked(of).told(0, 0, self.log.end(of.topic.name, 0))

    def space(self, of: Views) -> list[Entry]:
        """All that is known of ids."""
        return list(self.state.scan(SPACES + of.topic.name))

    # -- which records each has -----------------------------------------------------------------

    def indexed(self, of: Views) -> list[int]:
        return sorted(int(entry.sort) for entry in self.state.scan(of.index.space))

    def folded(self, of: Views) -> list[int]:
        keys = {entry.group for entry in self.state.scan(of.fold.space) if entry.group}
        values = self.state.get_many(of.fold.space, sorted(keys))
        return sorted(n for value in values if value for n in of.fold.read(value).numbers)

    def rows(self, of: Views) -> list[int]:
        assert self.warehouse is not None
        found = self.warehouse.query(f"SELECT log_offset FROM {of.table.table} ORDER BY 1", {})
        return [int(str(number)) for (number,) in found]
