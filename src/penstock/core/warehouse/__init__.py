"""The warehouse: ClickHouse SQL over tables that only projections fill.

One code path for the embedded engine (`chdb:///folder`) and a server or cluster (`clickhouse://…`):
both are a client of clickhouse-connect. A block of rows goes in under a token; the same token a
second time is recognised by the engine and changes nothing, so a block whose fate is unknown is
simply sent again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from penstock.core.errors import NotReady, PenstockError
from penstock.core.position import Position

Value = str | int | float
Row = tuple[object, ...]


class BadRows(PenstockError):
    """The engine refused the rows themselves; sending them again will not help."""


class Unavailable(NotReady):
    """The engine did not do it, for a reason that may pass; try again."""


class Block(NamedTuple):
    """A range of the log that is, or was, about to go into a table."""

    log: str
    first: int
    next: int
    carry: bytes
    """What the projection knew before this block (its state), to make the same rows again."""
    proof: str = ""
    """Of the last record before `next`; see `Position.proof`."""
    before: str = ""
    """Of the one before `first`: where the block is read once more, that goes on from there."""

    @property
    def position(self) -> Position:
        """Behind the block."""
        return Position(self.log, self.next, proof=self.proof)


class Counted(NamedTuple):
    """How many rows a table had, and behind which plans."""

    contents: str
    """Identity of what it holds."""
    rows: dict[str, int]
    """By partition, the most that were counted; what is outdated is left out, and its bound in."""
    ends: dict[int, int]
    """By partition of the log, up to where it was planned by then."""


class Differences(NamedTuple):
    """Between a table and its declaration."""

    addable: list[str]
    """Columns that it lacks, and that have a default."""
    others: list[str]
    """In words; they take a rebuild."""


class Warehouse(Protocol):
    """Every call blocks its thread; run queries off the event loop.

    Raise `Unavailable` for what may pass and `BadRows` for rows that never will.
    """

    @property
    def folder(self) -> Path | None:
        """Where an embedded engine keeps it; None on a server, whose disk is its own matter."""
        ...

    def query(self, sql: str, parameters: Mapping[str, Value]) -> list[Row]: ...

    def command(self, sql: str) -> None: ...

    def insert(
        self, table: str, rows: bytes, count: int, token: str, columns: Sequence[str] = ()
    ) -> None:
        """Add `count` rows, one JSON array per line in the order of `columns`, under a token. The
        table's other columns get their defaults; without `columns` there are none.

        Returns only after the engine said it has written, or already had, every one of them.
        """
        ...

    def feeds(self, table: str) -> bool:
        """Whether the rows of the table go on into others, through materialised views."""
        ...

    def columns(self, table: str) -> list[str]:
        """Names in order; empty when there is no such table."""
        ...

    def create(self, statements: Sequence[str]) -> list[str]:
        """Run the `CREATE … IF NOT EXISTS` statements of an application, and add to the tables that
        are there what they lack of columns with a default: those, in words.
        """
        ...

    def differences(self, declaration: str) -> Differences | None:
        """Of the columns, but for those that were added for another version; None where there is
        no such table.
        """
        ...

    def plan(self, table: str, partition: int, was: Block | None, block: Block) -> None:
        """Remember that this block is about to go in. Belongs to the table's very contents: it
        moves with them in `exchange` and is gone with them in `drop`.

        Raise `Moved` and plan nothing when the block planned last is not `was`: another process
        has taken the partition over.
        """
        ...

    def planned(self, table: str, partition: int) -> Block | None:
        """The block planned last; whether it went in is unknown until it is sent again."""
        ...

    def drop(self, table: str) -> None: ...

    def exchange(self, shadow: str, table: str) -> None:
        """Let `table` be what `shadow` is, atomically, and drop what it was."""
        ...

    def carry_over(self, table: str, partition: str, shadow: str) -> None:
        """Let the shadow have a partition, by its id, just as the table has it, whatever it had.

        Both have the same columns and keys.
        """
        ...

    def expire(self, table: str, bound: int) -> int:
        """Drop the partitions with a lower number, at most a thousand; how many there were."""
        ...

    def delete(self, table: str, condition: str) -> int:
        """The rows that meet a condition of SQL, and wait for that; how many there were. Nobody may
        add rows meanwhile. One that was interrupted is ended by the next start of an embedded
        engine, or by the next deletion.
        """
        ...

    def bytes_of(self, table: str) -> int:
        """Of one table."""
        ...

    def damage(self, table: str, *, deep: bool = False) -> str:
        """What of a table's parts is lost or damaged, in words; empty when all is well.

        Cheap, but for an embedded engine's `deep`, which reads all of the table.
        """
        ...

    def lacking(self, table: str) -> str:
        """Which partitions hold fewer rows than were counted once, in words; empty when none does.

        Those that `expire` dropped may. Remembers what it counts.
        """
        ...

    def counted(self, table: str) -> Counted:
        """What `lacking` has remembered, of whatever process; of replicas nothing."""
        ...

    def rest(self, table: str) -> None:
        """Let the engine do nothing to the table by itself, for it would fail for ever."""
        ...

    def ping(self) -> None:
        """Raise `Unavailable` when the engine does not answer. Waits for nobody else's question,
        and for a server no longer than a moment.
        """
        ...

    def bytes_on_disk(self) -> int: ...

    def close(self) -> None: ...
