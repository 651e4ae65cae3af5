"""Work that was given up: kept with what was to be done, why it failed, and how often."""

from collections.abc import Iterator
from hashlib import blake2s

import msgspec

from penstock.core.errors import NotFound
from penstock.core.state import Entry, Place, State

SPACE = "penstock.dead_jobs"


class DeadJob(msgspec.Struct, frozen=True, kw_only=True):
    projection: str
    """The fold that wanted it."""
    job: str
    project: str
    partition: int
    key: bytes
    name: str
    wanted_ms: int
    work: bytes
    """MessagePack of what was to be done."""
    attempts: int
    reason: str
    at_ms: int
    """When it was given up."""

    @property
    def number(self) -> str:
        """By which operators name it; the same one has it again."""
        known = b"%b %b" % (self.projection.encode(), sort_of(self))
        return blake2s(known, digest_size=5).hexdigest()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DeadJob).decode


class DeadJobs:
    """All of one platform."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, dead: DeadJob) -> None:
        """Idempotent."""
        space, group, sort = place_of(dead)
        self._state.put(space, Entry(group, sort, _encode(dead)))

    def all(self, of: str = "") -> Iterator[DeadJob]:
        """Of a job or a fold, or of all."""
        for entry in self._state.scan(SPACE):
            dead = _decode(entry.value)
            if of in ("", dead.projection, dead.job):
                yield dead

    def one(self, number: str) -> DeadJob:
        for dead in self.all():
            if dead.number == number:
                return dead
        raise NotFound(f"there is no job {number} that was given up; see `penstock jobs list`")

    def remove(self, dead: DeadJob) -> None:
        self._state.delete(*place_of(dead))


def sort_of(dead: DeadJob) -> bytes:
    return b"%b%b%b%b%b" % (
        dead.partition.to_bytes(2), dead.wanted_ms.to_bytes(8), len(dead.key).to_bytes(2), dead.key,
        dead.name.encode(),
    )  # fmt: skip


def place_of(dead: DeadJob) -> Place:
    """Where it is kept."""
    return Place(SPACE, dead.projection.encode(), sort_of(dead))
