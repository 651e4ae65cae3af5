"""Plans of blocks, and the processes that make them: what both leave behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import Misconfigured
from penstock.core.warehouse import Block, Unavailable, Warehouse
from support.stores import create, insert, open_warehouse, stored


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    opened = open_warehouse(tmp_path)
    create(opened)
    yield opened
    opened.close()


# -- plans --------------------------------------------------------------------------------------


def a_block(
    first: int, following: int, *, log: str = "a-log", carry: bytes = b"\x00'\xff"
) -> Block:
    return Block(log, first, following, carry)


def test_the_block_planned_last_is_remembered(warehouse: Warehouse) -> None:
    assert warehouse.planned("tests_rows", 0) is None
    for first in range(0, 50, 10):
        warehouse.plan("tests_rows", 0, a_block(first, first + 10))
    warehouse.plan("tests_rows", 1, a_block(3, 4))
    assert warehouse.planned("tests_rows", 0) == a_block(40, 50)
    assert warehouse.planned("tests_rows", 1) == a_block(3, 4)
    assert warehouse.planned("tests_rows", 2) is None


def test_a_plan_survives_a_reopening(tmp_path: Path) -> None:
    warehouse = open_warehouse(tmp_path)
    create(warehouse)
    warehouse.plan("tests_rows", 0, a_block(0, 10))
    warehouse.close()
    warehouse = open_warehouse(tmp_path)
    assert warehouse.planned("tests_rows", 0) == a_block(0, 10)
    warehouse.close()


def test_a_plan_is_not_undone_by_a_clock_that_steps_back(warehouse: Warehouse) -> None:
    warehouse.plan("tests_rows", 0, a_block(0, 10))
    # As if that had been written while the clock was an hour ahead.
    warehouse.command(
        "INSERT INTO penstock_blocks SELECT * REPLACE (planned_at + INTERVAL 1 HOUR AS planned_at) "
        "FROM penstock_blocks"
    )
    warehouse.plan("tests_rows", 0, a_block(10, 20))
    assert warehouse.planned("tests_rows", 0) == a_block(10, 20)
    warehouse.command("OPTIMIZE TABLE penstock_blocks FINAL")
    assert warehouse.planned("tests_rows", 0) == a_block(10, 20)


def test_plans_move_with_the_contents_of_their_table(warehouse: Warehouse) -> None:
    create(warehouse, "tests_shadow")
    warehouse.plan("tests_rows", 0, a_block(0, 50))
    warehouse.plan("tests_shadow", 0, a_block(0, 20))
    warehouse.exchange("tests_shadow", "tests_rows")
    assert warehouse.planned("tests_rows", 0) == a_block(0, 20)
    create(warehouse, "tests_shadow")
    assert warehouse.planned("tests_shadow", 0) is None


def test_plans_are_gone_with_their_table(warehouse: Warehouse) -> None:
    warehouse.plan("tests_rows", 0, a_block(0, 50))
    warehouse.drop("tests_rows")
    create(warehouse)
    assert warehouse.planned("tests_rows", 0) is None
    warehouse.drop("tests_rows")
    with pytest.raises(Unavailable, match="tests_rows is gone"):
        warehouse.plan("tests_rows", 0, a_block(0, 1))


# -- processes ----------------------------------------------------------------------------------

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


def test_a_second_process_on_one_folder_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    answer = python(_OPENER, str(tmp_path)).communicate(timeout=60)[0]
    assert b"opening the warehouse" in answer
    insert(warehouse, range(3), "a")
    assert stored(warehouse) == [0, 1, 2]


def test_a_warehouse_that_cannot_be_opened_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    with pytest.raises((Misconfigured, OSError)):
        open_warehouse(tmp_path / "data")


def test_a_killed_process_leaves_every_block_it_was_told_of(tmp_path: Path) -> None:
    warehouse = open_warehouse(tmp_path)
    create(warehouse)
    warehouse.close()
    told = -1
    for round_number in range(4):
        inserting = python(_INSERTER, str(tmp_path), str(told + 1))
        assert inserting.stdout is not None
        assert inserting.stdout.readline() == b"open\n"
        time.sleep(0.1 + 0.07 * round_number)
        inserting.send_signal(signal.SIGKILL)
        lines = inserting.communicate()[0].split(b"\n")[:-1]
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
