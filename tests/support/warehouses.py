"""Every engine behind the warehouse's contract, each with a database of the test's own.

`PENSTOCK_TEST_CLICKHOUSE=clickhouse://user:password@host:8123` adds a server of yours, with
`PENSTOCK_TEST_CLICKHOUSE_CLUSTER` and `PENSTOCK_TEST_CLICKHOUSE_REPLICATED` if that is what it is.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from penstock.core.settings import Settings
from penstock.core.warehouse import Warehouse
from penstock.core.warehouse.clickhouse import ClickHouse

OWN = "PENSTOCK_TEST_CLICKHOUSE"
EMBEDDED, SERVED, CLUSTER, COPIES, REAL = "chdb", "served", "cluster", "copies", "server"
# `make check` has the time for what only a server is asked, on one; `make test` has it for all.
_LATER = (
    pytest.param(CLUSTER, marks=pytest.mark.slow),
    pytest.param(COPIES, marks=pytest.mark.slow),
    *([REAL] if os.environ.get(OWN) else []),
)
ALL = (EMBEDDED, pytest.param(SERVED, marks=pytest.mark.slow), *_LATER)
SHARED = (SERVED, *_LATER)
"""Those that several processes may have at once."""


def holder(warehouse: Warehouse, table: str) -> str:
    """The table that holds the rows, for statements that only it understands."""
    local = f"{table}_local"
    return local if warehouse.columns(local) else table


class Place:
    """Where a warehouse is; it may be opened more than once."""

    def __init__(self, engine: str, folder: Path, url: str = "", **settings: object) -> None:
        self.engine = engine
        self._settings = {"data": str(folder), "warehouse": url, **settings}

    def open(self, **settings: object) -> ClickHouse:
        return ClickHouse(Settings(**{**self._settings, **settings}))  # type: ignore[arg-type] # by name

    def forget(self) -> None:
        """Drop what a server of somebody's would keep."""
        if self.engine == REAL:
            with self.opened() as warehouse:
                layout = warehouse._layout
                warehouse.command(f"DROP DATABASE {layout.database}{layout.on_cluster} SYNC")

    @contextmanager
    def opened(self) -> Iterator[ClickHouse]:
        warehouse = self.open()
        try:
            yield warehouse
        finally:
            warehouse.close()


def place(engine: str, folder: Path, thin: Callable[[str], str]) -> Place:
    """`thin` gives the URL of a database of the thin server, which is started when first asked."""
    database = f"tests_{uuid4().hex[:12]}"
    if engine == EMBEDDED:
        return Place(engine, folder)
    if engine == REAL:
        return Place(
            engine,
            folder,
            f"{os.environ[OWN].rstrip('/')}/{database}",
            warehouse_cluster=os.environ.get(f"{OWN}_CLUSTER", ""),
            warehouse_replicated=bool(os.environ.get(f"{OWN}_REPLICATED")),
        )
    settings: dict[str, dict[str, object]] = {
        SERVED: {},
        CLUSTER: {"warehouse_cluster": "one"},
        COPIES: {"warehouse_cluster": "copies", "warehouse_replicated": True},
    }
    return Place(engine, folder, thin(database), **settings[engine])
