"""A ClickHouse server that loses replies, dies and comes back: each record is stored once."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import Moved
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import TableSink
from penstock.core.settings import Settings
from penstock.core.warehouse import Block, Unavailable
from penstock.core.warehouse.clickhouse import ClickHouse
from support import notes
from support.clickhouse import ThinServer
from support.clock import MovedClock
from support.lines import Lines
from support.logs import wait_until
from support.notes import counted_in_view, note, rows_of
from support.stores import open_state, stores

LAYOUTS = {"host": {}, "cluster": {"warehouse_cluster": "one"}}
SCHEMA = [text if "VIEW" in text else f"-- shard by: part\n{text}" for text in notes.SCHEMA]


class Running:
    """A log and a state of this process, and a table on a server that it does not have in hand."""

    def __init__(self, folder: Path, server: ThinServer, layout: str) -> None:
        self.server = server
        self.log = SqliteLog(folder / "log.db", MovedClock(), Limits())
        self.state = open_state(folder)
        self._settings = {"data": str(folder), "warehouse": server.url(), **LAYOUTS[layout]}
        self.warehouse = self.open()
        self.warehouse.create(SCHEMA)
        self.lines = Lines()
        self.table = self.consumer(self.warehouse)

    def open(self) -> ClickHouse:
        return ClickHouse(Settings(**self._settings))  # type: ignore[arg-type] # by name

    def consumer(self, warehouse: ClickHouse) -> Consumer:
        inner = TableSink(notes.table, stores(warehouse, self.state, MovedClock()))
        return Consumer(notes.table, inner, self.log, SystemClock(), self.lines.logger)

    def reached(self, offset: int) -> bool:
        return self.table.cursors[0].position >= offset

    def close(self) -> None:
        self.table.stop()
        self.warehouse.close()
        self.state.close()
        self.log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThinServer]:
    with ThinServer(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


@pytest.fixture(params=LAYOUTS)
def running(
    tmp_path: Path, server: ThinServer, request: pytest.FixtureRequest
) -> Iterator[Running]:
    made = Running(tmp_path, server, request.param)
    yield made
    server.faults(lose=0, slow_seconds=0)
    for table in ("tests_totals_view", "tests_totals", "tests_notes"):
        made.warehouse.drop(table)
    made.close()


def assert_once(running: Running, count: int) -> None:
    assert rows_of(running.warehouse) == [(n, n, n) for n in range(count)]
    assert counted_in_view(running.warehouse) == count


def test_an_insert_whose_reply_is_lost_is_there_once_also_in_a_view(running: Running) -> None:
    """Reliability 8."""
    note(running.log, *range(200))
    running.server.faults(lose=5)  # the client itself sends a block a second time
    running.table.start()
    wait_until(lambda: running.reached(200))
    assert running.table.cursors[0].retries >= 2
    assert_once(running, 200)


def test_a_server_that_is_away_is_waited_for_and_nothing_is_lost_or_doubled(
    running: Running,
) -> None:
    """Reliability 7."""
    running.table.start()
    for round_number in range(3):
        first = 100 * round_number
        note(running.log, *range(first, first + 60))
        time.sleep(0.05 * round_number)  # it dies at rest, and with a block in hand
        running.server.kill()
        note(running.log, *range(first + 60, first + 100))
        wait_until(lambda: running.table.state == "retrying")
        with pytest.raises(Unavailable, match=r"querying the warehouse: .+ refused"):
            running.warehouse.query("SELECT 1", {})
        running.server.start()
        wait_until(lambda first=first: running.reached(first + 100))  # type: ignore[misc] # bound
    wait_until(lambda: running.table.state == "running")
    assert_once(running, 300)


def test_a_slow_server_is_waited_for(running: Running) -> None:
    note(running.log, *range(80))
    running.server.faults(slow_seconds=0.2)
    running.table.start()
    wait_until(lambda: running.reached(80))
    assert running.table.cursors[0].retries == 0
    assert_once(running, 80)


def test_two_processes_that_both_think_the_partition_is_theirs_store_each_record_once(
    running: Running,
) -> None:
    """As in the moments after a take-over: each goes on from where the other's plans end."""
    note(running.log, *range(400))
    warehouse = running.open()
    other = running.consumer(warehouse)
    running.table.start()
    other.start()
    for first in range(400, 1000, 20):
        note(running.log, *range(first, first + 20))
        time.sleep(0.01)
    wait_until(lambda: running.reached(1000) and other.cursors[0].position >= 1000)
    other.stop()
    warehouse.close()
    assert_once(running, 1000)


def test_a_process_that_slept_is_told_so_before_it_inserts_anything(running: Running) -> None:
    note(running.log, *range(100))
    running.table.start()
    wait_until(lambda: running.reached(100))
    running.table.stop()
    warehouse = running.open()
    last = warehouse.planned("tests_notes", 0)
    assert last is not None
    stale = Block(last.log, 0, 1, b"")
    with pytest.raises(Moved, match="another process has taken it over"):
        warehouse.plan("tests_notes", 0, stale, Block(last.log, 1, 100, b""))
    warehouse.close()
    assert_once(running, 100)


def test_queries_of_many_threads_survive_an_outage(running: Running) -> None:
    """Reliability 7."""
    answers: list[bool] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(running.warehouse.query("SELECT 1", {}) == [(1,)])
            except Unavailable:
                time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) > 20)
    running.server.kill()
    running.server.start()
    before = len(answers)
    wait_until(lambda: len(answers) > before + 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert all(answers)
