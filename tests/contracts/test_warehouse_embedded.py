"""The embedded engine and its processes: one at a time, and what a killed one leaves behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings
from penstock.core.warehouse import Block, Warehouse
from penstock.core.warehouse.clickhouse import ClickHouse
from support.endless import NOTHING, endless
from support.stores import create, insert, open_warehouse, stored

_OPENER = """
import sys
from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings
from penstock.core.warehouse.clickhouse import ClickHouse
try:
    ClickHouse(Settings(data=sys.argv[1]))
except Misconfigured as error:
    print(error)
"""
_INSERTER = """
import sys
from penstock.core.settings import Settings
from penstock.core.warehouse.clickhouse import ClickHouse

warehouse = ClickHouse(Settings(data=sys.argv[1]))
print("open", flush=True)
n = int(sys.argv[2])
while True:
    rows = b"".join(b'[%d,%d,"w",1]\\n' % (n * 100 + k, k % 3) for k in range(100))
    warehouse.insert("tests_rows", rows, 100, str(n))
    print(n, flush=True)
    n += 1
"""


def python(program: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_second_process_on_one_folder_is_refused(tmp_path: Path) -> None:
    """Reliability 39."""
    warehouse: Warehouse = open_warehouse(tmp_path)
    create(warehouse)
    answer = python(_OPENER, str(tmp_path)).communicate(timeout=60)[0]
    assert b"opening the warehouse" in answer
    insert(warehouse, range(3), "a")
    assert stored(warehouse) == [0, 1, 2]
    warehouse.close()


def test_a_warehouse_that_cannot_be_opened_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(Misconfigured, match="opening the warehouse"):
        open_warehouse(tmp_path / "data")


@pytest.mark.parametrize("setting", ["warehouse_cluster", "warehouse_replicated"])
def test_settings_of_a_server_are_not_ignored(tmp_path: Path, setting: str) -> None:
    value = "one" if setting == "warehouse_cluster" else True
    with pytest.raises(Misconfigured, match="PENSTOCK_WAREHOUSE=clickhouse://"):
        ClickHouse(Settings(data=str(tmp_path), **{setting: value}))  # type: ignore[arg-type] # by name


def test_a_block_costs_one_plan_and_one_insert_and_no_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = open_warehouse(tmp_path)
    create(warehouse)
    was = warehouse.planned("tests_rows", 0)
    with warehouse._clients.one() as client:
        monkeypatch.setattr(client, "query", pytest.fail)
    for first in range(0, 30, 10):
        block = Block("a-log", first, first + 10, b"")
        warehouse.plan("tests_rows", 0, was, block)
        insert(warehouse, range(first, first + 10), str(first))
        was = block
    warehouse.close()


def test_whatever_else_is_asked_or_added_waits_for_no_long_query(tmp_path: Path) -> None:
    warehouse = open_warehouse(tmp_path)
    create(warehouse)
    slow: list[Future[list[tuple[object, ...]]]] = []
    with ThreadPoolExecutor(2) as pool:
        with endless(tmp_path, lambda: all(query.done() for query in slow)) as question:
            slow += [pool.submit(warehouse.query, question, {}) for _ in range(2)]
            insert(warehouse, range(3), "a")
            warehouse.plan("tests_rows", 0, None, Block("a-log", 0, 3, b""))
            assert stored(warehouse) == [0, 1, 2]
            assert not any(query.done() for query in slow)
        assert [query.result() for query in slow] == 2 * [NOTHING]
    warehouse.close()


def test_there_are_no_more_clients_than_threads_that_ask_at_once(tmp_path: Path) -> None:
    warehouse = open_warehouse(tmp_path)
    create(warehouse)
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda n: warehouse.query(f"SELECT {n}", {}), range(200)):
            assert len(answer) == 1
        list(pool.map(lambda n: insert(warehouse, range(n, n + 1), str(n)), range(40)))
    assert stored(warehouse) == list(range(40))
    assert len(warehouse._clients._all) <= 5
    warehouse.close()


def test_its_size_is_known_while_it_makes_renames_and_removes_folders(tmp_path: Path) -> None:
    warehouse = open_warehouse(tmp_path)
    stopping = threading.Event()

    def work() -> None:
        n = 0
        while not stopping.is_set():
            create(warehouse)
            for _ in range(5):
                insert(warehouse, range(n, n + 20), str(n), parts=20)
                n += 20
            warehouse.command("OPTIMIZE TABLE tests_rows FINAL")
            warehouse.drop("tests_rows")

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            sizes = [warehouse.bytes_on_disk() for _ in range(400)]
        finally:
            stopping.set()
        working.result()
    assert min(sizes) > 0
    warehouse.close()


@pytest.mark.slow
def test_a_killed_process_leaves_every_block_it_was_told_of(tmp_path: Path) -> None:
    """Reliability 9."""
    warehouse = open_warehouse(tmp_path)
    create(warehouse)
    warehouse.close()
    told = -1
    for round_number in range(4):
        inserting = python(_INSERTER, str(tmp_path), str(told + 1))
        assert inserting.stdout is not None
        assert inserting.stdout.readline() == b"open\n"
        lines = [inserting.stdout.readline() for _ in range(1 + round_number)]
        time.sleep(0.02 * round_number)
        inserting.send_signal(signal.SIGKILL)
        lines += inserting.communicate()[0].split(b"\n")[:-1]
        told = max([told, *(int(line) for line in lines)])
        warehouse = open_warehouse(tmp_path)
        found = warehouse.query("SELECT intDiv(n, 100), count(), uniqExact(n) FROM tests_rows "
                                "GROUP BY 1 ORDER BY 1", {})  # fmt: skip
        warehouse.close()
        blocks = [int(str(block)) for block, _, _ in found]
        assert blocks[: told + 1] == list(range(told + 1))
        assert len(blocks) <= told + 2
        whole = found[: told + 1]
        assert [row[1:] for row in whole] == [(100, 100)] * len(whole)
    assert told >= 4
