"""The steps of a fold over one block of records: pure, and bounded.

Every step hears its key's state as it would be read from the store. So blocks may be cut anywhere
and the states are the same, and what a step did to a state before it raised is forgotten.

What a fold hears of itself has a generation, one more than that of the record it was made of; the
last one that is allowed may be heard, and no more be said of it. So has a timer that is to come at
once. Others come when the clock says so, and jobs ask the world outside: they begin anew.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from penstock.core.errors import Disproved
from penstock.core.events import Codec, Encode, Event
from penstock.core.log import RECORD_BYTES_MAX
from penstock.core.projection import Fold, Record, Topic
from penstock.core.projection.block import Block
from penstock.core.projection.circles import Circle
from penstock.core.projection.due import (
    LATEST_MS,
    NAME_BYTES_MAX,
    Due,
    Elapsed,
    Heard,
    Table,
    Waiting,
)
from penstock.core.projection.parts import part
from penstock.core.projects import order_of

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=msgspec.Struct)

_GROUP_BYTES_MAX = 65_534
_SOON_MS = 1_000
"""A timer that comes so much later than the one it follows on catches up with the clock."""
_pack = msgspec.msgpack.Encoder().encode

Generation = Callable[[int], int]
"""Of the record that has this number. It is looked up only where that matters."""


class Said(NamedTuple):
    """An event that a step has made, as the log is to keep it."""

    topic: str
    payload: bytes
    key: bytes


class _Way(NamedTuple):
    topic: str
    of: Callable[[str, int], Encode]
    key: Callable[[Any], bytes]
    comes_back: bool


class Stepper(Generic[E, S]):
    def __init__(
        self,
        fold: Fold[E, S],
        codec: Callable[[Topic[Any]], Codec[Any]],
        *,
        circles: Collection[Circle] = (),
    ) -> None:
        around = {fold.topic.name, *(topic for space, topic in circles if space == fold.space)}
        self._fold = fold
        self._key = fold.key_of
        self._merged = fold.merge is not None
        self._step = fold.step
        self._read = fold.decode
        self._mirrored = fold.mirror is not None
        self._jobs = {job.work: job for job in fold.jobs}
        self._ways = {
            kind: _Way(topic.name, codec(topic).of, topic.key, topic.name in around)
            for topic in fold.emits
            for kind in topic.events
            if not issubclass(kind, Heard)  # they are the platform's to say
        }

    def keys(self, records: Iterable[Record[E]]) -> list[bytes]:
        """Of these records, each once; a key that cannot be had is missed by its step."""
        found: dict[bytes, None] = {}
        for record in records:
            try:
                found[self.key(record)] = None
            except Exception:  # noqa: BLE001, S112 - whatever it is, it is the record's
                continue
        return list(found)

    def key(self, record: Record[E]) -> bytes:
        event = record.event
        own = event.key if isinstance(event, Heard) else self._key(event)
        key = order_of(record.project, own)
        if self._merged and key:
            key = part(key, record.number)
        if not 0 < len(key) <= _GROUP_BYTES_MAX:
            raise ValueError(f"its key has {len(key)} bytes; 1 to {_GROUP_BYTES_MAX} can be kept")
        return key

    def step(self, block: Block[S], record: Record[E], generation: Generation) -> Sequence[Said]:
        """Change what the block knows of the record's key; what is said about it.

        Raise, with nothing changed, whatever the step does; and `ValueError` for what it may not.
        """
        key = self.key(record)
        try:
            state, ended_ms = self._state(block, key, record.at_ms)
            after, events, due = self._step(state, record)
            said = self._said(record, events, generation) if events else ()
            waiting, works = None, list[tuple[str, bytes]]()
            if due:
                waiting, works = self._due(block.table(key), due, record, generation)
            kept = None if after is None else self._kept(after)
            expires_ms = None if kept is None else self._fold.expires_at(kept[0])
        except Exception:
            block.states.pop(key, None)  # it may have been changed in place
            raise
        if kept is None:
            block.written[key] = None
            block.states.pop(key, None)
        else:
            block.states[key], block.written[key] = kept
        if self._mirrored:
            block.changed[key] = record.number
        if expires_ms is not None and (ended_ms is None or expires_ms < ended_ms):
            block.expiring[key] = expires_ms
        if waiting is not None:
            block.waiting[key] = waiting
            block.works.update(((key, name), work) for name, work in works)
        return said

    def _state(self, block: Block[S], key: bytes, now_ms: int) -> tuple[S, int | None]:
        """As the record of this time hears it; and when what there is expires, or has."""
        fold, state = self._fold, block.states.get(key)
        if state is None:
            value = block.state(key)
            if not value:
                return fold.state(), None
            state = self._decoded(value)
        if fold.expires is None:
            return state, None
        ended_ms = fold.expires_at(state)
        return fold.state() if ended_ms is not None and ended_ms <= now_ms else state, ended_ms

    def _decoded(self, value: bytes) -> S:
        try:
            return self._read(value)
        except msgspec.MsgspecError as error:
            raise Disproved(
                f"{self._fold.space} holds states of another form: {error}; give the fold its next "
                f"version, and run `penstock rebuild {self._fold.space} --from-scratch`"
            ) from error

    def _kept(self, after: S) -> tuple[S, bytes]:
        """The state as it will be read, and stored."""
        fold = self._fold
        if type(after) is not fold.state:
            raise ValueError(f"a state is a {fold.state.__name__}, not a {type(after).__name__}")
        value = _pack(after)
        if len(value) > fold.state_bytes_max:
            raise ValueError(f"a state of {len(value)} bytes; at most {fold.state_bytes_max}")
        return self._read(value), value

    def _said(
        self, record: Record[E], events: Sequence[Event], generation: Generation
    ) -> list[Said]:
        """They belong to the project of the record that they were made from."""
        fold, ways, project, size, later = self._fold, self._ways, record.project, 0, 0
        if len(events) > fold.events_max:
            raise ValueError(f"{len(events)} events of one step; at most {fold.events_max}")
        said = []
        for event in events:
            way = ways.get(type(event))
            if way is None:
                raise ValueError(f"{type(event).__name__} is of no topic that the fold emits to")
            if way.comes_back and not later:
                later = self._next(record, generation)
            payload = way.of(project, later if way.comes_back else 0)(event)
            size += len(payload)
            if len(payload) > RECORD_BYTES_MAX:
                raise ValueError(f"an event of {len(payload)} bytes; at most {RECORD_BYTES_MAX}")
            said.append(Said(way.topic, payload, order_of(project, way.key(event))))
        if size > fold.events_bytes_max:
            raise ValueError(f"{size} bytes of events; at most {fold.events_bytes_max} of one step")
        return said

    def _due(
        self, waiting: Table, due: Sequence[Due], record: Record[E], generation: Generation
    ) -> tuple[Table, list[tuple[str, bytes]]]:
        """What waits for a key from now on; and by name, what is to be done of that."""
        fold, after, works = self._fold, dict(waiting), list[tuple[str, bytes]]()
        if len(due) > fold.due_max:
            raise ValueError(f"{len(due)} are due of one step; at most {fold.due_max}")
        for one in due:
            was = after.get(one.name)
            if one.at_ms is None:
                after.pop(one.name, None)
                continue
            job, work = self._work(one)
            made = _waiting(one, was, record, job)
            if not job and _at_once(made.at_ms, record):
                made = made._replace(generation=self._next(record, generation))
            if was is None or one.keep == "latest" or made.at_ms < was.at_ms:
                after[one.name] = made
                works.append((one.name, work))
        if len(after) > fold.due_max:
            raise ValueError(f"{len(after)} are due of one key; at most {fold.due_max}")
        return after, works

    def _next(self, record: Record[E], generation: Generation) -> int:
        """The generation of what is made of a record."""
        later, most = generation(record.number) + 1, self._fold.generations_max
        if later > most:
            raise ValueError(
                f"{self._fold.space} hears of itself, and of that again, {most} times at most, and "
                f"this would be time {later}; let the step end the chain, set timers later than "
                "the record's time, or give the fold more `generations_max`"
            )
        return later

    def _work(self, due: Due) -> tuple[str, bytes]:
        """The job that does it, and what it is to do; nothing for a timer."""
        if due.work is None:
            if not self._fold.times:
                raise ValueError(
                    f"{self._fold.space} merges parts, which have no timers"
                    if self._merged
                    else f"{self._fold.topic.name} has no `Elapsed` among its events"
                )
            return "", b""
        job = self._jobs.get(type(due.work))
        if job is None:
            raise ValueError(f"{type(due.work).__name__} is the work of no job of the fold")
        work = _pack(due.work)
        if len(work) > job.work_bytes_max:
            raise ValueError(f"{len(work)} bytes of work; {job.name} takes {job.work_bytes_max}")
        return job.name, work


def _at_once(at_ms: int, record: Record[Any]) -> bool:
    """Whether a timer comes as soon as it is set, and again does so after that."""
    event = record.event
    catches_up = isinstance(event, Elapsed) and at_ms - event.at_ms >= _SOON_MS
    return at_ms <= record.at_ms and not catches_up


def _waiting(due: Due, was: Waiting | None, record: Record[Any], job: str) -> Waiting:
    """Raise `ValueError` for what cannot wait."""
    if not 0 < len(due.name.encode()) <= NAME_BYTES_MAX:
        raise ValueError(f"{due.name!r} is due; a name has 1 to {NAME_BYTES_MAX} bytes")
    if not (isinstance(due.at_ms, int) and due.at_ms <= LATEST_MS):
        raise ValueError(f"{due.name} is due at {due.at_ms}, which is no time in milliseconds")
    wanted_ms = record.at_ms if was is None else max(record.at_ms, was.wanted_ms + 1)
    return Waiting(max(0, due.at_ms), wanted_ms, record.project, job)
