"""A fold with a mirror over real stores, stepped and filled by hand, in any order."""

from collections.abc import Mapping
from copy import copy
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.events import Event
from penstock.core.projection import Elapsed, Fold, Mirror, Record, Step, Topic
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.mirroring import Told
from penstock.core.state import State
from penstock.core.warehouse import sql
from support.alarms import Timed
from support.notes import open_unreliable

_names = count()
[_SCHEMA] = sql.schema(__package__)
HIDDEN, ODD, NEGATIVE = 13, 14, -1
"""Amounts of which there is no row, at which `row` raises, and that the table cannot hold."""


class Put(Event, frozen=True, array_like=True, gc=False, tag="put/1"):
    key: str
    amount: int
    """0: the key is forgotten."""
    until_ms: int = 0
    trick: bool = False
    """Whether its step raises."""


class Held(msgspec.Struct, frozen=True, array_like=True):
    amount: int = 0
    word: str = ""
    until_ms: int = 0


class Line(msgspec.Struct, frozen=True):
    amount: int
    word: str


def step(held: Held, record: Record[Any]) -> Step[Held]:
    event = record.event
    if event.trick:
        raise ValueError("cannot bear this")
    if not event.amount:
        return Step(None)
    return Step(Held(event.amount, held.word + "x", event.until_ms))


def row(key: bytes, held: Held) -> Line | None:
    assert key
    if held.amount == ODD:
        raise ValueError("an odd one")
    return None if held.amount == HIDDEN else Line(held.amount, held.word)


def declaration(fold: Fold[Any, Any]) -> str:
    """Of the table of its mirror."""
    assert fold.mirror is not None
    return _SCHEMA.replace("tests_kept", fold.mirror.table)


def kept(name: str = "", **more: Any) -> Fold[Any, Held]:
    """One under a name of its own."""
    name = name or f"kept{next(_names)}"
    topic: Topic[Any] = Topic(
        f"tests.{name}",
        (Put, Elapsed),
        key=lambda event: event.key.encode("utf-8", "surrogateescape"),
    )
    mirror = Mirror(table=f"tests_{name}", columns=Line, row=row)
    return Fold(
        **{
            "space": f"tests.{name}",
            "topic": topic,
            "state": Held,
            "step": step,
            "expires": lambda held: held.until_ms or None,
            "mirror": mirror,
            "flush": Flush(wait_seconds=0.0, block_records=40),
            **more,
        }
    )


class Mirrored(Timed):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.warehouse = open_unreliable(folder)
        self.stores = self.stores._replace(warehouse=self.warehouse)

    def over(self, state: State) -> "Mirrored":
        """The same log and warehouse, and another state."""
        other = copy(self)
        other.state = state
        other.stores = self.stores._replace(state=state, dead_letters=DeadLetters(state))
        return other

    def open(self, fold: Fold[Any, Any]) -> FoldCursor:
        """As after a start: everything that the log has is stepped."""
        self.warehouse.create([declaration(fold)])
        cursor = self.settle(self.owner(fold))
        self.fill(cursor)
        return cursor

    def fill(self, cursor: FoldCursor, *, even: bool = True) -> None:
        """A turn of the thread that fills, with that which steps between."""
        sink = cursor.sink
        assert isinstance(sink, FoldSink)

        def hand(told: Told) -> None:
            sink.settle_mirror(0, told)

        sink.mirrorings[0].turn(self.clock.now_ms(), hand, partitions=1, even=even)

    def shown(self, fold: Fold[Any, Any]) -> dict[tuple[str, str], tuple[int, str]]:
        """What the mirror has, by project and key."""
        assert fold.mirror is not None
        rows = self.warehouse.query(
            f"SELECT project, key, amount, word FROM {fold.mirror.table} FINAL", {}
        )
        return {(str(p), str(k)): (int(str(a)), str(w)) for p, k, a, w in rows}

    def torn(self, fold: Fold[Any, Any]) -> list[tuple[object, ...]]:
        """Versions of a key that are not one row: which of them is shown would be chance."""
        assert fold.mirror is not None
        return self.warehouse.query(
            f"SELECT key, version FROM {fold.mirror.table} GROUP BY project, key, version "
            "HAVING uniqExact(amount, word, is_deleted) > 1",
            {},
        )

    def expected(self, fold: Fold[Any, Any]) -> Mapping[tuple[str, str], tuple[int, str]]:
        """The same from the states, of the default project."""
        states = {
            entry.group.decode(): fold.read(entry.value, self.clock.ms)
            for entry in self.state.scan(fold.space)
            if entry.group
        }
        return {
            ("default", key): (held.amount, held.word)
            for key, held in states.items()
            if held.amount and held.amount != HIDDEN
        }

    def close(self) -> None:
        super().close()
        self.warehouse.close()
