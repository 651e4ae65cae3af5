"""Damage of every kind to every file of a part: never a wrong number (reliability 46)."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from penstock.core.warehouse import Block, Row, Unavailable, Value
from penstock.core.warehouse.clickhouse import ClickHouse
from penstock.core.warehouse.counts import Counts, fewer
from support.damage import KINDS, Damage, emptied, flipped
from support.stores import create, insert, open_warehouse, stored
from support.warehouses import SERVED, Place

ROWS = 300
TABLES = ("tests_rows", *(f"tests_more_{n}" for n in range(12)))
"""One for each file of a part: to open an engine takes a second."""
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three parts of each table, as a clean stop leaves it."""
    folder = tmp_path_factory.mktemp("whole")
    with closing(open_warehouse(folder)) as warehouse:
        for table in TABLES:
            create(warehouse, table)
            for first in range(0, ROWS, 100):
                insert(warehouse, range(first, first + 100), str(first), table=table)
            warehouse.plan(table, 0, None, Block("a-log", 0, ROWS, b""))
            assert warehouse.damage(table, deep=True) == ""
            assert warehouse.lacking(table) == ""
    return folder


def part_of(folder: Path, table: str, part: str = "0_2_2_0") -> Path:
    (declaration,) = folder.glob(f"warehouse/store/*/*/{table}.sql")
    identity = declaration.read_text().partition("UUID '")[2].partition("'")[0]
    return folder / "warehouse" / "store" / identity[:3] / identity / part


@contextmanager
def damaged(whole: Path, folder: Path, damage: Callable[[Path], object]) -> Iterator[ClickHouse]:
    """`damage` is told the folder."""
    shutil.copytree(whole, folder, symlinks=True)
    damage(folder)
    with closing(open_warehouse(folder)) as warehouse:
        yield warehouse


@pytest.mark.parametrize("damage", KINDS)
def test_whatever_is_damaged_of_a_part_is_told_or_does_not_matter(
    whole: Path, tmp_path: Path, damage: Damage
) -> None:
    """Were it only `count(*)` that stays right, an index could still hide rows from a query."""
    names = sorted(file.name for file in part_of(whole, "tests_rows").iterdir())
    assert len(names) <= len(TABLES)
    tables = dict(zip(TABLES, names, strict=False))

    def spoil(folder: Path) -> None:
        for table, name in tables.items():
            damage(part_of(folder, table) / name)

    with damaged(whole, tmp_path / "copy", spoil) as warehouse:
        told = {name: warehouse.damage(table, deep=True) for table, name in tables.items()}
        for table, name in tables.items():
            if not told[name]:
                assert stored(warehouse, table) == list(range(ROWS)), name
                assert warehouse.lacking(table) == ""
    assert told["data.bin"]
    assert told["minmax_part.idx"], "it would hide rows"
    assert sum(map(bool, told.values())) >= 7, told


@pytest.mark.parametrize("damage", KINDS)
def test_plans_that_are_damaged_are_read_or_put_aside(
    whole: Path, tmp_path: Path, damage: Damage
) -> None:
    """Then rows are ahead of them, which is noticed; plans that cannot be read would end all."""

    def spoil(folder: Path) -> None:
        parts = sorted(part_of(folder, "penstock_blocks", "").glob("all_*"))
        for number, file in enumerate(sorted(parts[0].iterdir())):
            damage(parts[number % len(parts)] / file.name)

    with damaged(whole, tmp_path / "copy", spoil) as warehouse:
        planned = [warehouse.planned(table, 0) for table in TABLES]
        assert set(planned) <= {None, Block("a-log", 0, ROWS, b"")}
        assert warehouse.damage("tests_rows") == ""


def test_a_part_that_is_there_twice_is_not_counted_twice(whole: Path, tmp_path: Path) -> None:
    """Reliability 46: as a backup of files that was put back over newer ones leaves it."""

    def copy(folder: Path) -> None:
        part = part_of(folder, "tests_rows")
        shutil.copytree(part, part.with_name("0_70_70_0"))

    with damaged(whole, tmp_path / "copy", copy) as warehouse:
        assert warehouse.damage("tests_rows") == "the part 0_2_2_0 is there twice, as 0_70_70_0"
        assert warehouse.damage("tests_more_0") == ""


def test_a_part_that_is_gone_altogether_is_missed_by_its_rows(whole: Path, tmp_path: Path) -> None:
    with damaged(
        whole, tmp_path / "copy", lambda folder: shutil.rmtree(part_of(folder, "tests_rows"))
    ) as warehouse:
        assert len(stored(warehouse)) == 200, "the engine has not noticed"
        assert warehouse.damage("tests_rows", deep=True) == ""
        said = warehouse.lacking("tests_rows")
        assert said == "rows are missing from 1 partitions, such as 0, which had 300 and has 200"
        assert warehouse.lacking("tests_rows") == said
        assert warehouse.expire("tests_rows", 1) == 1
        assert warehouse.lacking("tests_rows") == "", "outdated partitions may go"


def test_rows_that_another_process_counts_meanwhile_are_no_loss(
    whole: Path, tmp_path: Path
) -> None:
    with damaged(whole, tmp_path / "copy", lambda _: None) as warehouse:
        counts, came = warehouse._counts, False
        ask = counts._query

        def late(sql: str, parameters: Mapping[str, Value]) -> list[Row]:
            nonlocal came
            rows = ask(sql, parameters)
            if "count()" in sql and not came:
                came = True
                insert(warehouse, range(ROWS, ROWS + 10), "more")
                others = Counts(ask, counts._insert, counts._gone)
                assert others.lacking("tests_rows", warehouse._contents("tests_rows")) == ""
            return rows

        counts._query = late
        assert warehouse.lacking("tests_rows") == ""
        assert came


