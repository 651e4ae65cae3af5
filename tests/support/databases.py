"""Databases of both kinds, each a test's own."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg

from penstock.core.database import Database
from penstock.core.database.stepping import Steps
from penstock.core.editing.keeping import Keeping
from penstock.core.entities import By
from services.postgresql import PostgreSQL
from support.clock import MovedClock


def fresh(server: PostgreSQL, template: str = "template1") -> str:
    """The URL of a new database of the server."""
    name = f"tests_{uuid4().hex}"
    with psycopg.connect(server.url, autocommit=True) as client:
        client.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return f"{server.url.rpartition('/')[0]}/{name}"


def sqlite_url(folder: Path) -> str:
    return f"sqlite://{folder}/database.db"


def opened(url: str, steps: Steps | None = None) -> Database:
    database = Database(url, steps)
    database.migrate()
    return database


def sqlite(folder: Path) -> Database:
    """With its tables; as a copy of one that has taken all steps, for that takes longer."""
    (folder / "database.db").write_bytes(_file())
    return Database(sqlite_url(folder))


def shared(server: PostgreSQL) -> Database:
    """The same on a server."""
    return Database(fresh(server, _template(server)))


@cache
def _file() -> bytes:
    with TemporaryDirectory() as folder:
        opened(sqlite_url(Path(folder))).close()
        return (Path(folder) / "database.db").read_bytes()


@cache
def _template(server: PostgreSQL) -> str:
    url = fresh(server)
    opened(url).close()
    return url.rpartition("/")[2]


def keeping(database: Database, clock: MovedClock, project: str = "default") -> Keeping:
    return Keeping(database, "shop", project, clock, lambda: None)


def by(who: str = "ann", id_: str = "", *, repeats: bool = False) -> By:
    return By(who, uuid4().hex, id_ or uuid4().hex[:24], repeats)
