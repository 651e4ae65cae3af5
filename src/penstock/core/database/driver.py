"""SQLite for SQLAlchemy, through apsw: the SQLite that the log has, and not that of the system.

The latter is as old as the system; before 3.51.3 two connections to one file could lose what both
believed was written. A statement is run to its end and its rows are kept, so that no reader stays
open between two fetches.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import apsw
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPIModule

_BUSY_MS = 10_000
"""So long it waits for who writes to the file from outside."""

Error = apsw.Error


class IntegrityError(apsw.Error):
    """A row that may not be: of a unique or a foreign key."""


class OperationalError(apsw.Error):
    """Anything else that is not the statement's fault."""


class Cursor:
    """One statement's rows."""

    arraysize = 1

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.description: Sequence[Sequence[Any]] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._rows: list[Any] = []

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> "Cursor":
        return self._run(statement, tuple(parameters), many=False)

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> "Cursor":
        return self._run(statement, [*map(tuple, parameters)], many=True)

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        size = size or self.arraysize
        found, self._rows = self._rows[:size], self._rows[size:]
        return found

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self._rows) or 1)

    def setinputsizes(self, sizes: Any) -> None:
        """Nothing is to be known before."""

    def setoutputsize(self, size: Any, column: Any = None) -> None:
        """The same."""

    def close(self) -> None:
        self._rows = []

    def _run(self, statement: str, parameters: Any, *, many: bool) -> "Cursor":
        own = self._connection.own
        cursor = own.cursor()
        told: Sequence[tuple[str, str]] = ()
        before = own.total_changes()

        def trace(running: apsw.Cursor, *_: object) -> bool:
            nonlocal told  # a statement without rows has ended, and tells nothing, when it returns
            told = running.get_description()
            return True

        cursor.exec_trace = trace
        run = cursor.executemany if many else cursor.execute
        try:
            self._rows = list(run(statement, parameters))
        except apsw.ConstraintError as error:
            raise IntegrityError(str(error)) from error
        except apsw.Error as error:
            raise OperationalError(str(error)) from error
        self.description = [(name, *[None] * 6) for name, _ in told] or None
        self.rowcount = -1 if self.description else own.total_changes() - before
        self.lastrowid = own.last_insert_rowid()
        return self


class Connection:
    """In no transaction until somebody says BEGIN."""

    def __init__(self, path: str) -> None:
        try:
            self.own = apsw.Connection(path)
            self.own.set_busy_timeout(_BUSY_MS)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                list(self.own.execute(f"PRAGMA {pragma}"))
        except apsw.Error as error:
            raise OperationalError(str(error)) from error

    def cursor(self) -> Cursor:
        return Cursor(self)

    def commit(self) -> None:
        self._end("COMMIT")

    def rollback(self) -> None:
        self._end("ROLLBACK")

    def close(self) -> None:
        self.own.close()

    def _end(self, how: str) -> None:
        if self.own.in_transaction:
            self.cursor().execute(how)


class _Module:
    """What SQLAlchemy asks of a DBAPI."""

    paramstyle = "qmark"
    sqlite_version_info = tuple(map(int, apsw.sqlite_lib_version().split(".")))
    Error = Error
    IntegrityError = IntegrityError
    OperationalError = OperationalError
    DatabaseError = InterfaceError = InternalError = DataError = ProgrammingError = Error
    NotSupportedError = Warning = Error

    @staticmethod
    def connect(path: str) -> Connection:
        return Connection(path)


class ApswDialect(SQLiteDialect):
    driver = "apsw"
    default_paramstyle = "qmark"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> DBAPIModule:
        return cast("DBAPIModule", _Module)

    def create_connect_args(self, url: URL) -> tuple[list[str], dict[str, Any]]:
        return [url.database or ""], {}

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        del connection
        return _Module.sqlite_version_info

    def get_default_isolation_level(self, dbapi_conn: DBAPIConnection) -> Any:
        del dbapi_conn
        return "SERIALIZABLE"

    def is_disconnect(self, e: Exception, connection: Any, cursor: Any) -> bool:
        del e, connection, cursor
        return False