def test_a_part_put_aside_is_named_until_the_table_is_another(whole: Path, tmp_path: Path) -> None:
    with damaged(
        whole, tmp_path / "copy", lambda folder: emptied(part_of(folder, "tests_rows") / "data.bin")
    ) as warehouse:
        assert "broken-on-start_0_2_2_0" in warehouse.damage("tests_rows")
        create(warehouse, "tests_shadow")
        insert(warehouse, range(ROWS), "a", table="tests_shadow")
        assert warehouse.damage("tests_shadow") == ""
        warehouse.exchange("tests_shadow", "tests_rows")
        assert warehouse.damage("tests_rows", deep=True) == ""
        assert warehouse.lacking("tests_rows") == ""


def test_files_that_change_while_the_engine_runs_are_noticed_without_a_query(
    whole: Path, tmp_path: Path
) -> None:
    with damaged(whole, tmp_path / "copy", lambda _: None) as warehouse:
        for table in TABLES:
            assert warehouse.damage(table) == ""
        emptied(part_of(tmp_path / "copy", "tests_rows") / "data.bin")
        assert "such as 0_2_2_0" in warehouse.damage("tests_rows")
        assert warehouse.damage(TABLES[1]) == ""


def test_parts_that_are_merged_away_are_no_damage(tmp_path: Path) -> None:
    with closing(open_warehouse(tmp_path)) as warehouse:
        create(warehouse)
        for n in range(12):
            insert(warehouse, range(n * 10, n * 10 + 10), str(n), parts=3)
            assert warehouse.damage("tests_rows") == ""
            assert warehouse.lacking("tests_rows") == ""
            warehouse.command("OPTIMIZE TABLE tests_rows FINAL")
        assert warehouse.damage("tests_rows", deep=True) == ""


def test_what_the_engine_meets_in_vain_by_itself_is_heard_of_and_ended(tmp_path: Path) -> None:
    """It would merge a damaged part again and again, and say so to nobody."""
    with closing(open_warehouse(tmp_path)) as warehouse:
        create(warehouse)
        insert(warehouse, range(1000), "first")
        (file,) = tmp_path.glob("warehouse/store/*/*/0_1_1_0/data.bin")
        assert warehouse.damage("tests_rows") == ""
        flipped(file)
        warehouse.command("SYSTEM DROP MARK CACHE")
        for n in range(1, 8):
            insert(warehouse, range(n * 1000, n * 1000 + 1000), str(n))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (said := warehouse.damage("tests_rows")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert said == "the part 0_1_1_0 cannot be read: its checksums do not match"
        warehouse.rest("tests_rows")
        while warehouse.query("SELECT 1 FROM system.merges", {}):
            assert time.monotonic() < deadline
        with pytest.raises(Unavailable):
            warehouse.query("SELECT sum(cityHash64(*)) FROM tests_rows", {})


def test_fewer_rows_than_there_were() -> None:
    assert fewer({}, {"1": 3}) == ""
    assert fewer({"1": 3}, {"1": 3, "2": 1}) == ""
    assert "which had 3 and has 0" in fewer({"1": 3}, {})
    assert fewer({"1": 3, "": 2}, {}) == ""
    assert fewer({"1": 3}, {"": 2}) == "", "it was dropped between the two"
    assert "such as 2, " in fewer({"1": 3, "2": 5, "": 2}, {"2": 4})
    assert "such as all, " in fewer({"all": 3, "": 99}, {"all": 2})


@pytest.mark.parametrize("shared", [SERVED], indirect=True)
def test_rows_that_a_server_lost_are_missed(shared: Place) -> None:
    with shared.opened() as warehouse, shared.opened() as other:
        create(warehouse)
        insert(warehouse, range(90), "a", parts=3)
        assert warehouse.lacking("tests_rows") == ""
        assert other.expire("tests_rows", 1) == 1
        assert warehouse.lacking("tests_rows") == "", "another process may expire what is outdated"
        warehouse.command("ALTER TABLE tests_rows DROP PARTITION 1")
        for one in (warehouse, other):
            assert "such as 1, which had 30 and has 0" in one.lacking("tests_rows")


_PING = """
import os, sys, threading
from penstock.core.settings import Settings
from penstock.core.warehouse.clickhouse import ClickHouse
warehouse = ClickHouse(Settings(data=sys.argv[1]))
os.mkfifo(sys.argv[1] + "/pipe")
ask = f"SELECT * FROM file('{sys.argv[1]}/pipe', 'CSV', 'word String')"
for _ in range(9):
    threading.Thread(target=warehouse.query, args=(ask, {}), daemon=True).start()
while len(warehouse.query("SELECT 1 FROM system.processes", {})) < 10: pass
warehouse.ping()
warehouse.close()
os.write(1, b"closed")
os._exit(0)
"""


def test_questions_that_never_return_keep_neither_a_ping_nor_a_close_waiting(
    tmp_path: Path,
) -> None:
    """Nobody writes to a pipe that the engine reads (reliability 50)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _PING, str(tmp_path)],
        env=environment, capture_output=True, timeout=PATIENCE_SECONDS, check=True,
    )  # fmt: skip
    assert done.stdout == b"closed"
