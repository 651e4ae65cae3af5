"""The database: what people edit, and who did it. A few rows a minute, and each of them matters.

SQLite in the data folder, or PostgreSQL where processes share it. It lies in nobody's way: ingest
and projections go on without it, and what it says reaches them through the log.

What can be lost? Nothing that `write` has returned from: it is one transaction, synced.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from math import inf
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import registry
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    TimeoutError,  # noqa: A004 - of the pool
)

from penstock.core.database.stepping import Steps
from penstock.core.errors import Misconfigured, NotReady, lacking
from penstock.core.settings import redacted

_CONNECT_SECONDS_MAX = 5
_STATEMENT_MS_MAX = 10_000
_WRITER_SECONDS_MAX = 10.0
"""So long others wait for the one writer of a file."""
_CONNECTIONS = 8
_WRITES = "writes"

registry.register("sqlite.apsw", "penstock.core.database.driver", "ApswDialect")


class Database:
    def __init__(self, url: str, steps: Steps | None = None) -> None:
        """`sqlite:///path` or `postgresql://…`; nothing is connected to yet. Raise `Misconfigured`
        for a URL that is none, or where the client of PostgreSQL is not installed.
        """
        self.url = url
        self.embedded = urlsplit(url).scheme == "sqlite"
        self.path = Path(urlsplit(url).path) if self.embedded else None
        self._steps = steps or Steps()
        self._engine = _engine(url)
        self._writing = threading.Lock() if self.embedded else None
        """SQLite has one writer; others wait here, and not by looking again and again."""
        self._checked = False
        self._file: tuple[int, int] | None = None
        """The file whose schema was looked at; connections stay with it when its name does not."""

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One moment's view. Raise `NotReady` while the database is away, whatever it says of that
        and if its file is another one by now; and `Misconfigured` for a schema that this program
        cannot go on with.
        """
        self.check()
        with self._told(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, until: float = inf) -> Iterator[Connection]:
        """A transaction that is committed at the end, and durable then; after `until`, of
        `time.monotonic`, it is not. Raise as `read` does, and `IntegrityError` where a row may not
        be.
        """
        self.check()
        with self._alone(), self._told(), self._engine.connect() as connection:
            writing = connection.execution_options(**{_WRITES: True})
            with writing.begin():
                _in_time(until)  # waiting for the file may have taken long
                yield writing
                _in_time(until)
                self._same_file()

    @contextmanager
    def leads(self, name: str) -> Iterator[bool]:
        """Whether nobody else does this at this time, of all who share the database."""
        if self.embedded:
            yield True
            return
        self.check()
        with self._told(), self._engine.connect() as connection:
            led = bool(
                connection.scalar(
                    text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), {"name": name}
                )
            )
            connection.commit()
            try:
                yield led
            finally:
                if led:
                    with suppress(SQLAlchemyError):  # one that is gone has given it up
                        connection.execute(text("SELECT pg_advisory_unlock_all()"))
                        connection.commit()

    def migrate(self) -> list[str]:
        """Take the steps that are lacking; what they were. Raise `Misconfigured`."""
        try:
            with self._alone(), self._engine.connect() as connection:
                writing = connection.execution_options(**{_WRITES: True})
                with writing.begin():
                    taken = self._steps.take(writing)
                    self._steps.check(writing)
        except SQLAlchemyError as error:
            raise Misconfigured(
                f"PENSTOCK_DATABASE: {redacted(self.url)} cannot be prepared: {_reason(error)}"
            ) from error
        self._looked_at()
        return taken

    def check(self) -> None:
        """Look at its schema, once, as soon as it can be looked at. Raise `Misconfigured`, or
        `NotReady` while it is away.
        """
        if not self._checked:
            with self._told(), self._engine.connect() as connection, connection.begin():
                self._steps.check(connection)
            self._looked_at()
        self._same_file()

    def bytes_on_disk(self) -> int:
        if self.path is not None:
            files = [self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm")]
            return sum(file.stat().st_size for file in files if file.exists())
        with self.read() as connection:
            return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._writing is None:
            yield
            return
        if not self._writing.acquire(timeout=_WRITER_SECONDS_MAX):
            raise NotReady("the database is being written to")
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:  # it answers
            raise
        except (DBAPIError, TimeoutError) as error:
            raise NotReady("the database does not answer", detail=_reason(error)) from error

    def _looked_at(self) -> None:
        self._file = _identity(self.path)
        self._checked = True

    def _same_file(self) -> None:
        """What is written to a file that was deleted is lost. Raise `NotReady` where it was."""
        if self._file != (now := _identity(self.path)):
            there = "is another one" if now else "is not there"
            raise NotReady(
                "the database's file was taken away",
                detail=f"{self.path} {there}; put it back, or restore a backup and restart",
            )


def _engine(url: str) -> Engine:
    arguments: dict[str, object] = {}
    embedded = urlsplit(url).scheme == "sqlite"
    if embedded:
        where = URL.create("sqlite+apsw", database=urlsplit(url).path)
    else:
        if find_spec("psycopg") is None:
            raise lacking("the database is PostgreSQL, and psycopg", "postgresql")
        where = make_url(url).set(drivername="postgresql+psycopg")
        arguments = {
            "connect_timeout": _CONNECT_SECONDS_MAX,
            "options": f"-c statement_timeout={_STATEMENT_MS_MAX} "
            f"-c idle_in_transaction_session_timeout={_STATEMENT_MS_MAX}",
        }
    engine = create_engine(
        where,
        connect_args=arguments,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_CONNECT_SECONDS_MAX,
        pool_pre_ping=not embedded,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
    if embedded:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get(_WRITES)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Of the file, whatever its content; None where there is none."""
    if path is None:
        return None
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _in_time(until: float) -> None:
    if time.monotonic() > until:
        raise NotReady("the database takes too long")


def _reason(error: SQLAlchemyError) -> str:
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return said.splitlines()[0] if said else type(error).__name__
