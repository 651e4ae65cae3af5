"""What a log that forgets still covers of a read model: only that can be made again from it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from penstock.core.log import record_number
from penstock.core.projection import Table
from penstock.core.warehouse import Warehouse


class Uncovered(NamedTuple):
    """A partition of a table that has rows of records which the log keeps no longer."""

    partition: str
    rows: int
    """All of it."""
    forgotten: int
    """Those of such records."""

    def __str__(self) -> str:
        return (
            f"partition {self.partition} as it is: {self.forgotten} of its {self.rows} rows are of "
            "records that the log keeps no longer"
        )


def begins(starts: Mapping[int, int]) -> list[str]:
    """What the log lacks at its front, in words."""
    return [
        f"partition {partition} of the log begins at {start}, and what there is may be made of the "
        "records before"
        for partition, start in sorted(starts.items())
        if start
    ]


def uncovered(
    table: Table[Any], warehouse: Warehouse, starts: Mapping[int, int]
) -> list[Uncovered]:
    """Partitions of the table that the log, which begins there, does not cover whole."""
    ranges = [
        f"(log_offset >= {record_number(partition, 0)} "
        f"AND log_offset < {record_number(partition, start)})"
        for partition, start in sorted(starts.items())
        if start
    ]
    if not ranges:
        return []
    retained = table.retained.format(table=table.table)
    rows = warehouse.query(
        f"SELECT _partition_id, count() AS all, countIf({' OR '.join(ranges)}) AS gone "
        f"FROM {table.table} WHERE {retained} GROUP BY _partition_id HAVING gone > 0 "
        "ORDER BY _partition_id",
        {},
    )
    return [Uncovered(str(p), int(str(count)), int(str(gone))) for p, count, gone in rows]
