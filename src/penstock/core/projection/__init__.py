"""Projections: pure functions from events to read models, and the promise that makes them safe.

A *table* turns events into rows of one warehouse table; an *index* turns them into entries of one
space of the state; a *fold* steps the state of a key from one to the next, and may decide: what it
says are events. All are deterministic: the same records in the same order give the same rows,
entries, states and decisions, whatever the batches, so a read model can be dropped, rebuilt and
compared equal.
Their effect is exactly once: the position of an index or a fold is written with its entries; a
table's block is planned before it is sent and goes in under a token that the engine recognises, and
after a stop what is there is looked at, too. What a fold says is durable before its state moves,
and the log knows a repeat of it by its origin.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec

from penstock.core.events import Codec, Event
from penstock.core.log.kept import FOREVER, Kept
from penstock.core.projection.due import LATEST_MS, Heard, bare
from penstock.core.projection.due import Due as Due
from penstock.core.projection.due import Elapsed as Elapsed
from penstock.core.projection.flush import Flush
from penstock.core.projection.job import Done as Done
from penstock.core.projection.job import Failed as Failed
from penstock.core.projection.job import Job as Job
from penstock.core.projection.mirror import Mirror as Mirror
from penstock.core.state import Entry

SPACE_RECORDS_MAX = 1_000
"""Of a block that goes into a space. The embedded state takes a block in one call, which keeps the
interpreter from all other threads: for 2 to 5 ms then.
"""

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=msgspec.Struct)


SUBJECT = "{subject:String}"


def no_key(event: Event) -> bytes:
    """Of topics whose events need no order among each other."""
    del event
    return b""


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of rows: fields are the table's columns, in their order."""

    log_offset: int
    """Number of the record this row comes from, so that every number can be explained: its
    partition in the upper 16 bits, its offset in the lower 48. The rows of one record lie in one
    partition of the table, and on one shard: they go in together or not at all.
    """
    project: str
    """That of the record. Every named query asks for rows of one project."""


@dataclass(frozen=True)
class Topic(Generic[E]):
    """A named stream of the log and the events it carries; the name starts with its owner's."""

    name: str
    events: tuple[type[E], ...]
    key: Callable[[E], bytes] = no_key
    """Events of one key are projected in the order of their acceptance, on every engine. Pure."""
    kept: Kept = FOREVER
    """How long, unless the settings say otherwise. A read model may know more than its log."""
    unique: Callable[[E], bytes] | None = None
    """The id of an event, within its project: projections leave a record out whose id belongs to
    an earlier one. Empty: it has none. Pure. Events of one id have one key; where the topic has
    none, the id is the key.
    """
    unique_hours: float = 24.0
    """How long an id belongs to its first record, by the log's own clock."""

    def __post_init__(self) -> None:
        if self.unique_hours <= 0:
            raise ValueError(f"{self.name}: unique_hours is above nothing")
        if self.unique is not None and self.key is no_key:
            object.__setattr__(self, "key", self.unique)
        if taken := [of.__name__ for of in self.events if "project" in of.__struct_fields__]:
            raise ValueError(f"{', '.join(taken)}: a project is the record's, not the event's")
        self._check_tags()

    def _check_tags(self) -> None:
        """A record says by its tag what it is. Raise `ValueError`."""
        known: dict[object, str] = {}
        for of in self.events:
            tag, name = of.__struct_config__.tag, of.__name__
            if not isinstance(tag, str):
                raise ValueError(  # noqa: TRY004 - of the class, which is of a fitting type
                    f"{self.name}: {name} has no name on the wire; declare it with a tag, the fact "
                    'and its version, as in tag="confirmed/1"'
                )
            if (other := known.setdefault(tag, name)) != name:
                raise ValueError(
                    f'{self.name}: {other} and {name} both have tag="{tag}"; give each its own'
                )

    def codec(self) -> Codec[E]:
        return Codec(self.events)


