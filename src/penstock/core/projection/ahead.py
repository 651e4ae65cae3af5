"""Rows ahead of their plan: what is left when plans were lost and rows were not."""

from penstock.core.log import RECORD_BITS, record_place
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
