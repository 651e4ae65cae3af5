"""Records that a projection cannot take: kept with their reason, never dropped on the quiet."""

from collections import Counter

import msgspec

from penstock.core.errors import NotFound, PenstockError
from penstock.core.log import FORGOTTEN, Batch, Damage
from penstock.core.state import Entry, Place, State

SPACE = "penstock.dead_letters"
GIVEN_UP_SPACE = "penstock.given_up"
"""What operators decided, which no rebuild forgets: a dead letter of it is found anew by each."""
GIVEN_UP = "given_up"
GIVEN_UP_REASON = "an operator gave it up; `take-back` takes it in again"
_FORGOTTEN_AT_ONCE = 1_000


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    projection: str
    topic: str
    partition: int
    offset: int
    next: int
    """`offset + 1`, but for a damaged range of the log."""
    code: str
    """`undecodable`, `unique`, `rows`, `refused`, `damaged` or `given_up`."""
    reason: str
    payload: bytes
    """The record as it stands in the log; empty for a damaged range."""
    attempts: int
    at_ms: int
    taken_ms: int = 0
    """When the log took the record, by its own clock; 0 where that is not known."""

    @property
    def records(self) -> int:
        return self.next - self.offset


class Stopped(PenstockError):
    """Too many records in a row could not be projected: the code is wrong, not the records."""


_EVERYTHING = 1 << 31
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DeadLetter).decode


class DeadLetters:
    """All dead letters of one platform."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, letter: DeadLetter) -> None:
        """Idempotent: a letter is known by projection, partition and offset."""
        space, group, sort = place_of(letter)
        self._state.put(space, Entry(group, sort, _encode(letter)))

    def letters(self, projection: str = "", limit: int = 1000) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        for entry in self._state.scan(SPACE):
            letter = _decode(entry.value)
            if projection in ("", letter.projection):
                found.append(letter)
            if len(found) >= limit:
                break
        return found

    def letter(self, projection: str, partition: int, offset: int) -> DeadLetter:
        for letter in self.letters(projection, limit=1 << 62):
            if (letter.partition, letter.offset) == (partition, offset):
                return letter
        raise NotFound(f"{projection} has no dead letter at {partition}/{offset}")

    def remove(self, letter: DeadLetter) -> None:
        self._state.delete(*place_of(letter))

    def give_up(self, projection: str, partition: int, offset: int) -> None:
        """From now on no rebuild of the projection takes this record in. Idempotent."""
        entry = Entry(projection.encode(), _sort(partition, offset), b"")
        self._state.put(GIVEN_UP_SPACE, entry)

    def take_back(self, projection: str, partition: int, offset: int) -> None:
        self._state.delete(GIVEN_UP_SPACE, projection.encode(), _sort(partition, offset))

    def given_up(self, projection: str, partition: int) -> frozenset[int]:
        """Offsets of the records of a partition that this projection leaves out."""
        (found,) = self._state.first(GIVEN_UP_SPACE, [projection.encode()], _EVERYTHING)
        places = [(int.from_bytes(sort[:4]), int.from_bytes(sort[4:])) for sort, _ in found]
        return frozenset(offset for of, offset in places if of == partition)

    def forget(self, projection: str) -> None:
        """All of its letters."""
        group = projection.encode()
        while found := self._state.first(SPACE, [group], _FORGOTTEN_AT_ONCE)[0]:
            for sort, _ in found:
                self._state.delete(SPACE, group, sort)

    def by_partition(self, projection: str) -> Counter[int]:
        """Records, not letters: a damaged range counts for all that was in it."""
        counted: Counter[int] = Counter()
        for letter in self.letters(projection, limit=1 << 62):
            counted[letter.partition] += letter.records
        return counted


def damaged(projection: str, topic: str, partition: int, damage: Damage, at_ms: int) -> DeadLetter:
    return DeadLetter(
        projection=projection,
        topic=topic,
        partition=partition,
        offset=damage.first,
        next=damage.next,
        code="damaged",
        reason=damage.reason if damage.reason == FORGOTTEN else f"the log's block: {damage.reason}",
        payload=b"",
        attempts=1,
        at_ms=at_ms,
    )


def given_up(projection: str, topic: str, partition: int, batch: Batch, at_ms: int) -> DeadLetter:
    """Of the first record of the batch."""
    return DeadLetter(
        projection=projection,
        topic=topic,
        partition=partition,
        offset=batch.offsets[0],
        next=batch.offsets[0] + 1,
        code=GIVEN_UP,
        reason=GIVEN_UP_REASON,
        payload=batch.payloads[0],
        attempts=1,
        at_ms=at_ms,
        taken_ms=batch.times_ms[0],
    )


def place_of(letter: DeadLetter) -> Place:
    """Where it is kept."""
    return Place(SPACE, letter.projection.encode(), _sort(letter.partition, letter.offset))


def _sort(partition: int, offset: int) -> bytes:
    return partition.to_bytes(4) + offset.to_bytes(8)