class Record(msgspec.Struct, Generic[E], frozen=True, gc=False):
    """An event as the log has it. As a struct it takes a third of a tuple's time to make."""

    number: int
    """Within its topic; `Row.log_offset` says of what it is made."""
    project: str
    """Whose it is. The platform writes it, never an application."""
    at_ms: int
    """When the log took it, in epoch milliseconds by its own clock: the only clock that a
    projection may go by, as a replay hears the same.
    """
    event: E


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
    rows: Callable[[Sequence[Record[E]], Any], Rows]
    """Records, and what the call before carried over → rows. Pure.

    Each partition of the log has a carry of its own.
    """
    carry: Any = None
    """What the first call gets: a value MessagePack can hold. It is saved with every block.

    So does a rebuild, wherever the log begins by then: what was trimmed is to matter no more.
    """
    flush: Flush
    subject: str = ""
    """SQL condition of the rows that are about `{subject:String}`, as `cookie = {subject:String}`:
    they can be deleted. Empty: no row tells, and they can be deleted by their project only.
    """
    retained: str = "1"
    """SQL condition of the rows that retention has not given up; only they are compared."""
    compared: str = ""
    """SQL of what two tables of the same events have in common, from `{table}`, where that is not
    their rows: of one whose rows are sums of a block, the sums by key. It takes `retained` itself.
    """
    expired: Callable[[Any], int | None] = field(default=lambda _: None)
    """From the carry: partitions with a lower number may be dropped; None: keep everything."""
    gauges: Callable[[Any], dict[str, float]] = field(default=lambda _: {})
    """From the carry: numbers for `penstock_application{number=…}`."""
    newest_ms: Callable[[Any], int | None] = field(default=lambda _: None)
    """From the carry: the time of the newest event by its sender's clock, in epoch milliseconds."""

    def __post_init__(self) -> None:
        if self.subject and SUBJECT not in self.subject:
            raise ValueError(f"{self.table}: a condition of a subject says {SUBJECT}")

    @property
    def name(self) -> str:
        return self.table

    @property
    def block_records(self) -> int:
        """At most so many are taken at once."""
        return self.flush.block_records

    @property
    def tables(self) -> Sequence[str]:
        """Of the warehouse that it fills."""
        return (self.table,)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(field.name for field in msgspec.structs.fields(self.row))


@dataclass(frozen=True, kw_only=True)
class Index(Generic[E]):
    space: str
    topic: Topic[E]
    entries: Callable[[Sequence[Record[E]]], Sequence[Entry]]
    """Records → one entry each. Pure. The platform keeps the groups of projects apart."""
    version: int = 1
    """One more whenever the same events give other entries: then old and new ones do not mix."""
    keep: int = 0
    """Entries of a group that matter, from the first; 0: all. The rest is trimmed in passing."""
    flush: Flush
    tables: ClassVar[Sequence[str]] = ()

    @property
    def name(self) -> str:
        return self.space

    @property
    def block_records(self) -> int:
        """At most so many are taken at once."""
        return min(self.flush.block_records, SPACE_RECORDS_MAX)


class Step(NamedTuple, Generic[S]):
    """What a fold makes of one record."""

    state: S | None
    """Of the record's key from now on; None: forget the key."""
    events: Sequence[Event] = ()
    """They are durable before state and position move, and in the log once, whatever happens."""
    due: Sequence[Due] = ()
    """What is to come later. It waits for the key, also for one that is forgotten."""


