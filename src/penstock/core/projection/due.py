"""What a fold wants later: how it says so, how that waits in its space, and how it comes back.

What waits for a key stands in the value of the key, so that it moves with the state and is as much
made from the log alone. Besides, the group without a name has it in the order of time, to be found
when its time has come: timers of a partition, and jobs of each kind and project. That is an index,
and no more: what is not in the key's value any longer is nothing.
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
_TIMER, ANY_JOB, _TURN, _EXPIRY = b"t", b"j", b"n", b"e"


class Due(NamedTuple):
    """A key has one of each name; one that is said again takes the place of what waits."""

    name: str
    at_ms: int | None
    """By the log's own clock, in epoch milliseconds: as soon as that is past, or at once. None:
    not any more, unless it is under way.
    """
    work: msgspec.Struct | None = None
    """What is to be done then, by the job of its type; None: it is a timer, and is heard of."""
    keep: Literal["latest", "earliest"] = "latest"
    """Which of the one that waits and this one is kept: this one, or the earlier of both."""


class Heard(Event, frozen=True, array_like=True, gc=False):
    """What the platform says to a fold of something that was due."""

    key: bytes
    name: str
    wanted_ms: int
    """See `Waiting`."""
    turn: int
    """See `core.projection.timers`."""


class Elapsed(Heard, frozen=True, array_like=True, gc=False, tag="elapsed/1"):
    """A timer's time has come. Only the one that still waits is heard, and once."""

    at_ms: int
    """When it was to come."""


class Waiting(NamedTuple):
    """What a key's value has of one of them."""

    at_ms: int
    wanted_ms: int
    """When it was said, by the log's own clock; a moment later than that where it takes the place
    of one that was said then. So it is told from whatever was said before.
    """
    project: str
    """Of the record that it was made from."""
    job: str = ""
    """Its name; empty for a timer."""
    generation: int = 0
    """Of a timer that was to come at once; see `core.projection.stepping`."""


Table = Mapping[str, Waiting]
"""All that waits for a key, by name."""

_pack = msgspec.msgpack.Encoder().encode
_table = msgspec.msgpack.Decoder(dict[str, Waiting]).decode


def framed(state: bytes, table: Table) -> bytes:
    """A key's value; the state alone where nothing waits. Empty where there is neither."""
    if not table:
        return state
    stored = {name: one if one.generation else one[:-1] for name, one in table.items()}
    return _FRAMED + len(state).to_bytes(4) + state + _pack(stored)


def is_framed(value: bytes) -> bool:
    return value[:1] == _FRAMED


def state_of(value: bytes) -> bytes:
    """Of a value that is framed; empty where there is none."""
    return value[_HEAD : _HEAD + int.from_bytes(value[1:_HEAD])]


def bare(value: bytes) -> bytes:
    """The state of any value; empty where there is none."""
    return state_of(value) if is_framed(value) else value


def stateless(value: bytes) -> bytes:
    """What waits for the key, of any value; empty where that is nothing."""
    return framed(b"", table_of(value)) if is_framed(value) else b""


def table_of(value: bytes) -> Table:
    """Of a value that is framed."""
    found: Table = _table(memoryview(value)[_HEAD + int.from_bytes(value[1:_HEAD]) :])
    return found


def turn(partition: int) -> bytes:
    """Where the last turn of a partition that was heard is kept."""
    return _TURN + partition.to_bytes(2)


def timers(partition: int) -> bytes:
    """How the places of a partition's timers begin."""
    return _TIMER + partition.to_bytes(2)


def jobs(partition: int) -> bytes:
    """How the places of a partition's jobs begin."""
    return ANY_JOB + partition.to_bytes(2)


def expiries(partition: int) -> bytes:
    """How the places begin at which the keys of a partition expire."""
    return _EXPIRY + partition.to_bytes(2)


def expiry(begin: bytes, at_ms: int, key: bytes) -> bytes:
    return b"%b%b%b" % (begin, at_ms.to_bytes(8), key)


def expiry_of(sort: bytes) -> tuple[int, bytes]:
    """The time and the key of such a place."""
    return int.from_bytes(sort[3:11]), sort[11:]


def lane(partition: int, job: str, project: str) -> bytes:
    """How the places of one project's jobs of a kind begin; none is how another one does."""
    of, whose = job.encode(), project.encode()
    return b"%b%c%b%b%b" % (jobs(partition), len(of), of, len(whose).to_bytes(2), whose)


def lane_of(sort: bytes) -> tuple[bytes, str, str]:
    """The lane of a place, its job and its project."""
    middle = 4 + sort[3]
    end = middle + 2 + int.from_bytes(sort[middle : middle + 2])
    return sort[:end], sort[4:middle].decode(), sort[middle + 2 : end].decode()


def place(partition: int, key: bytes, name: str, one: Waiting) -> bytes:
    """In the index; what is said anew has another one."""
    begin = lane(partition, one.job, one.project) if one.job else timers(partition)
    return b"%b%b%b%b%b%b" % (
        begin, one.at_ms.to_bytes(8), one.wanted_ms.to_bytes(8), len(key).to_bytes(2), key,
        name.encode(),
    )  # fmt: skip


def whose(timer: Waiting) -> bytes:
    """What the index says of a timer: its project, and its generation if it has one."""
    project = timer.project.encode()
    return b"%b\x00%d" % (project, timer.generation) if timer.generation else project


def whose_of(value: bytes) -> tuple[str, int]:
    project, _, count = value.partition(b"\x00")
    return project.decode(), int(count or 0)


class Placed(NamedTuple):
    """What a place says."""

    sort: bytes
    at_ms: int
    wanted_ms: int
    key: bytes
    name: str


def placed(sort: bytes, begin: int) -> Placed:
    """`begin`: how many bytes of it lead to the first of its kind."""
    end = begin + 18 + int.from_bytes(sort[begin + 16 : begin + 18])
    return Placed(
        sort,
        int.from_bytes(sort[begin : begin + 8]),
        int.from_bytes(sort[begin + 8 : begin + 16]),
        sort[begin + 18 : end],
        sort[end:].decode(),
    )


class Queued(NamedTuple):
    """A job in the index."""

    work: bytes
    attempts: int = 0
    """That have begun."""
    begun: bool = False
    """Whether the last of them has not ended, as far as is known."""
    by_hand: bool = False
    """Whether it is tried again though no key waits for it."""
    reason: str = ""
    """Why the last one failed."""


queued = msgspec.msgpack.Decoder(Queued).decode
packed = msgspec.msgpack.Encoder().encode
