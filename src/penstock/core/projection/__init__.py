"""Projections: pure functions from events to read models, and the promise that makes them safe.

A *table* turns events into rows of one warehouse table; an *index* turns them into entries of one
space of the state. Both are deterministic: the same records in the same order give the same rows
and entries, whatever the batches, so a read model can be dropped, rebuilt and compared equal.
Their effect is exactly once: an index's position is written with its entries; a table's block is
planned before it is sent and goes in under a token that the engine recognises, and after a stop
what is there is looked at, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from penstock.core.events import Codec, Event
from penstock.core.projection.flush import Flush
from penstock.core.state import Entry

E = TypeVar("E", bound=Event)


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of rows: fields are the table's columns, in their order."""

    log_offset: int
    """Number of the record this row comes from, so that every number can be explained: its
    partition in the upper 16 bits, its offset in the lower 48. The rows of one record lie in one
    partition of the table, and on one shard: they go in together or not at all.
    """


@dataclass(frozen=True)
class Topic(Generic[E]):
    """A named stream of the log and the events it carries; the name starts with its owner's."""

    name: str
    events: tuple[type[E], ...]
    key: Callable[[E], bytes] = field(default=lambda _: b"")
    """Events of one key are projected in the order of their acceptance, on every engine. Pure."""

    def codec(self) -> Codec[E]:
        return Codec(self.events)


class Rows(NamedTuple):
    """What a table projection makes of some events."""

    rows: Sequence[Row]
    carry: Any
    """Handed to the next call; see `Table.carry`."""
    skipped: int = 0
    """Events left out by the projection's own rule."""


@dataclass(frozen=True, kw_only=True)
class Table(Generic[E]):
    table: str
    topic: Topic[E]
    row: type[Row]
    rows: Callable[[Sequence[E], Sequence[int], Sequence[int], Any], Rows]
    """Events, their record numbers, when the log took each (epoch milliseconds by the log's own
    clock), and what the call before carried over → rows. Pure.

    Each partition of the log has a carry of its own.
    """
    carry: Any = None
    """What the first call gets: a value MessagePack can hold. It is saved with every block."""
    flush: Flush
    retained: str = "1"
    """SQL condition of the rows that retention has not given up; only they are compared."""
    expired: Callable[[Any], int | None] = field(default=lambda _: None)
    """From the carry: partitions with a lower number may be dropped; None: keep everything."""
    gauges: Callable[[Any], dict[str, float]] = field(default=lambda _: {})
    """From the carry: numbers for `penstock_application{number=…}`."""
    newest_ms: Callable[[Any], int | None] = field(default=lambda _: None)
    """From the carry: the time of the newest event by its sender's clock, in epoch milliseconds."""

    @property
    def name(self) -> str:
        return self.table


@dataclass(frozen=True, kw_only=True)
class Index(Generic[E]):
    space: str
    topic: Topic[E]
    entries: Callable[[Sequence[E], Sequence[int]], Sequence[Entry]]
    """Events and their record numbers → one entry each. Pure."""
    version: int = 1
    """One more whenever the same events give other entries: then old and new ones do not mix."""
    keep: int = 0
    """Entries of a group that matter, from the first; 0: all. The rest is trimmed in passing."""
    flush: Flush

    @property
    def name(self) -> str:
        return self.space


Projection = Table[Any] | Index[Any]
