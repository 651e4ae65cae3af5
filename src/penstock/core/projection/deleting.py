"""Rows that are deleted because of whom they are about: of a project, or of one subject of it.

The log keeps the records, so a rebuild brings the rows back. Nothing else does: the block that a
start would make again is settled before anything goes.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from typing import Any

import msgspec

from penstock.core.listed import Deletable
from penstock.core.log import Follow, record_number
from penstock.core.projection import SUBJECT, Table
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.runner import Consumer
from penstock.core.projection.shadows import Turn, claimed
from penstock.core.warehouse import Warehouse
from penstock.core.warehouse.sql import quoted


class Whose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    project: str
    subject: str = ""
    """Empty: all of the project."""


def kept_for(table: Table[Any], warehouse: Warehouse, whose: Whose) -> str:
    """Why somebody's rows stay: the table cannot tell which they are, or more was made of them."""
    if whose.subject and not table.subject:
        return "it says of no row whom it is about"
    if warehouse.feeds(table.table):
        return "what its views have made of the rows would stay"
    return ""


def condition(table: Table[Any], whose: Whose) -> str:
    """In SQL, of rows that can be told."""
    of_project = f"project = {quoted(whose.project)}"
    if not whose.subject:
        return of_project
    return f"{of_project} AND ({table.subject.replace(SUBJECT, quoted(whose.subject))})"


def count(table: Table[Any], warehouse: Warehouse, whose: Whose) -> int:
    found = warehouse.query(
        f"SELECT count() FROM {table.table} WHERE {condition(table, whose)}", {}
    )
    return int(str(found[0][0]))


def deletable(consumers: Iterable[Consumer], warehouse: Warehouse, whose: Whose) -> list[Deletable]:
    """What each of their tables has."""
    found = list[Deletable]()
    for table in (consumer.projection for consumer in consumers):
        if isinstance(table, Table):
            kept = kept_for(table, warehouse, whose)
            rows = 0 if kept else count(table, warehouse, whose)
            found.append(Deletable(table.name, rows, kept))
    return found


def delete(
    live: Consumer, log: Follow, warehouse: Warehouse, whose: Whose, turn: Turn | None = None
) -> int:
    """How many rows there were; what comes meanwhile goes in behind. Raise `NotReady` when other
    processes carry partitions of the table, or somebody rebuilds it, and `Damaged` or `Disproved`.

    Without `turn` nobody else may have a hand in.
    """
    table = live.projection
    assert isinstance(table, Table)
    if live.damaged is not None:
        raise live.damaged
    with ExitStack() as opened:
        opened.enter_context(claimed(live, turn))
        opened.enter_context(live.paused())
        reader = opened.enter_context(closing(log.reader()))
        cursors = live.whole()
        for cursor in cursors:
            cursor.resume(reader)
            cursor.sink.settle(cursor.partition)
        wanted = f"{condition(table, whose)} AND ({_behind(cursors)})"
        return warehouse.delete(table.table, wanted)


def _behind(cursors: Sequence[Cursor]) -> str:
    """Of the records that are in, and of no later ones: done again, it takes the same rows."""
    return " OR ".join(
        f"(log_offset >= {record_number(cursor.partition, 0)} "
        f"AND log_offset < {record_number(cursor.partition, cursor.position)})"
        for cursor in cursors
    )
