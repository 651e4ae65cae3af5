"""The schema's steps: forward only, each in one transaction with the note that it was taken.

A step first only adds, so that programs of the version before go on beside it; what they need is
taken away by a later one, which says in `oldest` whose programs cannot go on any more.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select, text

from penstock.core.database.schema import OLDEST
from penstock.core.errors import Misconfigured

_STEPS = Path(str(files("penstock.core.database"))) / "steps"
_ONE_AT_A_TIME = 7_366_275_309_001
"""The lock of PostgreSQL under which steps are taken; a number that nobody else has."""


class Found(NamedTuple):
    """What a database has."""

    step: str
    """The newest that was taken; empty where none was."""
    oldest: str
    """Programs whose newest step is an older one cannot go on."""


class Steps:
    def __init__(self, folder: Path = _STEPS) -> None:
        self._script = ScriptDirectory(str(folder), version_locations=[str(folder)])
        self.newest = self._script.get_current_head() or ""

    def found(self, connection: Connection) -> Found:
        step = MigrationContext.configure(connection).get_current_revision() or ""
        oldest = connection.scalar(select(OLDEST.c.step)) if step else ""
        return Found(step, oldest or "")

    def take(self, connection: Connection) -> list[str]:
        """Those that are lacking, within the transaction that is open; their names. None where the
        database is a newer one's.
        """
        if connection.dialect.name == "postgresql":
            encoding = connection.scalar(text("SHOW server_encoding"))
            if encoding != "UTF8":
                raise Misconfigured(
                    f"PENSTOCK_DATABASE has the encoding {encoding}, which has no place for every "
                    "text; make a database with ENCODING 'UTF8'"
                )
            connection.execute(text("SET LOCAL statement_timeout = 0"))  # a step may take long
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})"))
        found = self.found(connection)
        if found.step >= self.newest:
            return []
        taken: list[str] = []

        def lacking(revision: Any, context: MigrationContext) -> list[Any]:
            del context
            steps = self._script._upgrade_revs("head", revision)  # noqa: SLF001 - as `command.upgrade`
            taken.extend(step.revision.doc for step in steps)
            return list(steps)

        context = MigrationContext.configure(connection, opts={"fn": lacking})
        with Operations.context(context):
            context.run_migrations()
        return taken

    def check(self, connection: Connection) -> None:
        """Raise `Misconfigured` for a schema that this program cannot go on with."""
        found = self.found(connection)
        if found.step < self.newest:
            raise Misconfigured(
                f"PENSTOCK_DATABASE is at step {found.step or 'none'}, and this version needs "
                f"{self.newest}; run `penstock migrate`"
            )
        if found.oldest > self.newest:
            raise Misconfigured(
                f"PENSTOCK_DATABASE is at step {found.step}, which programs before step "
                f"{found.oldest} cannot use, and this one is of {self.newest}; start the newer "
                "version, or one that is newer still"
            )
