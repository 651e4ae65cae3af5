"""A block that may be in, on every engine: what of it is missing goes in, whatever tokens say."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.core.log.memory import MemoryLog
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.sinks import sink
from penstock.core.projects import DEFAULT_PROJECT
from penstock.core.state.rocksdb import RocksState
from penstock.core.warehouse import Block, Warehouse
from penstock.core.warehouse.clickhouse import ClickHouse
from support import notes
from support.clock import MovedClock
from support.lines import Lines
from support.logs import TOPIC
from support.notes import NoteRow, note, rows_of
from support.stores import open_state, stores
from support.warehouses import Place

KEYED = "-- shard by: cityHash64(log_offset)\n"


@pytest.fixture
def noted(place: Place) -> Iterator[ClickHouse]:
    with place.opened() as warehouse:
        warehouse.create([KEYED + notes.SCHEMA[0]])
        yield warehouse


@pytest.fixture
def state(tmp_path: Path) -> Iterator[RocksState]:
    opened = open_state(tmp_path)
    yield opened
    opened.close()


def carry_once(log: MemoryLog, warehouse: Warehouse, state: RocksState, clock: MovedClock) -> None:
    """As a process does that starts."""
    inner = sink(notes.table, stores(warehouse, state, clock))
    Cursor(notes.table, inner, log, clock, Lines().logger).resume(log.reader())


@pytest.mark.parametrize("there", [(), (1,), (0, 2), (0, 1, 2)])
def test_what_is_missing_of_the_last_block_goes_in_under_a_token_that_nobody_knows(
    noted: ClickHouse, state: RocksState, clock: MovedClock, there: tuple[int, ...]
) -> None:
    """Reliability 2 and 9."""
    log = MemoryLog(clock)
    note(log, *range(30))
    proof = log.read(TOPIC, 0, 30, 0, "").proof
    block = Block(log.identity(TOPIC), 0, 30, msgspec.msgpack.encode(0), proof)
    noted.plan("tests_notes", 0, None, block)
    rows = [
        NoteRow(n, DEFAULT_PROJECT, n % notes.PARTS, n, n)
        for n in range(30)
        if n % notes.PARTS in there
    ]
    if rows:
        lines = msgspec.json.Encoder().encode_lines(rows)
        noted.insert("tests_notes", lines, len(rows), "a token that was lost")
    for _ in range(2):
        carry_once(log, noted, state, clock)
        assert rows_of(noted) == [(n, n, n) for n in range(30)]


def test_whether_a_table_feeds_a_view_is_known(noted: ClickHouse) -> None:
    """Reliability 8."""
    assert not noted.feeds("tests_notes")
    noted.create(["-- shard by: part\n" + notes.SCHEMA[1], notes.SCHEMA[2]])
    assert noted.feeds("tests_notes")
    assert not noted.feeds("tests_totals")
