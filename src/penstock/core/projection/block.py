"""What is known of the keys of some records, and what has become of it."""

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from penstock.core.projection import due
from penstock.core.projection.due import Elapsed, Heard, Table, Waiting
from penstock.core.projection.job import Ended
from penstock.core.projects import order_of
from penstock.core.state import Entry, Place

S = TypeVar("S", bound=msgspec.Struct)
_NOTHING: Table = {}


class Block(Generic[S]):
    __slots__ = ("changed", "ended", "expiring", "found", "states", "stored", "tables", "turn",
                 "waiting", "works", "written")  # fmt: skip

    def __init__(self, stored: Mapping[bytes, bytes]) -> None:
        self.stored = stored
        """Values of keys as they are stored."""
        self.found = stored
        """States of them; empty where a key has none."""
        self.tables: dict[bytes, Table] = {}
        """What waits for them."""
        if framed := [key for key, value in stored.items() if due.is_framed(value)]:
            self.tables = {key: due.table_of(stored[key]) for key in framed}
            self.found = {**stored, **{key: due.state_of(stored[key]) for key in framed}}
        self.written: dict[bytes, bytes | None] = {}
        """States that are others now; None: it is to be forgotten."""
        self.changed: dict[bytes, int] = {}
        """Records that made them what they are, where a mirror is to have that."""
        self.expiring: dict[bytes, int] = {}
        """When those expire that did not before, or not so soon."""
        self.states: dict[bytes, S] = {}
        """Of either, as far as they were read."""
        self.waiting: dict[bytes, Table] = {}
        """What waits now, where that has changed."""
        self.works: dict[tuple[bytes, str], bytes] = {}
        """What is to be done, by key and name, of jobs that wait now and did not before."""
        self.ended: list[tuple[str, Ended]] = []
        """Jobs that have ended, and their projects."""
        self.turn: int | None = None
        """The last one that was heard."""

    def state(self, key: bytes) -> bytes | None:
        """As it would be stored; None or empty for a key that has none."""
        return self.written[key] if key in self.written else self.found.get(key)

    def table(self, key: bytes) -> Table:
        found = self.waiting.get(key)
        return self.tables.get(key, _NOTHING) if found is None else found

    def hear(self, project: str, event: Heard) -> bool:
        """It waits no longer; whether it did, and that is so of every job that ended."""
        self.turn = max(self.turn or 0, event.turn)
        key = order_of(project, event.key)
        if isinstance(event, Ended):
            self.ended.append((project, event))
        table = self.table(key)
        waiting = table.get(event.name)
        # What is taken back and said again within a millisecond may have the same `wanted_ms`.
        same = waiting is not None and waiting.wanted_ms == event.wanted_ms
        if same and isinstance(event, Elapsed):
            same = waiting is not None and waiting.at_ms == event.at_ms
        if same:
            self.waiting[key] = {k: one for k, one in table.items() if k != event.name}
            return True
        return isinstance(event, Ended)

    @property
    def quiet(self) -> bool:
        """Whether nothing waits for any of its keys, nor did."""
        return not (self.tables or self.waiting or self.turn)

    def entries(self, partition: int) -> list[Entry]:
        """What is to be stored that was not, or was otherwise."""
        if self.quiet:
            return [Entry(k, b"", v) for k, v in self.written.items() if v is not None]
        values = ((key, self.value(key)) for key in self._touched())
        made = [Entry(key, b"", value) for key, value in values if value]
        made += [Entry(due.GROUP, *one) for one in self._placed(partition).items()]
        if self.turn is not None:
            made.append(Entry(due.GROUP, due.turn(partition), self.turn.to_bytes(8)))
        return made

    def deletes(self, space: str, partition: int) -> list[Place]:
        """What is stored and is not to be any more; nothing that `entries` has."""
        gone = [k for k in self._touched() if k in self.stored and not self.value(k)]
        sorts = {
            due.place(partition, key, name, one)
            for key, table in self.waiting.items()
            for name, one in self.tables.get(key, _NOTHING).items()
            if table.get(name) != one
        }
        sorts.update(self.ended_at(partition))
        sorts.difference_update(self._placed(partition))
        return [
            *(Place(space, key) for key in gone),
            *(Place(space, due.GROUP, sort) for sort in sorts),
        ]

    def _placed(self, partition: int) -> dict[bytes, bytes]:
        """What is new in the index."""
        return {
            due.place(partition, key, name, one): (
                due.packed(due.Queued(self.works[key, name])) if one.job else due.whose(one)
            )
            for key, table in self.waiting.items()
            for name, one in table.items()
            if self.tables.get(key, _NOTHING).get(name) != one
        }

    def ended_at(self, partition: int) -> list[bytes]:
        """Where jobs stood that have ended, which they may have failed to before."""
        return [
            due.place(
                partition,
                order_of(project, event.key),
                event.name,
                Waiting(event.at_ms, event.wanted_ms, project, event.job),
            )
            for project, event in self.ended
        ]

    def _touched(self) -> Sequence[bytes]:
        return [*self.written, *(key for key in self.waiting if key not in self.written)]

    def value(self, key: bytes) -> bytes:
        """As it is to be stored; empty where nothing is."""
        return due.framed(self.state(key) or b"", self.table(key))
