"""Real stores in a folder of the test's own."""

from pathlib import Path

from penstock.core.projection.parking import Parking
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
    return Stores(warehouse, state, Parking(state), clock)


def open_state(folder: Path) -> RocksState:
    return RocksState(folder / "state")
