"""Deletions: rows that an operator had deleted by a condition, and that nobody is to miss.

What is to go is written down before it goes, by partition, with the condition as it was put; that
it is gone, behind. In between nothing of the table is counted, and a process that ended meanwhile
leaves enough to do the same again: the condition is of records before certain ones, so no row
comes by then that it would take as well. Of what is gone only the numbers stay.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from uuid import uuid4

from penstock.core.warehouse import Row, Value
from penstock.core.warehouse.cluster import Layout
from penstock.core.warehouse.sql import quoted

DELETIONS = """-- shard by: cityHash64(contents, name)
CREATE TABLE IF NOT EXISTS penstock_deletions (
  contents String, name String, partition String, rows UInt64, condition String, done UInt8,
  at DateTime('UTC') DEFAULT now()
) ENGINE = ReplacingMergeTree(done) ORDER BY (contents, name, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"""
TABLE = "penstock_deletions"


class Gone(NamedTuple):
    """Of what a table held."""

    under_way: bool
    rows: dict[str, int]
    """By partition."""


class Deletions:
    def __init__(
        self,
        query: Callable[[str, Mapping[str, Value]], list[Row]],
        command: Callable[[str], None],
        layout: Layout,
    ) -> None:
        self._query = query
        self._command = command
        self._layout = layout

    def delete(self, table: str, contents: str, condition: str) -> int:
        """The rows of a table; how many there were. Nobody else may add any meanwhile."""
        self.finish(table, contents)
        found = self._query(
            f"SELECT _partition_id, count() FROM {table} WHERE {condition} GROUP BY _partition_id",
            {},
        )
        rows = {str(partition): int(str(count)) for partition, count in found}
        if rows:
            name = uuid4().hex
            self._note(contents, name, rows, condition, done=False)
            self._carry_out(table, contents, name, rows, condition)
        return sum(rows.values())

    def finish(self, table: str, contents: str) -> None:
        """What somebody began, and did not end."""
        begun: dict[str, tuple[str, dict[str, int]]] = {}
        for name, partition, rows, condition, done in self._noted(contents):
            if not done:
                begun.setdefault(name, (condition, {}))[1][partition] = rows
        for name, (condition, rows_of) in begun.items():
            self._carry_out(table, contents, name, rows_of, condition)

    def gone(self, contents: str) -> Gone:
        rows: dict[str, int] = {}
        under_way = False
        for _, partition, count, _, done in self._noted(contents):
            under_way = under_way or not done
            rows[partition] = rows.get(partition, 0) + count
        return Gone(under_way, rows)

    def _carry_out(
        self, table: str, contents: str, name: str, rows: Mapping[str, int], condition: str
    ) -> None:
        self._command(self._layout.delete(table, condition))
        self._note(contents, name, rows, "", done=True)
        self._command(
            self._layout.merge_everywhere(TABLE)
        )  # what was asked for is nobody's to read any more

    def _noted(self, contents: str) -> list[tuple[str, str, int, str, bool]]:
        rows = self._query(
            "SELECT name, partition, max(rows), max(condition), max(penstock_deletions.done) "
            "FROM penstock_deletions WHERE contents = {contents:String} GROUP BY name, partition "
            "ORDER BY name, partition",
            {"contents": contents},
        )
        return [
            (str(name), str(partition), int(str(count)), str(condition), bool(done))
            for name, partition, count, condition, done in rows
        ]

    def _note(
        self,
        contents: str,
        name: str,
        rows: Mapping[str, int],
        condition: str,
        *,
        done: bool,
    ) -> None:
        values = ", ".join(
            f"('{contents}', '{name}', {quoted(partition)}, {count}, {quoted(condition)}, {done:d})"
            for partition, count in rows.items()
        )
        columns = "contents, name, partition, rows, condition, done"
        self._command(f"INSERT INTO {TABLE} ({columns}) VALUES {values}")
