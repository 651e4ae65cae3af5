"""How the mirror of a fold is filled, for one partition: never by those who step, nor waited for.

What changed is marked in the write that changed it. A turn reads marks, then the states that are
there by then, and writes their rows; what was written is unmarked by the thread that carries the
partition, unless it was marked again meanwhile. So a row holds a state at least as new as its
version, the newest version holds the newest state, and whoever is killed between any two of these
writes the same row again, which replaces itself.

Where the table has less than it is known to have had, or was never whole, everything that the fold
knows goes in, and what it does not know goes out.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from penstock.core.errors import NotReady
from penstock.core.log import partition_of
from penstock.core.projection import Fold, due, marks
from penstock.core.projection.due import GROUP
from penstock.core.projection.expiry import lasting
from penstock.core.projection.marks import Note
from penstock.core.projection.mirror_table import MirrorTable
from penstock.core.projection.stores import Stores
from penstock.core.state import Entry, Place

_ROWS = 5_000
"""At once."""
_SETTLED_SECONDS = 10.0
"""So long whoever steps is waited for; what has gone in goes in once more then."""

Write = Callable[[Sequence[Entry], Sequence[Place]], None]


class Told(NamedTuple):
    """What has gone in, and is to be noted beside the states."""

    turn: int
    note: Note
    marks: Mapping[bytes, bytes] = {}
    """Their places, and the keys that they are of."""
    places: Mapping[bytes, bytes] = {}
    """Where keys were to expire that expire later, and where they are to be looked for instead."""
    more: Sequence[Entry] = ()
    """To be kept in the space besides."""


Hand = Callable[[Told], None]
"""Has it noted, by whoever carries the partition. Raise `NotReady` where that cannot be."""


class TakenOver(NotReady):
    """The fold was resumed meanwhile, as at every start: what is noted is looked at again."""


class Mirroring:
    """`turn` is for one thread at a time, `note` and `settle` for the one that steps."""

    def __init__(
        self,
        fold: Fold[Any, Any],
        stores: Stores,
        *,
        into: str,
        table: str,
        partition: int,
        stir: Callable[[], None] = lambda: None,
        anew: bool = False,
    ) -> None:
        """`stir` is called when something is handed over; on the thread that fills. `anew`: the
        table is empty, and has rows of all states after a turn, whatever is noted.
        """
        self._anew = anew
        self.table = MirrorTable(fold, lambda: stores.tables, table=table, partition=partition)
        self.handed: Told | None = None
        """What is to be settled."""
        self.whole = False
        """Whether the table has all that the fold knew at some time."""
        self._fold = fold
        self._state = stores.state
        self._space = into
        self._partition = partition
        self._expiries = due.expiries(partition)
        self._stir = stir
        self._lock = threading.Condition()
        self._turn = 0
        self._note: Note | None = None
        """None where it has to be read."""
        self._marked = True
        """Whether there may be marks."""
        self._since: float | None = None
        """Since when, by the monotonic clock."""
        self._in_hand: float | None = None
        """The same of what is being written."""
        self._next_ms = 0
        """Before this nothing expires."""
        self._again: set[bytes] = set()
        """Keys that were marked since the page in hand was begun."""
        self._page: AbstractSet[bytes] | None = None
        """Its keys, if they are known."""

    # -- for whoever steps ----------------------------------------------------------------------

    def resume(self) -> None:
        """Another may have been at it: nothing is known, and what is in hand is not to be noted."""
        with self._lock:
            self._turn += 1
            self.table.begin()
            self._note, self._next_ms, self.whole = None, 0, False
            self.mark()

    def note(self, changed: Mapping[bytes, int], expiring: Iterable[int] = ()) -> None:
        """These have been marked, and states expire then. To be said behind the write."""
        with self._lock:
            self._next_ms = min([self._next_ms, *expiring])
            if changed:
                self.mark()
                page = self._page
                self._again.update(changed if page is None else changed.keys() & page)

    def settle(self, done: Told, write: Write) -> None:
        """Note what has gone in. Raise `Moved` and `NotReady`."""
        with self._lock:
            current, again = done.turn == self._turn, self._again.copy()
        if current:
            self._settle(done, again, write)
        with self._lock:
            if self.handed is done:
                self.handed = None
                self._lock.notify_all()

    def _settle(self, done: Told, again: AbstractSet[bytes], write: Write) -> None:
        gone = [sort for sort, key in done.marks.items() if key not in again]
        entries = [Entry(GROUP, sort, b"") for sort in done.places.values()]
        write(
            [*entries, *done.more, marks.note(self._partition, done.note)],
            [Place(self._space, GROUP, sort) for sort in (*gone, *done.places)],
        )
        self._note = done.note

    def adopt(self, write: Write, *, whole: bool) -> None:
        """The table is, or is not, the one of these states. Nobody may be at either."""
        known = marks.noted(self._state, self._space, self._partition)
        write([marks.note(self._partition, known._replace(whole=whole))], ())
        self._note = None

    @property
    def until_ms(self) -> int:
        """What has expired later than this is not known to the mirror yet."""
        return 0 if self._note is None else self._note.until_ms

    def mark(self) -> None:
        """There may be marks."""
        self._marked = True
        if self._since is None:
            self._since = time.monotonic()

    # -- for whoever fills ----------------------------------------------------------------------

    def turn(self, now_ms: int, hand: Hand, *, partitions: int, even: bool = True) -> None:
        """Let the mirror have what it has not. `even`: the fold knows all that the log has;
        `partitions`: as many as the topic has.

        Raise `NotReady`, and what is left is marked yet.
        """
        self.table.refused = None
        if self._note is None:
            self._look()
        self._set_back(now_ms, hand)
        if even and not self.whole:
            self._fill(now_ms, hand, partitions)
        self._drain(now_ms, hand)
        if self._fold.expires is not None:
            self._expire(now_ms, hand)

    def hand_over(self, told: Told) -> None:
        """Have it settled by whoever steps. Raise `NotReady` when nobody does."""
        with self._lock:
            self.handed = told
        self._stir()
        with self._lock:
            if not self._lock.wait_for(lambda: self.handed is not told, _SETTLED_SECONDS):
                self.handed = None
                raise NotReady(f"{self._space} does not go on")

    def lag_seconds(self) -> float:
        """Age of the oldest change that is not in, from above. For any thread."""
        since = [at for at in (self._in_hand, self._since) if at is not None]
        return time.monotonic() - min(since) if since else 0.0

    def _known(self) -> Note:
        if self._note is None:
            raise TakenOver(f"{self._space} is being taken over")
        return self._note

    def _look(self) -> None:
        """Whether the table has what it is noted to have."""
        with self._lock:
            turn = self._turn
        found = marks.noted(self._state, self._space, self._partition)
        version = self.table.version()
        begun = self._state.position(self._space, self._partition) is not None
        with self._lock:
            if turn == self._turn:
                self._note = found if begun else found._replace(whole=not version)
                self.whole = not self._anew and self._note.whole and version >= found.version

    def _drain(self, now_ms: int, hand: Hand) -> None:
        if not self._marked:
            return
        with self._lock:
            self._in_hand = self._in_hand or self._since
            self._since, self._marked = None, False
        try:
            if not self._pages(now_ms, hand):
                self._in_hand = None
                return
        except BaseException:
            self._marked = True
            raise
        self._marked = True

    def _pages(self, now_ms: int, hand: Hand) -> bool:
        """Whether some could not be written."""
        start, left = marks.marks(self._partition), False
        while True:
            with self._lock:
                turn, self._page = self._turn, None
                self._again.clear()
            [found] = self._state.first(self._space, [GROUP], _ROWS, start)
            found = [one for one in found if one[0].startswith(marks.marks(self._partition))]
            if not found:
                return left
            versions: dict[bytes, int] = {}
            for sort, value in found:  # of a key's marks the highest
                key = marks.key_of(sort)
                versions[key] = max(versions.get(key, 0), int.from_bytes(value))
            with self._lock:
                self._page = versions.keys()
            bad = self._put(versions, now_ms)
            done = {sort: marks.key_of(sort) for sort, _ in found}
            done = {sort: key for sort, key in done.items() if key not in bad}
            left = left or bool(bad)
            if done:
                version = max(versions[key] for key in done.values())
                known = self._known()
                hand(Told(turn, known._replace(version=max(known.version, version)), done))
            start = found[-1][0] + b"\0"

    def _set_back(self, now_ms: int, hand: Hand) -> None:
        """Where the clock was, all that expires between is looked at once more: before anything is
        written that has not expired by now.
        """
        if now_ms < (known := self._known()).until_ms:
            hand(Told(self._turn, known._replace(until_ms=now_ms)))
            self._next_ms = 0

    def _expire(self, now_ms: int, hand: Hand) -> None:
        """Say of what has expired that it has. It lies by its time, or by an earlier one."""
        known = self._known()
        if now_ms < self._next_ms:
            return
        with self._lock:
            turn, self._next_ms = self._turn, due.LATEST_MS
        try:
            self._expire_from(known, now_ms, turn, hand)
        except BaseException:
            self._next_ms = 0
            raise

    def _expire_from(self, known: Note, now_ms: int, turn: int, hand: Hand) -> None:
        start = due.expiry(self._expiries, known.until_ms, b"")
        while True:
            version = marks.current(self._state, self._space, self._partition) | 1
            [found] = self._state.first(self._space, [GROUP], _ROWS, start)
            places = [
                (sort, *due.expiry_of(sort)) for sort, _ in found if sort.startswith(self._expiries)
            ]
            past = [(sort, key) for sort, at_ms, key in places if at_ms <= now_ms]
            later_ms = next((at_ms for _, at_ms, _ in places if at_ms > now_ms), due.LATEST_MS)
            over, moved = self._over(past, now_ms)
            self.table.forget(dict.fromkeys(over, version))
            last = len(past) < _ROWS
            until_ms = now_ms if last else places[-1][1] - 1
            if past:
                version = max(known.version, version if over else 0)
                known = known._replace(version=version, until_ms=max(until_ms, known.until_ms))
                hand(Told(turn, known, places=moved))
            with self._lock:
                later = [due.expiry_of(sort)[0] for sort in moved.values()]
                self._next_ms = min([self._next_ms, later_ms, *later])
            if last:
                return
            start = past[-1][0] + b"\0"

    def _over(
        self, past: Sequence[tuple[bytes, bytes]], now_ms: int
    ) -> tuple[set[bytes], dict[bytes, bytes]]:
        """Keys that have expired, and places to be looked at later instead."""
        over, moved = set[bytes](), dict[bytes, bytes]()
        values = self._state.get_many(self._space, [key for _, key in past])
        for (sort, key), value in zip(past, values, strict=True):
            if not (state := due.bare(value or b"")):
                continue
            try:
                ends_ms = self._fold.expires_at(self._fold.decode(state))
            except Exception:  # noqa: BLE001, S112 - then its own steps say so, and its mark
                continue
            if ends_ms is not None and ends_ms <= now_ms:
                over.add(key)
            elif ends_ms is not None:
                moved[sort] = due.expiry(self._expiries, ends_ms, key)
        return over, moved

    # -- everything anew ------------------------------------------------------------------------

    def _fill(self, now_ms: int, hand: Hand, partitions: int) -> None:
        """All that there is goes in, and what there is no longer goes out. What changes meanwhile
        has a higher version.
        """
        turn, version = self._turn, self._following()
        if self._state.position(self._space, self._partition) is None:
            return  # what there is, is heard first
        if (note := self._known()).whole:
            hand(Told(turn, note._replace(whole=False)))
        known, lacking = list[bytes](), set[bytes]()
        for entry in self._state.scan(self._space):
            if entry.group and self._is_ours(entry.group, partitions):
                known.append(entry.group)
            if len(known) == _ROWS:
                lacking |= self._put(dict.fromkeys(known, version), now_ms)
                known.clear()
        lacking |= self._put(dict.fromkeys(known, version), now_ms)
        self._prune(version, now_ms)
        note = self._known()._replace(version=self.table.version(), whole=True)
        left = marks.entries(self._partition, lacking, version)
        hand(Told(turn, note, more=[*left, marks.given(self._partition, version)]))
        self.whole = True
        if lacking:
            self.mark()

    def _following(self) -> int:
        """That of everything there is: a higher one than any row has that may be there."""
        now = marks.current if self._anew else marks.following
        return now(self._state, self._space, self._partition)

    def _prune(self, version: int, now_ms: int) -> None:
        """Forget what the table has, and the fold does not know."""
        for has in self.table.known(_ROWS):
            values = self._state.get_many(self._space, [*has])
            self.table.forget(
                {
                    key: max(version, has[key]) | 1
                    for key, value in zip(has, values, strict=True)
                    if not due.bare(lasting(self._fold, value or b"", now_ms))
                }
            )

    def _put(self, versions: Mapping[bytes, int], now_ms: int) -> AbstractSet[bytes]:
        """Rows of these keys as they are now; the keys of those that could not go in."""
        values = self._state.get_many(self._space, [*versions])
        states = {key: due.bare(v or b"") for key, v in zip(versions, values, strict=True)}
        left = {key: lasting(self._fold, state, now_ms) for key, state in states.items()}
        of = {key: version | (states[key] != left[key]) for key, version in versions.items()}
        return self.table.put(of, left)

    def _is_ours(self, key: bytes, partitions: int) -> bool:
        """By what chooses the partition of a record, which has the same key."""
        return partitions == 1 or partition_of(key, partitions) == self._partition
