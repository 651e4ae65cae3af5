"""What a fold has known for long enough: how it is passed over, and goes from the space.

Steps and readers pass over it once its time has come. It goes later, with what is written anyway:
so much later that no record comes whose time is before that, though the log's clock was set back.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from penstock.core.projection import Fold, due
from penstock.core.projection.block import Block
from penstock.core.state import Entry, Place, State

GRACE_MS = 2 * 86_400_000
"""A clock that is wrong is believed when it was so for a day: see decision 18."""
_MORE = 100
"""Beyond two for each record of a block, so that more goes than comes."""


class Swept(NamedTuple):
    """What is to be written with a block."""

    entries: list[Entry]
    deletes: list[Place]
    next_ms: int
    """Before this there is nothing that expires then."""


class Expiry:
    """Of one partition. It lies beside the timers, and only the next one is known by heart.

    A key whose state expires has a place at that time or before, and maybe more of them: what every
    record puts off is looked at when the first time has come, and gets another one.
    """

    def __init__(self, fold: Fold[Any, Any], state: State, space: str, partition: int) -> None:
        self._fold = fold
        self._state = state
        self._space = space
        self._begin = due.expiries(partition)
        self._next_ms = 0

    def swept(self, block: Block[Any], records: int, now_ms: int) -> Swept:
        """For a block of so many records. Raise `NotReady`."""
        puts = self._places(block.expiring)
        next_ms = min([self._next_ms, *block.expiring.values()])
        before_ms = now_ms - GRACE_MS
        if next_ms > before_ms:
            return Swept(puts, [], next_ms)
        past, later_ms = self._past(next_ms, before_ms, 2 * records + _MORE)
        later = [later_ms]
        entries, deletes, moved = list[Entry](), list[Place](), dict[bytes, int]()
        stored = self._state.get_many(self._space, [key for _, key in past])
        for (at_ms, key), value in zip(past, stored, strict=True):
            if key in block.waiting and key not in block.written:
                later.append(at_ms)  # it is looked at with a later block
                continue
            now = block.written[key] if key in block.written else due.bare(value or b"")
            ends_ms = self._ends_ms(now) if now else None
            deletes.append(self._place(at_ms, key))
            if ends_ms is not None and (ends_ms > before_ms or key in block.written):
                moved[key] = ends_ms
            elif ends_ms is not None and (left := due.stateless(value or b"")):
                entries.append(Entry(key, b"", left))
            elif ends_ms is not None:
                deletes.append(Place(self._space, key))
        puts += self._places(moved)
        kept = {entry.sort for entry in puts}
        deletes = [place for place in deletes if place.group or place.sort not in kept]
        next_ms = min([*later, *moved.values(), *block.expiring.values()])
        return Swept([*entries, *puts], deletes, next_ms)

    def wrote(self, swept: Swept) -> None:
        self._next_ms = swept.next_ms

    def _past(
        self, from_ms: int, before_ms: int, limit: int
    ) -> tuple[list[tuple[int, bytes]], int]:
        """The first places that are past, from a time on; and a time before which there are no
        others.
        """
        past: list[tuple[int, bytes]] = []
        start, size = due.expiry(self._begin, from_ms, b""), 1
        while len(past) < limit:
            size = min(8 * size, limit - len(past))  # mostly few are
            [found] = self._state.first(self._space, [due.GROUP], size, start)
            for sort, _ in found:
                at_ms, key = due.expiry_of(sort)
                if not sort.startswith(self._begin):
                    return past, due.LATEST_MS
                if at_ms > before_ms:
                    return past, at_ms
                past.append((at_ms, key))
            if len(found) < size:
                return past, due.LATEST_MS
            start = found[-1][0] + b"\0"
        return past, past[-1][0]

    def _ends_ms(self, state: bytes) -> int | None:
        try:
            return self._fold.expires_at(self._fold.decode(state))
        except Exception:  # noqa: BLE001 - then its own steps say so; it stays, and no other waits
            return None

    def _places(self, expiring: Mapping[bytes, int]) -> list[Entry]:
        return [
            Entry(due.GROUP, self._place(at_ms, key).sort, b"") for key, at_ms in expiring.items()
        ]

    def _place(self, at_ms: int, key: bytes) -> Place:
        return Place(self._space, due.GROUP, due.expiry(self._begin, at_ms, key))


def lasting(fold: Fold[Any, Any], value: bytes, now_ms: int) -> bytes:
    """A stored value without the state, if that has expired: what waits for the key, or nothing."""
    state = due.bare(value)
    if fold.expires is None or not state:
        return value
    return due.stateless(value) if fold.has_expired(fold.decode(state), now_ms) else value
