"""What every warehouse promises to projections and queries."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings
from penstock.core.warehouse import BadRows, Block, Unavailable, Warehouse
from penstock.core.warehouse.clickhouse import ClickHouse
from support.stores import open_warehouse

TABLE = """
CREATE TABLE IF NOT EXISTS {name} (n UInt64, part Int64, word LowCardinality(String), price Int32)
ENGINE = MergeTree PARTITION BY part ORDER BY n
SETTINGS non_replicated_deduplication_window = 1000
"""


def create(warehouse: Warehouse, name: str = "tests_rows") -> None:
    warehouse.create([TABLE.format(name=name)])


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    opened = open_warehouse(tmp_path)
    create(opened)
    yield opened
    opened.close()


def rows(*numbers: int, parts: int = 1) -> bytes:
    return msgspec.json.Encoder().encode_lines([(n, n % parts, "word", n) for n in numbers])


def insert(
    warehouse: Warehouse, numbers: range, token: str, *, parts: int = 1, table: str = "tests_rows"
) -> None:
    warehouse.insert(table, rows(*numbers, parts=parts), len(numbers), token)


def stored(warehouse: Warehouse, table: str = "tests_rows") -> list[int]:
    found = warehouse.query(f"SELECT n FROM {table} ORDER BY n", {})
    return [int(str(n)) for (n,) in found]


# -- inserting ----------------------------------------------------------------------------------


def test_rows_are_there_once_the_insert_returns(warehouse: Warehouse) -> None:
    insert(warehouse, range(1000), "a")
    assert stored(warehouse) == list(range(1000))
    assert warehouse.query("SELECT part, word, price FROM tests_rows WHERE n = 7", {}) == [
        (0, "word", 7)
    ]


def test_large_blocks_go_in_as_one(warehouse: Warehouse) -> None:
    insert(warehouse, range(60_000), "a", parts=7)
    insert(warehouse, range(60_000), "a", parts=7)
    assert warehouse.query("SELECT count(), uniqExact(n) FROM tests_rows", {}) == [(60_000, 60_000)]


@pytest.mark.parametrize("parts", [1, 5])
def test_a_block_sent_thrice_is_stored_once(warehouse: Warehouse, parts: int) -> None:
    for _ in range(3):
        insert(warehouse, range(100), "a", parts=parts)
    assert stored(warehouse) == list(range(100))


def test_equal_rows_under_another_token_are_other_rows(warehouse: Warehouse) -> None:
    insert(warehouse, range(3), "a")
    insert(warehouse, range(3), "b")
    assert stored(warehouse) == [0, 0, 1, 1, 2, 2]


def test_the_token_decides_and_not_the_rows(warehouse: Warehouse) -> None:
    insert(warehouse, range(3), "a")
    insert(warehouse, range(5), "a")
    assert stored(warehouse) == [0, 1, 2]


def test_equal_rows_in_one_block_are_all_kept(warehouse: Warehouse) -> None:
    warehouse.insert("tests_rows", rows(1, 1, 1), 3, "a")
    assert stored(warehouse) == [1, 1, 1]


def test_a_block_is_known_again_after_a_reopening(tmp_path: Path) -> None:
    for _ in range(3):
        warehouse = open_warehouse(tmp_path)
        create(warehouse)
        insert(warehouse, range(10), "a", parts=3)
        assert stored(warehouse) == list(range(10))
        warehouse.close()


def test_a_block_is_known_again_after_its_parts_were_merged(warehouse: Warehouse) -> None:
    for n in range(10):
        insert(warehouse, range(n, n + 1), f"token {n}")
    warehouse.command("OPTIMIZE TABLE tests_rows FINAL")
    for n in range(10):
        insert(warehouse, range(n, n + 1), f"token {n}")
    assert stored(warehouse) == list(range(10))


def test_a_block_is_known_again_after_the_table_took_anothers_name(warehouse: Warehouse) -> None:
    create(warehouse, "tests_shadow")
    insert(warehouse, range(5), "live")
    insert(warehouse, range(10), "shadow", table="tests_shadow")
    warehouse.exchange("tests_shadow", "tests_rows")
    assert stored(warehouse) == list(range(10))
    assert warehouse.columns("tests_shadow") == []
    insert(warehouse, range(10), "shadow")
    assert stored(warehouse) == list(range(10))
    insert(warehouse, range(10, 12), "live")
    assert stored(warehouse) == list(range(12))


def test_a_repeated_block_is_counted_once_in_a_materialised_view(warehouse: Warehouse) -> None:
    warehouse.create(
        [
            """CREATE TABLE tests_sums (part Int64, rows UInt64, total Int64)
            ENGINE = SummingMergeTree ORDER BY part
            SETTINGS non_replicated_deduplication_window = 1000""",
            """CREATE MATERIALIZED VIEW tests_view TO tests_sums AS
            SELECT part, count() AS rows, sum(price) AS total FROM tests_rows GROUP BY part""",
        ]
    )
    for _ in range(3):
        insert(warehouse, range(10), "a", parts=2)
    insert(warehouse, range(10), "b", parts=2)
    found = warehouse.query(
        "SELECT part, sum(rows), sum(total) FROM tests_sums GROUP BY part ORDER BY part", {}
    )
    assert found == [(0, 10, 40), (1, 10, 50)]


def test_blocks_from_many_threads_are_all_stored(warehouse: Warehouse) -> None:
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            list(
                pool.map(lambda k: insert(warehouse, range(k * 50, k * 50 + 50), f"{k}"), range(20))
            )
    assert stored(warehouse) == list(range(1000))


# -- what may go wrong with rows ----------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        b'[1,0,"w","no number"]',
        b'[1,0,"w"]',
        b'[-1,0,"w",1]',
        b'[1,0,"w",1,2]',
        b"no row at all",
        b'[1,0,"w",1',
    ],
)
def test_a_row_the_engine_refuses_takes_its_whole_block_with_it(
    warehouse: Warehouse, bad: bytes
) -> None:
    block = rows(*range(50)) + bad + b"\n" + rows(*range(50, 100))
    with pytest.raises(BadRows, match="tests_rows"):
        warehouse.insert("tests_rows", block, 101, "a")
    assert stored(warehouse) == []
    insert(warehouse, range(2), "a")
    assert stored(warehouse) == [0, 1]


def test_a_block_with_fewer_rows_than_promised_is_no_success(warehouse: Warehouse) -> None:
    with pytest.raises(Unavailable, match="3 of 4 rows"):
        warehouse.insert("tests_rows", rows(1, 2, 3), 4, "a")


def test_any_words_go_in_and_come_out_unchanged(warehouse: Warehouse) -> None:
    words = ["", "'", '"', "\\", "\\N", "\n\t\0", "żółć", "😀", "{a:String}", "--", "%s", "NULL"]
    block = msgspec.json.Encoder().encode_lines([(n, 0, w, 0) for n, w in enumerate(words)])
    warehouse.insert("tests_rows", block, len(words), "a")
    for n, word in enumerate(words):
        found = warehouse.query(
            "SELECT n, word FROM tests_rows WHERE word = {w:String}", {"w": word}
        )
        assert found == [(n, word)]


def test_numbers_keep_their_last_digit(warehouse: Warehouse) -> None:
    edges = [(2**64 - 1, -(2**63), "w", 2**31 - 1), (0, 2**63 - 1, "w", -(2**31))]
    for number, edge in enumerate(edges):
        block = msgspec.json.Encoder().encode_lines([edge])
        warehouse.insert("tests_rows", block, 1, f"{number}")
        assert warehouse.query("SELECT * FROM tests_rows WHERE n = {n:UInt64}", {"n": edge[0]}) == [
            edge
        ]


def test_an_insert_into_a_table_that_is_gone_may_be_tried_again(warehouse: Warehouse) -> None:
    warehouse.drop("tests_rows")
    with pytest.raises(Unavailable):
        insert(warehouse, range(3), "a")
    create(warehouse)
    insert(warehouse, range(3), "a")
    assert stored(warehouse) == [0, 1, 2]


def test_rows_written_into_the_statement_itself_vanish_so_we_never_do_that(
    warehouse: Warehouse,
) -> None:
    """A trap of the embedded engine (chDB 26.9): no error, nothing stored. `insert` counts."""
    warehouse.command(
        "INSERT INTO tests_rows SELECT n, 0, 'w', 0 FROM input('n UInt64') FORMAT JSONEachRow "
        '{"n": 1}'
    )
    assert stored(warehouse) in ([], [1])
    insert(warehouse, range(5, 7), "a")
    assert stored(warehouse)[-2:] == [5, 6]


# -- queries and their limits -------------------------------------------------------------------


def test_a_query_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    warehouse = ClickHouse(Settings(data=str(tmp_path), query_seconds_max=0.3))
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="querying the warehouse"):
            warehouse.query("SELECT sum(sipHash64(number)) FROM numbers(1000000000000)", {})
        assert time.monotonic() - began < 10
        assert warehouse.query("SELECT 1", {}) == [(1,)]
    finally:
        warehouse.close()


def test_a_query_that_takes_too_much_memory_is_ended_and_the_process_lives(tmp_path: Path) -> None:
    warehouse = ClickHouse(Settings(data=str(tmp_path), query_memory_bytes_max=50_000_000))
    try:
        with pytest.raises(Unavailable, match="memory limit exceeded"):
            warehouse.query("SELECT groupArray(number) FROM numbers(100000000)", {})
        assert warehouse.query("SELECT 1", {}) == [(1,)]
    finally:
        warehouse.close()


def test_a_faulty_query_is_an_error_that_names_its_cause(warehouse: Warehouse) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        warehouse.query("SELECT 1 FROM nowhere", {})
    with pytest.raises(Unavailable, match="changing the warehouse"):
        warehouse.command("DROP TABLE nowhere")


def test_a_parameter_never_becomes_part_of_the_statement(warehouse: Warehouse) -> None:
    evil = "x'; DROP TABLE tests_rows; --"
    assert warehouse.query("SELECT {w:String}", {"w": evil}) == [(evil,)]
    assert warehouse.columns("tests_rows") != []


def test_columns_are_named_in_their_order(warehouse: Warehouse) -> None:
    assert warehouse.columns("tests_rows") == ["n", "part", "word", "price"]
    assert warehouse.columns("tests_none") == []


def test_queries_answer_while_blocks_go_in(warehouse: Warehouse) -> None:
    stop = threading.Event()
    counts: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            counts.append(int(str(warehouse.query("SELECT count() FROM tests_rows", {})[0][0])))

    asking = threading.Thread(target=ask)
    asking.start()
    for n in range(30):
        insert(warehouse, range(n * 100, n * 100 + 100), f"{n}")
    stop.set()
    asking.join()
    assert counts == sorted(counts)
    assert all(count % 100 == 0 for count in counts)


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
