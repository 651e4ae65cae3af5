"""Counts: how many rows each partition of a table had, so that one that lost some is noticed.

An engine does not miss a part that is gone altogether. Rows only ever come to a partition, until it
is dropped as a whole because it is outdated, or an operator has some deleted, which is written
down; so the most that was counted is the least there is, with what was deleted.
"""

from collections.abc import Callable, Mapping

from penstock.core.warehouse import Row, Value
from penstock.core.warehouse.deletions import Gone

COUNTS = """-- shard by: cityHash64(contents, partition)
CREATE TABLE IF NOT EXISTS penstock_counts (
  contents String, partition String, rows UInt64
) ENGINE = ReplacingMergeTree(rows) ORDER BY (contents, partition)"""
_BOUND = ""
"""The partition of this name counts no rows: its number says which others are outdated."""


class Counts:
    def __init__(
        self,
        query: Callable[[str, Mapping[str, Value]], list[Row]],
        insert: Callable[[str], None],
        gone: Callable[[str], Gone],
    ) -> None:
        self._query = query
        self._insert = insert
        self._gone = gone
        self._known: dict[str, dict[str, int]] = {}

    def lacking(self, table: str, contents: str) -> str:
        """`contents`: identity of what the table holds."""
        gone = self._gone(contents)
        if gone.under_way:
            return ""
        now = self._count(table, gone)
        known = self._known.get(contents)
        if known is None or fewer(known, now):  # another process may have dropped what is outdated
            known = self._known[contents] = self._read(contents)
        if fewer(known, now):  # or it may have counted more meanwhile, which is there then
            now = self._count(table, gone)
            if lost := fewer(known, now):
                return lost if self._gone(contents) == gone else ""
        self._add(contents, {p: count for p, count in now.items() if count > known.get(p, 0)})
        return ""

    def known(self, contents: str) -> dict[str, int]:
        """What was counted, whoever did, but for what is outdated."""
        known = self._read(contents)
        bound = known.get(_BOUND, 0)
        return {p: count for p, count in known.items() if p == _BOUND or not _below(p, bound)}

    def outdate(self, contents: str, bound: int) -> None:
        """Partitions with a lower number are about to be dropped."""
        known = self._known.setdefault(contents, self._read(contents))
        if bound > known.get(_BOUND, 0):
            self._add(contents, {_BOUND: bound})

    def _count(self, table: str, gone: Gone) -> dict[str, int]:
        """With those that an operator had deleted: so they only ever grow."""
        rows = self._query(f"SELECT _partition_id, count() FROM {table} GROUP BY _partition_id", {})
        counted = dict(gone.rows)
        for partition, count in rows:
            counted[str(partition)] = counted.get(str(partition), 0) + int(str(count))
        return counted

    def _read(self, contents: str) -> dict[str, int]:
        rows = self._query(
            "SELECT partition, max(rows) FROM penstock_counts WHERE contents = {contents:String} "
            "GROUP BY partition",
            {"contents": contents},
        )
        return {str(partition): int(str(count)) for partition, count in rows}

    def _add(self, contents: str, more: dict[str, int]) -> None:
        if more:
            values = ", ".join(f"('{contents}', '{p}', {count})" for p, count in more.items())
            self._insert(f"INSERT INTO penstock_counts VALUES {values}")
            # Looks, resumes and retention are threads of their own: none sees it change.
            self._known[contents] = self._known[contents] | more


def fewer(was: Mapping[str, int], now: Mapping[str, int]) -> str:
    """Partitions that hold fewer rows than they did, in words; outdated ones may. Pure."""
    bound = max(was.get(_BOUND, 0), now.get(_BOUND, 0))
    lacking = [
        (partition, rows)
        for partition, rows in sorted(was.items())
        if partition != _BOUND and now.get(partition, 0) < rows and not _below(partition, bound)
    ]
    if not lacking:
        return ""
    partition, rows = lacking[0]
    return (
        f"rows are missing from {len(lacking)} partitions, such as {partition}, which had {rows} "
        f"and has {now.get(partition, 0)}"
    )


def _below(partition: str, bound: int) -> bool:
    try:
        return int(partition) < bound
    except ValueError:
        return False
