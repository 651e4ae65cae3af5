"""Real stores in a folder of the test's own."""

from pathlib import Path

import msgspec

from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.sinks import Stores
from penstock.core.settings import Settings
from penstock.core.state import State
from penstock.core.state.rocksdb import RocksState
from penstock.core.warehouse import Warehouse
from penstock.core.warehouse.clickhouse import ClickHouse
from support.clock import MovedClock


def open_warehouse(folder: Path) -> ClickHouse:
    """The embedded engine. A process has one at a time; the next opens in a few milliseconds."""
    return ClickHouse(Settings(data=str(folder)))


def stores(warehouse: Warehouse, state: State, clock: MovedClock) -> Stores:
    return Stores(warehouse, state, DeadLetters(state), clock)


def open_state(folder: Path) -> RocksState:
    return RocksState(folder / "state")


TABLE = """
-- shard by: cityHash64(n)
CREATE TABLE IF NOT EXISTS {name} (n UInt64, part Int64, word LowCardinality(String), price Int32)
ENGINE = MergeTree PARTITION BY part ORDER BY n
SETTINGS non_replicated_deduplication_window = 1000
"""


def create(warehouse: Warehouse, name: str = "tests_rows") -> None:
    warehouse.create([TABLE.format(name=name)])


def rows(*numbers: int, parts: int = 1) -> bytes:
    return msgspec.json.Encoder().encode_lines([(n, n % parts, "word", n) for n in numbers])


def insert(
    warehouse: Warehouse, numbers: range, token: str, *, parts: int = 1, table: str = "tests_rows"
) -> None:
    warehouse.insert(table, rows(*numbers, parts=parts), len(numbers), token)


def stored(warehouse: Warehouse, table: str = "tests_rows") -> list[int]:
    found = warehouse.query(f"SELECT n FROM {table} ORDER BY n", {})
    return [int(str(n)) for (n,) in found]
