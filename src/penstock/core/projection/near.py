"""Near folds: what a fold will know once it has heard what is on its way to it.

Whoever decides at the edge reads the state of a key as it is stored, and behind it, by the same
steps, what was said here and the fold's cursor has not come to. That is known again by its bytes:
where somebody else said the same, theirs may be heard in its place, and the state is no other. It
is given up when the cursor has passed it, or when it could not be stored.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import NotReady
from penstock.core.events import Codec, Event
from penstock.core.log import Batch, Reader
from penstock.core.projection import Fold, Record
from penstock.core.projection.block import Block
from penstock.core.projection.ids import id_of
from penstock.core.projection.repeats import Repeats
from penstock.core.projection.stepping import Stepper
from penstock.core.state import State

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=msgspec.Struct)

WAITING_MAX = 65_536
"""Events on their way, of all keys."""
KEY_WAITING_MAX = 1_000
"""Of one key that may be asked for: after each block of the cursor they are stepped again."""
_VOUCHED_SECONDS = 0.05
_READ_AT_ONCE = 5_000


class _Said(NamedTuple):
    record: Record[Any]
    id: bytes
    """By which repeats of it are left out; empty where it has none."""


class _Ahead(Generic[S]):
    """A key of which something is on its way."""

    __slots__ = ("block", "ids", "known", "of", "seen", "stored", "to_step", "waiting")

    def __init__(self, stored: bytes | None) -> None:
        self.stored = stored
        """Its value, with all that was heard and nothing that waits."""
        self.known: set[bytes] = set()
        """Ids of what was heard while something waits: whoever has one repeats it."""
        self.seen: set[bytes] = set()
        """With those of what was stepped behind it."""
        self.waiting: dict[int, _Said] = {}
        """By turn, in the order in which they were said."""
        self.ids: Counter[bytes] = Counter()
        """Of those."""
        self.of: dict[bytes, deque[int]] = {}
        """Turns, by payload."""
        self.block: Block[S] | None = None
        """What comes of it with all of them but those that are yet to be stepped."""
        self.to_step: deque[_Said] = deque()

    def know(self, name: bytes) -> None:
        """It was heard: whatever has this id now repeats that."""
        self.known.add(name)
        self.seen.add(name)

    def has(self, name: bytes) -> bool:
        """Whether something of this id was heard of late, or waits."""
        return name in self.known or name in self.ids

    def add(self, turn: int, payload: bytes, said: _Said) -> None:
        self.waiting[turn] = said
        self.ids[said.id] += 1
        self.of.setdefault(payload, deque()).append(turn)
        self.to_step.append(said)

    def remove(self, payload: bytes, *, heard: bool) -> bool:
        """The first that is like it, or the last if it was not heard; whether there is no other."""
        turns, self.block = self.of[payload], None
        said = self.waiting.pop(turns.popleft() if heard else turns.pop())
        self.ids[said.id] -= 1
        if not self.ids[said.id]:
            del self.ids[said.id]
        if heard and said.id:
            self.know(said.id)
        if not turns:
            del self.of[payload]
        return not turns

    def rest_on(self, stored: bytes | None) -> None:
        self.stored, self.block = stored, None


class Near(Generic[E, S]):
    """One fold, as one process knows it; for any thread."""

    def __init__(
        self,
        fold: Fold[E, S],
        state: State,
        codec: Callable[[Any], Codec[Any]],
        clock: Clock,
        *,
        reader: Callable[[], Reader],
        vouch: Callable[[], None],
        ends: Callable[[], Sequence[int] | None],
        repeats: Repeats | None = None,
    ) -> None:
        """`reader` reads the log; `vouch` raises `NotReady` while the state is not to be believed,
        as before it has once caught up; `ends` tells where each partition ends, None where that
        cannot be known; `repeats` whose an id is, where the topic has some.
        """
        self.fold = fold
        self._state = state
        self._codec = codec(fold.topic)
        self._clock = clock
        self._reader = reader
        self._vouch = vouch
        self._ends = ends
        self._repeats = repeats
        self._vouched_until = 0.0
        self._stepper: Stepper[E, S] = Stepper(fold, codec)
        self._lock = threading.Lock()
        self._turns = count()
        self._ahead: dict[bytes, _Ahead[S]] = {}
        self._key_of: dict[bytes, bytes] = {}
        """Of each payload that waits."""
        self._waiting = 0
        self._unsettled = 0
        """So many were said of which the log has not told what became of them."""
        self._lost: int | None = None
        """Some were said that nobody remembers: when so many more are settled, the log has them."""
        self._goal: Sequence[int] | None = None
        """Then they were heard when this was, by partition."""
        self._log = ""
        self._heard: dict[int, int] = {}
        """How far the cursor has come in each partition."""
        self._fell: dict[int, int] = {}
        """How far it had come where it fell back, until it is there again."""

    @property
    def waiting(self) -> int:
        """Events that were said here, and neither heard nor given up."""
        return self._waiting

    # -- being asked ----------------------------------------------------------------------------

    def get(self, key: bytes) -> S:
        """What is known of a key, with its project. Raise `NotReady` where that would not be right:
        before it has caught up, or while too much is on its way.
        """
        now = monotonic()
        if now >= self._vouched_until:
            self._vouch()
            self._vouched_until = now + _VOUCHED_SECONDS
        if self._fell or (self._lost is not None and not self._found()):
            raise self._unknown()
        value = self._value(key) if key in self._ahead else self._stored(key)
        return self.fold.read(value, self._clock.now_ms()) if value else self.fold.state()

    def _value(self, key: bytes) -> bytes | None:
        with self._lock:
            ahead = self._ahead.get(key)
            if ahead is not None:
                if len(ahead.waiting) > KEY_WAITING_MAX:
                    raise self._unknown()
                return self._stepped(key, ahead).state(key)
        return self._stored(key)

    def _stepped(self, key: bytes, ahead: _Ahead[S]) -> Block[S]:
        """As the cursor will: what it cannot step changes nothing."""
        block, step = ahead.block, self._stepper.step
        if block is None:
            block = ahead.block = Block({} if ahead.stored is None else {key: ahead.stored})
            ahead.to_step, ahead.seen = deque(ahead.waiting.values()), set(ahead.known)
        while ahead.to_step:
            record, name = ahead.to_step.popleft()
            if name in ahead.seen:
                continue
            if name:
                ahead.seen.add(name)
            try:
                step(block, record, lambda _: 0)
            except Exception:  # noqa: BLE001, S112 - whatever a step raises: a dead letter soon
                continue
        return block

    def _stored(self, key: bytes) -> bytes | None:
        [value] = self._state.get_many(self.fold.space, (key,))
        return value

    def _found(self) -> bool:
        """Whether what nobody remembers was heard by now."""
        with self._lock:
            if self._lost is not None and self._lost <= 0:
                self._goal = self._goal or self._ends()
                heard = (self._heard.get(n, 0) >= end for n, end in enumerate(self._goal or ()))
                if self._goal is not None and all(heard):
                    self._lost = self._goal = None
            return self._lost is None

    def _unknown(self) -> NotReady:
        name = self.fold.space
        return NotReady(f"{name} has too much to hear yet to be asked; try again", retry_after=1)

    # -- what is on its way ---------------------------------------------------------------------

    def take(self, payload: bytes) -> None:
        """It was said here, and nobody has handed it to the log yet. Never raise: it comes in,
        whether or not the fold can be asked then.
        """
        with self._lock:
            self._unsettled += 1
            if self._waiting >= WAITING_MAX:
                self._lose()
            number = max(self._heard.values(), default=0) + self._waiting
            try:
                project, event = self._codec.read(payload)
                record = Record(number, project, self._clock.now_ms(), event)
                key, name = self._stepper.key(record), self._id_of(record)
            except Exception:  # noqa: BLE001 - whatever it is, it will be a dead letter
                return
            ahead = self._ahead.get(key)
            if ahead is None:
                ahead = self._begin(key)
            if name and not ahead.has(name) and self._is_known(name, record.at_ms):
                ahead.know(name)
            ahead.add(next(self._turns), payload, _Said(record, name))
            self._key_of[payload] = key
            self._waiting += 1

    def _begin(self, key: bytes) -> _Ahead[S]:
        """It is looked at now, before the log has what is to wait: later it may be in already."""
        try:
            stored = self._stored(key)
        except NotReady:
            stored = None
            self._lose()
        made = self._ahead[key] = _Ahead(stored)
        return made

    def _id_of(self, record: Record[E]) -> bytes:
        unique = self.fold.topic.unique
        return b"" if unique is None else id_of(unique, record.project, record.event)

    def _is_known(self, name: bytes, at_ms: int) -> bool:
        """Whether it repeats what was heard before, by this fold or another projection."""
        with suppress(NotReady):  # then nothing else is told of the fold either
            return self._repeats is not None and self._repeats.holds(name, at_ms)
        return False

    def drop(self, payload: bytes) -> None:
        """It was not stored."""
        with self._lock:
            self._remove(payload, heard=False)
            self._settle(1)

    def keep(self, events: int) -> None:
        """So many are in the log."""
        with self._lock:
            self._settle(events)

    def _settle(self, events: int) -> None:
        self._unsettled -= events
        if self._lost is not None:
            self._lost -= events

    def _remove(self, payload: bytes, *, heard: bool) -> None:
        key = self._key_of.get(payload)
        if key is None:
            return
        ahead = self._ahead[key]
        if ahead.remove(payload, heard=heard):
            del self._key_of[payload]
        if not ahead.waiting:
            del self._ahead[key]
        self._waiting -= 1

    def _lose(self) -> None:
        """Nothing is known until all that is on its way was heard."""
        self._forget()
        self._lost, self._goal = self._unsettled, None

    def _forget(self) -> None:
        self._ahead.clear()
        self._key_of.clear()
        self._waiting = 0

    # -- being told, on the cursor's thread -----------------------------------------------------

    def heard(self, partition: int, batch: Batch, block: Block[S]) -> None:
        """All of it is stored now."""
        if batch.damages and self._ahead:  # which of them may be what waits nobody can tell
            with self._lock:
                self._lose()
        found: dict[bytes, list[bytes]] = {}
        if self._key_of:
            for payload in batch.payloads:
                if (key := self._key_of.get(payload)) is not None:
                    found.setdefault(key, []).append(payload)
        for key in found.keys() | self._changed(block):
            with self._lock:  # for a moment each, for the loop may want it
                self._pass(found.get(key, ()))
                if key in self._ahead and _is_of(block, key):
                    self._ahead[key].rest_on(block.value(key) or None)
        self._heard[partition] = batch.next
        if batch.next >= self._fell.get(partition, batch.next):
            self._fell.pop(partition, None)

    def changed(self, block: Block[S]) -> None:
        """What had been put aside is stored now."""
        for key in self._changed(block):
            with self._lock:
                if key in self._ahead:
                    self._ahead[key].rest_on(block.value(key) or None)

    def _changed(self, block: Block[S]) -> set[bytes]:
        with self._lock:
            return self._ahead.keys() & (block.written.keys() | block.waiting.keys())

    def _pass(self, payloads: Collection[bytes]) -> None:
        for payload in payloads:
            self._remove(payload, heard=True)

    def resumed(self, log: str, partition: int, position: int) -> None:
        """The cursor goes by the store again, and on from here, whoever has filled it."""
        was = self._heard.get(partition)
        if self._log not in ("", log):
            was = None
            with self._lock:  # what waits was for another log
                self._forget()
                self._fell.clear()
                self._lost = self._goal = None
        passed = self._between(partition, was, position) if was is not None else []
        with self._lock:
            self._pass(passed)
            for key, ahead in self._ahead.items():
                ahead.rest_on(self._stored(key))
            if was is not None and position < was:
                self._fell[partition] = max(was, self._fell.get(partition, 0))
            self._log, self._heard[partition], self._vouched_until = log, position, 0.0

    def _between(self, partition: int, offset: int, until: int) -> list[bytes]:
        """Of what whoever filled the store has heard, that which waits."""
        found: list[bytes] = []
        if offset >= until or not self._key_of:
            return found
        reader = self._reader()
        try:
            while offset < until:
                limit = min(_READ_AT_ONCE, until - offset)
                batch = reader.read(self.fold.topic.name, partition, offset, limit)
                if batch.next == offset:
                    break
                found += [payload for payload in batch.payloads if payload in self._key_of]
                offset = batch.next
        finally:
            reader.close()
        return found


def check_near(
    asked: Iterable[tuple[str, Iterable[Fold[Any, Any]]]], folds: Iterable[Fold[Any, Any]]
) -> None:
    """`asked`: operations, and what they ask. Raise `ValueError` where that is not what is kept."""
    left = {fold.space: fold for fold in folds}
    kept = {space for space, fold in left.items() if fold.near}
    for operation, near in asked:
        for fold in near:
            if fold.space not in left:
                raise ValueError(f"{operation} asks {fold.space}, which is not offered")
            if not fold.near:
                raise ValueError(
                    f"{operation} asks {fold.space}, which is not near: declare it with near=True"
                )
            kept.discard(fold.space)
    if kept:
        raise ValueError(
            f"no operation asks {', '.join(sorted(kept))}: name it in the `near` of those whose "
            "handler does, or leave near=True out"
        )


def _is_of(block: Block[Any], key: bytes) -> bool:
    """Whether it says of the key what it did not say before."""
    return key in block.written or key in block.waiting
