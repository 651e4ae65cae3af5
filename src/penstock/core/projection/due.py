"""What a fold wants later: how it says so, how that waits in its space, and how it comes back.

What waits for a key stands in the value of the key, so that it moves with the state and is as much
made from the log alone. Besides, the group without a name has it by time, to be found when its time
has come. That is an index, and no more: what is not in the key's value any longer is nothing.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from penstock.core.events import Event

GROUP = b""
"""Of the index; no key is empty."""
NAME_BYTES_MAX = 255
LATEST_MS = (1 << 63) - 1

_FRAMED = b"\xc1"
"""Begins no MessagePack, so no state alone."""
_HEAD = 5
_TIMER, _TURN = b"t", b"n"


class Due(NamedTuple):
    """A key has one of each name; one that is said again takes the place of what waits."""

    name: str
    at_ms: int | None
    """By the log's own clock, in epoch milliseconds: as soon as that is past, or at once. None:
    not any more.
    """
    keep: Literal["latest", "earliest"] = "latest"
    """Which of the one that waits and this one is kept: this one, or the earlier of both."""


class Elapsed(Event, frozen=True, array_like=True, gc=False, tag="elapsed/1"):
    """A timer's time has come. Only the one that still waits is heard, and once."""

    key: bytes
    name: str
    at_ms: int
    """When it was to come."""
    wanted_ms: int
    """See `Waiting`."""
    turn: int
    """See `core.projection.timers`."""


class Waiting(NamedTuple):
    """What a key's value has of one of them."""

    at_ms: int
    wanted_ms: int
    """When it was said, by the log's own clock; a moment later than that where it takes the place
    of one that was said then. So it is told from whatever was said before.
    """
    project: str
    """Of the record that it was made from."""


Table = Mapping[str, Waiting]
"""All that waits for a key, by name."""

_pack = msgspec.msgpack.Encoder().encode
_table = msgspec.msgpack.Decoder(dict[str, Waiting]).decode


def framed(state: bytes, table: Table) -> bytes:
    """A key's value; the state alone where nothing waits. Empty where there is neither."""
    return _FRAMED + len(state).to_bytes(4) + state + _pack(table) if table else state


def is_framed(value: bytes) -> bool:
    return value[:1] == _FRAMED


def state_of(value: bytes) -> bytes:
    """Of a value that is framed; empty where there is none."""
    return value[_HEAD : _HEAD + int.from_bytes(value[1:_HEAD])]


def table_of(value: bytes) -> Table:
    """Of a value that is framed."""
    found: Table = _table(memoryview(value)[_HEAD + int.from_bytes(value[1:_HEAD]) :])
    return found


def timers(partition: int) -> bytes:
    """How the places of a partition's timers begin."""
    return _TIMER + partition.to_bytes(2)


def turn(partition: int) -> bytes:
    """Where the last turn of a partition that was heard is kept."""
    return _TURN + partition.to_bytes(2)


def place(partition: int, key: bytes, name: str, at_ms: int) -> bytes:
    """Of a timer in the index, whose order is that of time."""
    return b"%b%b%b%b%b" % (
        timers(partition), at_ms.to_bytes(8), len(key).to_bytes(2), key, name.encode(),
    )  # fmt: skip


class Placed(NamedTuple):
    """A timer as it is found in the index."""

    sort: bytes
    at_ms: int
    key: bytes
    name: str
    wanted_ms: int
    project: str


def placed(sort: bytes, value: bytes) -> Placed:
    end = 13 + int.from_bytes(sort[11:13])
    return Placed(
        sort,
        int.from_bytes(sort[3:11]),
        sort[13:end],
        sort[end:].decode(),
        int.from_bytes(value[:8]),
        value[8:].decode(),
    )
