"""What a process has for what people edit: the database, and the relay where it writes the log."""

from collections.abc import Callable, Sequence
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

from penstock.core.clock import Clock
from penstock.core.database import Database
from penstock.core.editing import outbox
from penstock.core.editing.keeping import Keeping
from penstock.core.editing.relay import Relay
from penstock.core.events import Codec
from penstock.core.log import Log
from penstock.core.projection import Topic
from penstock.core.telemetry import Logger


class Editing:
    def __init__(
        self,
        database: Database,
        log: Log | None,
        codec: Callable[[Topic[Any]], Codec[Any]],
        applications: Sequence[str],
        *,
        clock: Clock,
        logger: Logger,
    ) -> None:
        """`applications`: those that have entities."""
        self.database = database
        self.applications = tuple(applications)
        self.relay = None
        if log is not None:
            self.relay = Relay(database, log, codec, applications, logger)
        self._clock = clock

    def of(self, application: str, project: str, until: float = inf) -> Keeping:
        """What is not committed by `until`, of `time.monotonic`, never is."""
        own = self.database, application, project, self._clock, self.changed
        return Keeping(*own, until=until)

    def changed(self) -> None:
        if self.relay is not None:
            self.relay.wake()

    def republish(self) -> dict[str, int]:
        """Say all entities anew; how many there are, by application. Whoever goes by them forgets
        those that are not said.
        """
        said = {}
        for application in self.applications:
            with self.database.write() as connection:
                said[application] = outbox.republish(connection, application, self._clock.now_ms())
        self.changed()
        return said


def republish_file(path: Path, clock: Clock) -> None:
    """Have all that a database says said anew, by whoever opens it next. Raise `Misconfigured`."""
    with closing(Database(f"sqlite://{path}")) as database:
        database.migrate()
        with database.write() as connection:
            for application in outbox.applications(connection):
                outbox.republish(connection, application, clock.now_ms())
