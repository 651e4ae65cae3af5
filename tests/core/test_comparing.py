"""Two tables of the same events are alike whatever the order of their columns, or by their sums."""

import re
from pathlib import Path
from typing import Any

import pytest

from penstock.apps.audiences.manifest import manifest as audiences
from penstock.core.errors import Misconfigured
from penstock.core.manifest import check_columns
from penstock.core.projection import Row, Rows, Table, Topic
from penstock.core.projection.comparing import fewer_rows, table_differences
from penstock.core.projection.flush import Flush
from penstock.core.warehouse import sql
from support.stores import open_warehouse

TABLE = "CREATE TABLE {} ({}) ENGINE = MergeTree PARTITION BY minute ORDER BY minute"
COLUMNS = {
    "log_offset": "UInt64",
    "project": "String DEFAULT 'default'",
    "minute": "Int64",
    "shop": "String DEFAULT ''",
    "sum": "Int64",
}


class Sum(Row, frozen=True):
    minute: int
    shop: str
    sum: int


def a_table(compared: str = "") -> Table[Any]:
    return Table(
        table="tests_sums",
        topic=Topic("tests.sums", ()),
        row=Sum,
        rows=lambda *_: Rows([], None),
        flush=Flush(wait_seconds=1),
        compared=compared,
    )


def test_tables_are_compared_by_the_names_of_their_columns_or_by_what_they_say(
    tmp_path: Path,
) -> None:
    warehouse = open_warehouse(tmp_path)
    try:
        for name, order in (("tests_sums", COLUMNS), ("tests_shadow", sorted(COLUMNS))):
            columns = ", ".join(f"{column} {COLUMNS[column]}" for column in order)
            warehouse.command(TABLE.format(name, columns))

        def insert(name: str, *rows: tuple[int, int, str, int]) -> None:
            warehouse.command(
                f"INSERT INTO {name} (log_offset, minute, shop, sum) VALUES "
                + ", ".join(map(str, rows))
            )

        insert("tests_sums", (1, 1, "a", 5), (2, 1, "b", 1), (3, 2, "a", 7))
        insert("tests_shadow", (3, 2, "a", 7), (1, 1, "a", 5), (2, 1, "b", 1))
        rows = a_table()
        assert table_differences(rows, warehouse, "tests_shadow") == []
        sums = a_table("SELECT minute, shop, sum(sum) FROM {table} GROUP BY minute, shop")
        assert table_differences(sums, warehouse, "tests_shadow") == []

        # The same in other blocks: other rows, and the same sums.
        insert("tests_sums", (5, 2, "a", 3))
        insert("tests_shadow", (4, 2, "a", 1), (5, 2, "a", 2))
        assert table_differences(rows, warehouse, "tests_shadow") == [
            "partition 2: 2 rows live, 3 rebuilt"
        ]
        assert table_differences(sums, warehouse, "tests_shadow") == []
        assert fewer_rows(sums, warehouse, "tests_shadow", given_up=0) == []

        insert("tests_sums", (6, 3, "c", 1))
        insert("tests_shadow", (6, 1, "b", 1))
        assert table_differences(sums, warehouse, "tests_shadow") == [
            "only live: 1, b, 1",
            "only live: 3, c, 1",
            "only rebuilt: 1, b, 2",
        ]
        assert fewer_rows(sums, warehouse, "tests_shadow", given_up=0) == [
            "4 compared rows live, 3 rebuilt"
        ]
        assert fewer_rows(sums, warehouse, "tests_shadow", given_up=1) == []
    finally:
        warehouse.close()


def test_the_start_names_how_a_table_differs_and_what_to_run(tmp_path: Path) -> None:
    [declared] = sql.schema(audiences.package)
    warehouse = open_warehouse(tmp_path)
    try:
        with pytest.raises(Misconfigured, match="no table audiences_tags; run `penstock migrate`"):
            check_columns(warehouse, audiences)
        warehouse.create([re.sub(r"price +Int32 .*\)", "price Int64", declared)])
        with pytest.raises(
            Misconfigured, match=r"price is Int64 and not Int32. Run `penstock rebuild audiences_t"
        ):
            check_columns(warehouse, audiences)
        warehouse.drop("audiences_tags")
        warehouse.create([declared])
        check_columns(warehouse, audiences)
    finally:
        warehouse.close()
