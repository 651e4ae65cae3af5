"""What the rows that are there say of plans and tokens, which a stop may have lost.

Rows ahead of their plan are left when plans were lost and rows were not; of the block that was
planned last, all rows may be in, some, or none.
"""

from collections import Counter
from collections.abc import Sequence

from penstock.core.log import RECORD_BITS, record_place
from penstock.core.projection import Row
from penstock.core.warehouse import Warehouse


def ahead_of(warehouse: Warehouse, table: str, partition: int) -> str:
    """Whether there are rows of records that were not planned, in words; empty when there are none.

    They would go in once more, under the tokens of other blocks. A block is planned before its rows
    go in, and a plan never falls back: so the plan is read after the rows, and whoever fills the
    table meanwhile cannot be taken for one whose plans were lost.
    """
    rows = warehouse.query(
        f"SELECT max(log_offset) FROM {table} "
        f"WHERE bitShiftRight(log_offset, {RECORD_BITS}) = {{partition:UInt32}} HAVING count() > 0",
        {"partition": partition},
    )
    planned = warehouse.planned(table, partition)
    end = 0 if planned is None else planned.next
    if not rows or (last := record_place(int(str(rows[0][0])))[1]) < end:
        return ""
    return (
        f"partition {partition} has rows of records up to {last}, and is planned up to {end} only"
    )


def absent_of(warehouse: Warehouse, table: str, rows: Sequence[Row]) -> Sequence[Row]:
    """Those of whose records no row is in; see `Row.log_offset`."""
    present = _present(warehouse, table, rows)
    return [row for row in rows if row.log_offset not in present]


def twice_of(warehouse: Warehouse, table: str, rows: Sequence[Row]) -> str:
    """Whether more rows of their records are in than these, in words; empty when there are not."""
    made = Counter(row.log_offset for row in rows)
    present = _present(warehouse, table, rows)
    twice = sum(present[number] > count for number, count in made.items())
    return f"the rows of {twice} records are in twice" if twice else ""


def _present(warehouse: Warehouse, table: str, rows: Sequence[Row]) -> Counter[int]:
    """How many rows there are of each record in the range of these."""
    numbers = [row.log_offset for row in rows]
    if not numbers:
        return Counter()
    found = warehouse.query(
        f"SELECT log_offset FROM {table} "
        "WHERE log_offset BETWEEN {first:UInt64} AND {last:UInt64}",
        {"first": min(numbers), "last": max(numbers)},
    )
    return Counter(int(str(number)) for (number,) in found)
