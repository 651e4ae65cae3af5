"""The relay: changes leave the outbox for the log, in their order, and are struck off behind it.

What can be lost? Nothing: a change is struck off once the log has it on disk. A process that ends
in between says some of them again, under the numbers that they have; readers go by these.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from penstock.core.database import Database
from penstock.core.editing import outbox
from penstock.core.editing.outbox import Said, Waiting
from penstock.core.entities import changes, in_order
from penstock.core.errors import PenstockError, told
from penstock.core.events import Codec
from penstock.core.log import Append, Log
from penstock.core.log.awaiting import stored
from penstock.core.projection import Topic
from penstock.core.telemetry import Logger, Samples

_AT_ONCE = 500
_LOOK_SECONDS = 1.0
"""What another process has changed is seen so much later at most."""
_STOP_SECONDS = 5.0
REMEDY = "run `penstock republish`"


class Relay:
    def __init__(
        self,
        database: Database,
        log: Log,
        codec: Callable[[Topic[Any]], Codec[Any]],
        applications: Sequence[str],
        logger: Logger,
    ) -> None:
        self.astray: dict[str, str] = {}
        """Applications whose changes go nowhere until somebody republishes them, and why."""
        self.waiting: Mapping[str, int] = dict.fromkeys(applications, 0)
        """As of the last look: how many changes the log may not have."""
        self.held_up = ""
        """Why the last look ended early, for anybody."""
        self._database = database
        self._log = log
        self._logger = logger
        self._topics = {name: changes(name) for name in applications}
        self._codecs = {name: codec(topic) for name, topic in self._topics.items()}
        self._agreed: set[str] = set()
        self._stopping = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-relay", daemon=True)

    def wake(self) -> None:
        """Something was changed."""
        self._woken.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is in hand is finished first; what is left waits in the database."""
        self._stopping = True
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)

    def turn(self) -> None:
        """Carry over what there is. Raise what the database or the log says."""
        for application in self._topics:
            self._carry(application)

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Why changes do not leave; edits may be made."""
        if self.held_up:
            yield "changes", f"they do not reach the log: {self.held_up}"
        for application, why in [*self.astray.items()]:  # the thread changes it
            yield f"changes of {application}", f"{why}; {REMEDY}"

    def sample(self, samples: Samples) -> None:
        for application, count in self.waiting.items():
            samples.gauge("penstock_changes_waiting", count, application=application)

    def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - ingest goes on, whatever becomes of edits
                self._tell(error)
            else:
                self._tell(None)
            self._woken.wait(_LOOK_SECONDS)

    def _tell(self, error: Exception | None) -> None:
        """A line when it begins and one when it is over, and not one a second."""
        if error is not None and not self.held_up:
            said = str(error) if isinstance(error, PenstockError) else repr(error)
            self._logger.warning("changes.held_up", error=said)
        elif error is None and self.held_up:
            self._logger.info("changes.go_on")
        self.held_up = "" if error is None else told(error)

    def _carry(self, application: str) -> None:
        with self._database.read() as connection:
            standing = outbox.standing(connection, application)
        self.waiting = {**self.waiting, application: standing.waiting}
        if application not in self._agreed:
            self._compare(application)
        if not standing.waiting or application not in self._agreed:
            return
        with self._database.leads(f"penstock changes of {application}") as leads:
            while leads and not self._stopping and (found := self._found(application)):
                self._append(application, found)
                with self._database.write() as connection:
                    outbox.arrived(connection, application, found)
                left = self.waiting[application] - len(found)
                self.waiting = {**self.waiting, application: max(left, 0)}

    def _found(self, application: str) -> list[Waiting]:
        with self._database.read() as connection:
            return outbox.waiting(connection, application, _AT_ONCE)

    def _append(self, application: str, found: Sequence[Waiting]) -> None:
        """Durable when this returns."""
        codec = self._codecs[application]
        payloads = [codec.of(one.project)(one.event) for one in found]
        keys = [in_order(one.event) for one in found] if self._log.keyed else ()
        stored(self._log, [Append(self._topics[application].name, payloads, keys)])

    def _compare(self, application: str) -> None:
        """Whether database and log belong together; a restore may have put back only one."""
        newest = self._newest(application)
        with self._database.read() as connection:
            standing = outbox.standing(connection, application)
            own = newest and outbox.waits(connection, application, newest.era, newest.number)
        why = standing.astray(newest, own)
        if not why:
            self._agreed.add(application)
            self.astray.pop(application, None)
        elif self.astray.get(application) != why:
            self.astray[application] = why
            self._logger.error("changes.astray", application=application, why=why, remedy=REMEDY)

    def _newest(self, application: str) -> Said | None:
        """The log's newest change."""
        topic, log, found = self._topics[application].name, self._log, list[Said]()
        with closing(log.reader()) as reader:
            for partition in range(log.partitions(topic)):
                end = log.end(topic, partition)
                if end > log.start(topic, partition):
                    batch = reader.read(topic, partition, end - 1, 1)
                    found += [self._codecs[application].decode(of) for of in batch.payloads]
        return max(found, key=lambda of: (of.era, of.number), default=None)
