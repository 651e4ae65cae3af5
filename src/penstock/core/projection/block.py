"""What is known of the keys of some records, and what has become of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from penstock.core.projection import due
from penstock.core.projection.due import Table, Waiting
from penstock.core.state import Entry, Place

S = TypeVar("S", bound=msgspec.Struct)
_NOTHING: Table = {}


class Block(Generic[S]):
    __slots__ = ("found", "states", "stored", "tables", "turn", "waiting", "written")

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
        self.states: dict[bytes, S] = {}
        """Of either, as far as they were read."""
        self.waiting: dict[bytes, Table] = {}
        """What waits now, where that has changed."""
        self.turn: int | None = None
        """The last one that was heard."""

    def state(self, key: bytes) -> bytes | None:
        """As it would be stored; None or empty for a key that has none."""
        return self.written[key] if key in self.written else self.found.get(key)

    def table(self, key: bytes) -> Table:
        found = self.waiting.get(key)
        return self.tables.get(key, _NOTHING) if found is None else found

    def entries(self, partition: int) -> Iterator[Entry]:
        """What is to be stored that was not, or was otherwise."""
        if not self.tables and not self.waiting:
            yield from (Entry(k, b"", v) for k, v in self.written.items() if v is not None)
        else:
            for key in self._touched():
                if value := self._value(key):
                    yield Entry(key, b"", value)
        for key, table in self.waiting.items():
            was = self.tables.get(key, _NOTHING)
            for name, one in table.items():
                if was.get(name) != one:
                    yield Entry(due.GROUP, _place(partition, key, name, one), _value(one))
        if self.turn is not None:
            yield Entry(due.GROUP, due.turn(partition), self.turn.to_bytes(8))

    def deletes(self, space: str, partition: int) -> Iterator[Place]:
        """What is stored and is not to be any more; nothing that `entries` has."""
        for key in self._touched():
            if key in self.stored and not self._value(key):
                yield Place(space, key)
        for key, table in self.waiting.items():
            for name, one in self.tables.get(key, _NOTHING).items():
                now = table.get(name)
                if now is None or now.at_ms != one.at_ms:
                    yield Place(space, due.GROUP, _place(partition, key, name, one))

    def _touched(self) -> Sequence[bytes]:
        return [*self.written, *(key for key in self.waiting if key not in self.written)]

    def _value(self, key: bytes) -> bytes:
        return due.framed(self.state(key) or b"", self.table(key))


def _place(partition: int, key: bytes, name: str, one: Waiting) -> bytes:
    return due.place(partition, key, name, one.at_ms)


def _value(one: Waiting) -> bytes:
    return one.wanted_ms.to_bytes(8) + one.project.encode()
