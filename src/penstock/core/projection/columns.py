"""The columns that every table has of the platform, in tables that are older than these."""

from collections.abc import Iterable

from penstock.core.projection import Projection, Table
from penstock.core.warehouse import Warehouse

_PROJECT = "project LowCardinality(String) DEFAULT 'default' AFTER log_offset"


def add_projects(warehouse: Warehouse, projections: Iterable[Projection]) -> list[str]:
    """Tables that are older than projects get their column, whose default is right for every row
    that they have; what was done, in words. A matter of moments, however large they are.
    """
    done = []
    for projection in projections:
        if isinstance(projection, Table):
            found = warehouse.columns(projection.table)
            if found and "project" not in found:
                warehouse.add_column(projection.table, _PROJECT)
                done.append(f"the table {projection.table} has got its column project")
    return done
