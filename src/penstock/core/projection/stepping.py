"""The steps of a fold over one block of records: pure, and bounded.

Every step hears its key's state as it would be read from the store. So blocks may be cut anywhere
and the states are the same, and what a step did to a state before it raised is forgotten.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from penstock.core.errors import Disproved
from penstock.core.events import Codec, Encode, Event
from penstock.core.projection import Fold, Record, Topic
from penstock.core.projects import order_of

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=msgspec.Struct)

_GROUP_BYTES_MAX = 65_534
_pack = msgspec.msgpack.Encoder().encode


class Said(NamedTuple):
    """An event that a step has made, as the log is to keep it."""

    topic: str
    payload: bytes
    key: bytes


class _Way(NamedTuple):
    topic: str
    of: Callable[[str], Encode]
    key: Callable[[Any], bytes]


class Block(Generic[S]):
    """What is known of the keys of some records, and what has become of it."""

    __slots__ = ("found", "states", "written")

    def __init__(self, found: Mapping[bytes, bytes]) -> None:
        self.found = found
        """Values as they were stored."""
        self.written: dict[bytes, bytes | None] = {}
        """Values that are others now; None: it is to be forgotten."""
        self.states: dict[bytes, S] = {}
        """Of either, as far as they were read."""


class Stepper(Generic[E, S]):
    def __init__(self, fold: Fold[E, S], codec: Callable[[Topic[Any]], Codec[Any]]) -> None:
        self._fold = fold
        self._key = fold.topic.key
        self._step = fold.step
        self._read = fold.read
        self._ways = {
            kind: _Way(topic.name, codec(topic).of, topic.key)
            for topic in fold.emits
            for kind in topic.events
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
        key = order_of(record.project, self._key(record.event))
        if not 0 < len(key) <= _GROUP_BYTES_MAX:
            raise ValueError(f"its key has {len(key)} bytes; 1 to {_GROUP_BYTES_MAX} can be kept")
        return key

    def step(self, block: Block[S], record: Record[E]) -> Sequence[Said]:
        """Change what the block knows of the record's key; what is said about it.

        Raise, with nothing changed, whatever the step does; and `ValueError` for what it may not.
        """
        key = self.key(record)
        state = self._state(block, key)
        try:
            after, events = self._step(state, record)
            said = self._said(record.project, events) if events else ()
            if after is None:
                block.written[key] = None
                block.states.pop(key, None)
                return said
            block.states[key], block.written[key] = self._kept(after)
        except Exception:
            block.states.pop(key, None)  # it may have been changed in place
            raise
        return said

    def _state(self, block: Block[S], key: bytes) -> S:
        state = block.states.get(key)
        if state is not None:
            return state
        value = block.written[key] if key in block.written else block.found.get(key)
        if value is None:
            return self._fold.state()
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

    def _said(self, project: str, events: Sequence[Event]) -> list[Said]:
        """They belong to the project of the record that they were made from."""
        fold, ways, size = self._fold, self._ways, 0
        if len(events) > fold.events_max:
            raise ValueError(f"{len(events)} events of one step; at most {fold.events_max}")
        said = []
        for event in events:
            way = ways.get(type(event))
            if way is None:
                raise ValueError(f"{type(event).__name__} is of no topic that the fold emits to")
            payload = way.of(project)(event)
            size += len(payload)
            said.append(Said(way.topic, payload, order_of(project, way.key(event))))
        if size > fold.events_bytes_max:
            raise ValueError(f"{size} bytes of events; at most {fold.events_bytes_max} of one step")
        return said
