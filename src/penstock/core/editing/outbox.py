"""The outbox: what was changed leaves for the log with the transaction that changed it.

The changes of an application are numbered without gaps, in the order in which they were committed:
whoever takes a number holds it until then. So the log's last change says how far the log has come,
and a repeat is known by its number. An *era* begins with a database and whenever all is said anew;
what an older copy of the database says afterwards cannot be taken for news.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, text, update

from penstock.core.database.schema import ENTITIES, NUMBERS, OUTBOX
from penstock.core.entities import Changed, Kept, Republished

_AT_ONCE = 1_000
_BEGUN = text("INSERT INTO numbers VALUES (:application, :era, 0, 0) ON CONFLICT DO NOTHING")


Said = Changed | Republished


class Waiting(NamedTuple):
    """A change that the log may not have yet."""

    era: int
    number: int
    project: str
    event: Said


class Standing(NamedTuple):
    """How far an application's changes have come, as the database has it."""

    era: int = 0
    """0 where nothing was ever changed."""
    number: int = 0
    """Of the newest one."""
    whole: int = 0
    """Of the one that ends a republication, if the era began with one."""
    waiting: int = 0
    """So many of the newest may not be in the log."""

    def astray(self, newest: Said | None, own: Said | None) -> str:
        """Why the log, whose newest change this is, is not the one that the database's changes went
        to; empty where it is. `own`: what waits in the database under the same number.
        """
        sent = self.number - self.waiting
        if newest is None:
            return "the log has none of the changes that the database has sent" if sent else ""
        if newest.era != self.era:
            all_waits = self.whole and not sent and newest.era < self.era
            return "" if all_waits else "the log has the changes of another database"
        if newest.number < sent:
            return "the log is older than the database: it lacks changes"
        if newest.number > sent and own != newest:
            return "the database is older than the log: it lacks changes"
        return ""


def add(
    connection: Connection,
    application: str,
    *,
    project: str,
    kind: str,
    kept: Kept,
    now_ms: int,
    removed: bool = False,
) -> None:
    """The last thing that a transaction does: others wait for its end from now on."""
    era, number = _next(connection, application, now_ms)
    event = _changed(kind, kept, era, number, removed=removed)
    connection.execute(insert(OUTBOX).values(_row(application, project, event)))


def republish(connection: Connection, application: str, now_ms: int) -> int:
    """Say everything anew, in an era of its own; how many entities there are."""
    connection.execute(_BEGUN, {"application": application, "era": now_ms})
    own = NUMBERS.c.application == application
    # Held from before the first is read, so that no change is committed in between.
    connection.execute(update(NUMBERS).where(own).values(number=NUMBERS.c.number))
    era = max(int(connection.scalar(select(NUMBERS.c.era).where(own)) or 0) + 1, now_ms)
    connection.execute(delete(OUTBOX).where(OUTBOX.c.application == application))
    number = 0
    for rows in _entities(connection, application):
        said = []
        for project, kind, kept in rows:
            number += 1
            event = _changed(kind, kept, era, number)
            said.append(_row(application, project, event))
        connection.execute(insert(OUTBOX), said)
    last = Republished(era, number + 1)
    connection.execute(insert(OUTBOX).values(_row(application, "default", last)))
    connection.execute(
        update(NUMBERS).where(own).values(era=era, number=number + 1, whole=number + 1)
    )
    return number


def waiting(connection: Connection, application: str, limit: int) -> list[Waiting]:
    """The oldest of them."""
    rows = connection.execute(
        select(OUTBOX.c.era, OUTBOX.c.number, OUTBOX.c.project, OUTBOX.c.event)
        .where(OUTBOX.c.application == application)
        .order_by(OUTBOX.c.era, OUTBOX.c.number)
        .limit(limit)
    )
    return [Waiting(era, number, project, _event(event)) for era, number, project, event in rows]


def waits(connection: Connection, application: str, era: int, number: int) -> Said | None:
    """The one of this number, where the log may not have it."""
    stored = connection.scalar(
        select(OUTBOX.c.event).where(
            OUTBOX.c.application == application, OUTBOX.c.era == era, OUTBOX.c.number == number
        )
    )
    return None if stored is None else _event(stored)


def arrived(connection: Connection, application: str, changes: Sequence[Waiting]) -> None:
    """They are in the log, and durable there."""
    era, last = changes[-1][:2]
    connection.execute(
        delete(OUTBOX).where(
            OUTBOX.c.application == application, OUTBOX.c.era == era, OUTBOX.c.number <= last
        )
    )


def applications(connection: Connection) -> list[str]:
    """Those that have changed anything, ever."""
    return list(connection.scalars(select(NUMBERS.c.application).order_by(NUMBERS.c.application)))


def standing(connection: Connection, application: str) -> Standing:
    known = connection.execute(
        select(NUMBERS.c.era, NUMBERS.c.number, NUMBERS.c.whole).where(
            NUMBERS.c.application == application
        )
    ).one_or_none()
    if known is None:
        return Standing()
    own = OUTBOX.c.application == application
    count = connection.scalar(select(func.count()).select_from(OUTBOX).where(own))
    return Standing(*known, count or 0)


def _next(connection: Connection, application: str, now_ms: int) -> tuple[int, int]:
    statement = (
        update(NUMBERS)
        .where(NUMBERS.c.application == application)
        .values(number=NUMBERS.c.number + 1)
        .returning(NUMBERS.c.era, NUMBERS.c.number)
    )
    found = connection.execute(statement).one_or_none()
    if found is None:
        connection.execute(_BEGUN, {"application": application, "era": now_ms})
        found = connection.execute(statement).one()
    return found[0], found[1]


def _entities(connection: Connection, application: str) -> Iterator[list[tuple[str, str, Kept]]]:
    """In the order of their making, which is one that every rebuild can bear."""
    columns = [c for c in ENTITIES.c if c.name != "application"]
    rows = connection.execute(
        select(*columns)
        .where(ENTITIES.c.application == application)
        .order_by(ENTITIES.c.created_ms, ENTITIES.c.project, ENTITIES.c.kind, ENTITIES.c.id)
    )
    for part in rows.mappings().partitions(_AT_ONCE):
        yield [(row["project"], row["kind"], kept(row)) for row in part]


def kept(row: Any) -> Kept:
    return Kept(
        row["id"],
        row["revision"],
        row["archived"],
        row["created_ms"],
        row["updated_ms"],
        row["body"],
    )


def _changed(kind: str, of: Kept, era: int, number: int, *, removed: bool = False) -> Changed:
    body = "" if removed else msgspec.json.encode(of.body).decode()
    return Changed(kind, of.id, of.revision, body, of.archived, era, number)


def _row(application: str, project: str, event: Said) -> dict[str, Any]:
    return {
        "application": application,
        "era": event.era,
        "number": event.number,
        "project": project,
        "event": msgspec.to_builtins(event),
    }


def _event(stored: Any) -> Said:
    event: Said = msgspec.convert(stored, Said)
    return event
