"""Databases of both kinds, each a test's own."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg

from penstock.core.database import Database
from penstock.core.database.stepping import Steps
from penstock.core.editing.keeping import Keeping
from penstock.core.entities import By, Kept, Wanted
from services.postgresql import PostgreSQL
from support.clock import MovedClock
from support.shop import SHELF, Shelf


def fresh(server: PostgreSQL, template: str = "template1", more: str = "") -> str:
    """The URL of a new database of the server; `more`: of what it is to be."""
    name = f"tests_{uuid4().hex}"
    with psycopg.connect(server.url, autocommit=True) as client:
        client.execute(f"CREATE DATABASE {name} TEMPLATE {template} {more}".encode())
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


def on_server(server: PostgreSQL) -> Database:
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


def shelves(shop: Keeping, *codes: str, **fields: Any) -> list[Kept]:
    return [shop.create(SHELF, Shelf(code.upper(), code, **fields), by()) for code in codes]


def codes(shop: Keeping, **wanted: Any) -> list[str]:
    wanted = {"sort": "code", **wanted}
    return [kept.body["code"] for kept in shop.listed(SHELF, Wanted(**wanted))[0]]
