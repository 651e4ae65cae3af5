"""State: what indexes and folds know, in small keyed values read and written in microseconds.

A *space* belongs to one projection. It holds *entries*: a group, a sort key within the group, and a
value. A plain value is a group of one entry with an empty sort key; a bounded history is a group
read from its first entry on. `apply` writes entries together with the projection's position, all
or nothing, so that replaying from the position gives exactly the same contents: the state is never
ahead of, nor behind, the log position it names. It may lose its newest part in a power cut, and
then names the older position: the log has the rest.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from penstock.core.position import Position

__all__ = ["OURS", "Entry", "History", "Place", "Position", "State", "Trim"]

OURS = "penstock."
"""Spaces whose names begin so are no views, and no rebuild makes them again."""


class Entry(NamedTuple):
    group: bytes
    """Up to 65,534 bytes of any value; what has none is the platform's."""
    sort: bytes
    """Orders the entries of a group, ascending; empty for a plain value."""
    value: bytes


class Place(NamedTuple):
    """Where an entry is, in whatever space."""

    space: str
    group: bytes
    sort: bytes = b""


History = list[tuple[bytes, bytes]]
"""Sort keys and values of one group's entries, in order."""


class Trim(NamedTuple):
    """Forget all but the first `keep` entries of a group; all of it, however large, with 0."""

    group: bytes
    keep: int


class State(Protocol):
    @property
    def folder(self) -> Path | None:
        """Where an embedded engine keeps it; None on a server, whose disk is its own matter."""
        ...

    def position(self, space: str, partition: int) -> Position | None:
        """None for a space that has nothing yet."""
        ...

    def apply(
        self,
        space: str,
        entries: Iterable[Entry],
        *,
        partition: int,
        was: Position | None,
        position: Position,
        deletes: Iterable[Place] = (),
        trims: Sequence[Trim] = (),
    ) -> None:
        """Write entries and position and forget what is deleted, of this space or of another,
        atomically; trims may follow later.

        Blocks for microseconds to milliseconds. Raise `Moved` and change nothing when the stored
        position is not `was`, and `NotReady` when the store cannot write.
        """
        ...

    def lacking(self, space: str) -> str:
        """What the store itself has lost of a space, in words; empty while nothing is known to be.

        Cheap, and no proof: a store that forgets a few entries is found out soon, not at once.
        Raise `NotReady` when it is away.
        """
        ...

    def ping(self) -> None:
        """Raise `NotReady` when the store is away, or is not fit to be one any more."""
        ...

    def first(
        self, space: str, groups: Sequence[bytes], limit: int, start: bytes = b""
    ) -> list[History]:
        """Each group's first `limit` entries from a sort key on, in the order of sort keys.

        Raise `NotReady` when the store cannot read them, or lost the space since it was last there.
        """
        ...

    def get_many(self, space: str, groups: Sequence[bytes]) -> list[bytes | None]:
        """Plain values, in the order of `groups`."""
        ...

    def values(
        self, space: str, groups: Sequence[bytes], sorts: Sequence[bytes]
    ) -> list[list[bytes | None]]:
        """Of each group what it has under each of these sort keys, in their order."""
        ...

    def put(self, space: str, entry: Entry) -> None:
        """Write one entry, synced: it has no position in the log to be made again from."""
        ...

    def delete(self, space: str, group: bytes, sort: bytes = b"") -> None: ...

    def scan(self, space: str) -> Iterator[Entry]:
        """Every entry, group by group; for comparing and counting, not for answering."""
        ...

    def spaces(self) -> list[str]: ...

    def drop(self, space: str) -> None:
        """Forget the space with its positions, at once, whatever its size."""
        ...

    def swap(self, shadow: str, space: str) -> None:
        """Let `space` be what `shadow` is; what it was is gone. Atomic."""
        ...

    def compact(self, space: str) -> None:
        """Arrange the space for reading, in the background; worth it after much was written."""
        ...

    def bytes_of(self, space: str) -> int:
        """Of one space, about; 0 where the engine cannot tell."""
        ...

    def bytes_on_disk(self) -> int: ...

    def close(self) -> None: ...