@dataclass(frozen=True, kw_only=True)
class Fold(Generic[E, S]):
    """The state of each key of one topic, stepped from record to record in their order.

    It hears one topic, and nothing else: the interleaving of two is recorded nowhere. Raise
    `ValueError` for one that cannot work.
    """

    space: str
    topic: Topic[E]
    """To set timers it has `Elapsed` among its events. `key` is asked of the application's own."""
    key: Callable[[E], bytes] | None = None
    """What it knows something of, where that is not the key of the topic, as a shop is of records
    whose order is that of their buyers. Pure. Records of one key may be in several partitions then,
    each of which knows its own part of it: `merge` says what that is together.
    """
    state: type[S]
    """A frozen struct; `state()` is that of a key that was never heard of, or was forgotten."""
    step: Callable[[S, Record[E]], Step[S]]
    """Pure. A record whose step raises is a dead letter, and changes nothing."""
    emits: tuple[Topic[Any], ...] = ()
    """Topics of what it says; an event's type tells which."""
    jobs: tuple[Job[Any], ...] = ()
    """What does the work that it wants. Then its topic has `Done` and `Failed` among its events."""
    version: int = 1
    """One more whenever the same events give other states: then old and new ones do not mix."""
    state_bytes_max: int = 65_536
    """Of one key, as it is stored. What goes beyond any of these limits is a dead letter."""
    events_max: int = 1_000
    """Of one step."""
    events_bytes_max: int = 1_048_576
    """Of one step, as they are stored."""
    due_max: int = 100
    """Of one key, and of one step."""
    merge: Callable[[S, S], S] | None = None
    """Two parts of a key → what is known of it. Pure, and the same however records are split over
    parts, for what is asked of the embedded log is asked of a cluster too. A step hears its own
    part; so neither timers nor jobs, `near`, `expires` or a mirror can be of such a key.
    """
    expires: Callable[[S], int | None] | None = None
    """Of a state that a step made → when, in epoch milliseconds, the key is as one that was never
    heard of; None: never. Pure. For steps that is by the time of their record, for readers by the
    log's own clock. Timers and jobs of the key go on waiting.
    """
    near: bool = False
    """Keep it wherever events come in, for the operations that name it in `near`. There its step is
    taken before the log has the record, whose number and time are a guess then.
    """
    mirror: Mirror[S] | None = None
    """The newest row of each key in a table of the warehouse, for what is asked by other than the
    key; see `core.projection.mirror`.
    """
    generations_max: int = 100
    """How far what it hears of itself may be from a record that came from outside: a record of
    which it would say more, or set a timer that is to come at once, is a dead letter then.
    """
    flush: Flush
    keep: ClassVar[int] = 1
    """A key has one entry."""

    def __post_init__(self) -> None:
        if self.topic.key is no_key and self.key is None:
            raise ValueError(f"{self.space} keeps a state per key, and {self.topic.name} has none")
        if not self.state.__struct_config__.frozen:
            raise ValueError(f"{self.space}: declare {self.state.__name__} with frozen=True")
        if required := [of.name for of in msgspec.structs.fields(self.state) if of.required]:
            raise ValueError(
                f"{self.space} begins with {self.state.__name__}(): give {', '.join(required)} a "
                "default"
            )
        own = [k for topic in self.emits for k in topic.events if not issubclass(k, Heard)]
        kinds = [kind.__name__ for kind in own]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"{self.space} emits {', '.join(twice)} to more than one topic")
        self._check_jobs()
        self._check_merge()

    def _check_merge(self) -> None:
        if (self.merge is None) != (self.key is None):
            raise ValueError(
                f"{self.space}: a key of its own, and how parts of it merge, go together"
            )
        of_one = [name for name in ("jobs", "near", "expires", "mirror") if getattr(self, name)]
        if self.merge is not None and of_one:
            raise ValueError(f"{self.space} merges parts: it can have no {', '.join(of_one)}")

    def _check_jobs(self) -> None:
        works = [job.work.__name__ for job in self.jobs]
        if twice := sorted({work for work in works if works.count(work) > 1}):
            raise ValueError(f"{self.space} has more than one job for {', '.join(twice)}")
        missing = [kind.__name__ for kind in (Done, Failed) if kind not in self.topic.events]
        if self.jobs and missing:
            raise ValueError(f"{self.space} has jobs: {self.topic.name} lacks {', '.join(missing)}")

    @property
    def name(self) -> str:
        return self.space

    @property
    def block_records(self) -> int:
        """At most so many are taken at once."""
        return min(self.flush.block_records, SPACE_RECORDS_MAX)

    @property
    def tables(self) -> Sequence[str]:
        """Of the warehouse that it fills."""
        return () if self.mirror is None else (self.mirror.table,)

    @property
    def key_of(self) -> Callable[[E], bytes]:
        """Of the application's own events."""
        return self.key or self.topic.key

    @property
    def times(self) -> bool:
        """Whether it can set timers."""
        return Elapsed in self.topic.events and self.merge is None

    @property
    def speaks(self) -> bool:
        """Whether anything is appended for it."""
        return bool(self.emits or self.times or self.jobs)

    @cached_property
    def decode(self) -> Callable[[bytes], S]:
        """A state as it is stored, without what waits beside it → the state."""
        return msgspec.msgpack.Decoder(self.state).decode

    def expires_at(self, state: S) -> int | None:
        """Raise `ValueError` for what is no time."""
        at_ms: Any = None if self.expires is None else self.expires(state)
        if at_ms is None:
            return None
        if not isinstance(at_ms, int) or at_ms > LATEST_MS:
            raise ValueError(f"a state expires at {at_ms}, which is no time in milliseconds")
        return max(at_ms, 0)

    def has_expired(self, state: S, now_ms: int) -> bool:
        at_ms = self.expires_at(state)
        return at_ms is not None and at_ms <= now_ms

    def read(self, value: bytes, now_ms: int = 0) -> S:
        """A stored value → the state, if that has not expired by now."""
        value = bare(value)
        state = self.decode(value) if value else self.state()
        return self.state() if value and self.has_expired(state, now_ms) else state


Projection = Table[Any] | Index[Any] | Fold[Any, Any]
