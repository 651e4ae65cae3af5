from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.core.database import Database
from penstock.core.editing.keeping import Keeping
from penstock.core.log import Log
from penstock.core.warehouse.clickhouse import ClickHouse
from support.clickhouse import ThinServer
from support.clock import MovedClock
from support.databases import fresh, keeping, on_server, sqlite, sqlite_url
from support.opened import open_kafka, open_memory, open_sqlite
from support.stores import create
from support.warehouses import ALL, SHARED, Place
from support.warehouses import place as place_of


@pytest.fixture(scope="session")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThinServer]:
    """A server that everybody shares: take a database of your own, and leave no fault behind."""
    with ThinServer(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(params=ALL)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each engine in turn: what is promised of one is promised of all."""
    yield from _place(request, tmp_path)


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each engine that several processes may have at once."""
    yield from _place(request, tmp_path)


def _place(request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    made = place_of(
        request.param, folder, lambda database: request.getfixturevalue("thin").url(database)
    )
    yield made
    made.forget()


@pytest.fixture
def warehouse(place: Place) -> Iterator[ClickHouse]:
    opened = place.open()
    create(opened)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(params=["sqlite", "memory", pytest.param("kafka", marks=pytest.mark.services)])
def log(request: pytest.FixtureRequest, tmp_path: Path, clock: MovedClock) -> Iterator[Log]:
    if request.param == "kafka":
        opened = open_kafka(request.getfixturevalue("kafka"), tmp_path, clock)
    else:
        opened = {"sqlite": open_sqlite, "memory": open_memory}[request.param](tmp_path, clock)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that has nothing yet."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return fresh(request.getfixturevalue("postgresql"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    is_file = request.param == "sqlite"
    made = sqlite(tmp_path) if is_file else on_server(request.getfixturevalue("postgresql"))
    with closing(made):
        yield made


@pytest.fixture
def shop(database: Database, clock: MovedClock) -> Keeping:
    return keeping(database, clock)
