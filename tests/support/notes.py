"""A small application of the tests' own: a topic, a table and an index of it, and ways to fail."""

from collections.abc import Sequence
from pathlib import Path

from penstock.core.events import Codec, Event
from penstock.core.log import Log
from penstock.core.projection import Index, Record, Row, Rows, Table, Topic
from penstock.core.projection.flush import Flush
from penstock.core.settings import Settings
from penstock.core.state import Entry
from penstock.core.warehouse import Unavailable
from penstock.core.warehouse.clickhouse import ClickHouse
from support.logs import TOPIC, add


class Noted(Event, frozen=True, array_like=True, gc=False, tag="noted/1"):
    number: int
    word: str = "word"


NOTES: Topic[Noted] = Topic(TOPIC, (Noted,))
codec = Codec(NOTES.events)

POISON, SKIPPED, UNSTORABLE = "poison", "skipped", -1
"""Words that the projections raise at or leave out, and a number that the engine refuses."""
PARTS = 3


class NoteRow(Row, frozen=True, array_like=True, gc=False):
    part: int
    number: int
    seen: int
    """Events before this one: shows that the carry is carried."""


def note_rows(records: Sequence[Record[Noted]], seen: int) -> Rows:
    rows: list[NoteRow] = []
    for record in records:
        event, offset = record.event, record.number
        if event.word == POISON:
            raise ValueError("cannot bear this word \udcff")
        if event.word != SKIPPED:
            rows.append(NoteRow(offset, record.project, offset % PARTS, event.number, seen))
        seen += 1
    return Rows(rows, seen, len(records) - len(rows))


def note_entries(records: Sequence[Record[Noted]]) -> list[Entry]:
    if any(record.event.word == POISON for record in records):
        raise ValueError("cannot bear this word \udcff")
    return [
        Entry(event.word.encode(), b"%08d" % record.number, b"%d" % event.number)
        for record in records
        for event in (record.event,)
    ]


table: Table[Noted] = Table(
    table="tests_notes",
    topic=NOTES,
    row=NoteRow,
    rows=note_rows,
    carry=0,
    flush=Flush(wait_seconds=0.0, block_records=40),
)
index: Index[Noted] = Index(
    space="tests.notes",
    topic=NOTES,
    entries=note_entries,
    keep=5,
    flush=Flush(wait_seconds=0.0, block_records=40),
)

SCHEMA = [
    """CREATE TABLE IF NOT EXISTS tests_notes
    (log_offset UInt64, project String, part Int64, number UInt64, seen UInt64)
    ENGINE = MergeTree PARTITION BY part ORDER BY number
    SETTINGS non_replicated_deduplication_window = 1000""",
    """CREATE TABLE IF NOT EXISTS tests_totals (part Int64, notes UInt64)
    ENGINE = SummingMergeTree ORDER BY part
    SETTINGS non_replicated_deduplication_window = 1000""",
    """CREATE MATERIALIZED VIEW IF NOT EXISTS tests_totals_view TO tests_totals AS
    SELECT part, count() AS notes FROM tests_notes GROUP BY part""",
]


def note(log: Log, *numbers: int, word: str = "word") -> None:
    """One append of a note for each number."""
    add(log, *(codec.encode(Noted(number, word)) for number in numbers))


class Crash(BaseException):
    """The process ends here, as far as the code under test can tell."""


class Unreliable(ClickHouse):
    """The real engine, with faults on demand: one is taken for each insert."""

    faults: list[str]
    """`refuse`: nothing goes in. `lose the reply`: it goes in, nobody learns. `crash before` and
    `crash after`: the same, and the caller is gone. Anything else: all goes well."""

    def insert(
        self, table: str, rows: bytes, count: int, token: str, columns: Sequence[str] = ()
    ) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "crash before":
            raise Crash
        if fault == "refuse":
            raise Unavailable("the engine is away")
        super().insert(table, rows, count, token, columns)
        if fault == "crash after":
            raise Crash
        if fault == "lose the reply":
            raise Unavailable("the connection broke")


def open_unreliable(folder: Path) -> Unreliable:
    warehouse = Unreliable(Settings(data=str(folder)))
    warehouse.faults = []
    warehouse.create(SCHEMA)
    return warehouse


def rows_of(warehouse: ClickHouse) -> list[tuple[int, int, int]]:
    """Offset, number and how many were seen before, of every row."""
    found = warehouse.query(
        "SELECT log_offset, number, seen FROM tests_notes ORDER BY log_offset", {}
    )
    return [(int(str(a)), int(str(b)), int(str(c))) for a, b, c in found]


def counted_in_view(warehouse: ClickHouse) -> int:
    return int(str(warehouse.query("SELECT sum(notes) FROM tests_totals", {})[0][0]))
