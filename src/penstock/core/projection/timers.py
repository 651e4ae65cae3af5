"""The timers of one partition of a fold, by time. They lie on disk; the next is known by heart.

Whoever owns the partition says that they have elapsed, into the fold's own topic: a fold hears the
log and nothing else. What is said so has a *turn*, one more than the last that was heard, as its
origin, and the log takes each turn once: the first attempt at it, whole, and nothing of others. So
only one who has heard everything that was said before can say more, and of two that both believe
the partition is theirs the later one adds nothing.
"""

from collections.abc import Sequence

from penstock.core.projection import due
from penstock.core.projection.due import Placed
from penstock.core.state import Entry, State


class Timers:
    def __init__(self, state: State, space: str, partition: int) -> None:
        """Raise `NotReady` when the state cannot be read."""
        self._state = state
        self._space = space
        self._begin = due.timers(partition)
        self._from = self._begin
        """Before this there is none; it skips what was deleted, which costs a look each."""
        self.known_ms: int | None = None
        """When the next one is due, as that was looked up last. For any thread."""
        self._known = False
        [found] = state.first(space, [due.GROUP], 1, due.turn(partition))
        of_turn = found and found[0][0] == due.turn(partition)
        self.turn = int.from_bytes(found[0][1]) if of_turn else 0
        """The last one that was heard."""
        self.said = 0
        """The last turn that was said here and is to be heard yet, where the log does not tell who
        was first.
        """
        self._skip = 1

    def note(self, entries: Sequence[Entry]) -> None:
        """These went in."""
        for group, sort, _ in entries:
            if group == due.GROUP and sort.startswith(self._begin):
                self._from = min(self._from, sort)
        self._known = False

    def next_ms(self) -> int | None:
        """When the first of them is due; None where none waits."""
        if not self._known:
            [found] = self._state.first(self._space, [due.GROUP], 1, self._from)
            is_one = found and found[0][0].startswith(self._begin)
            self.known_ms = due.placed(found[0][0], len(self._begin)).at_ms if is_one else None
            self._known = True
        return self.known_ms

    def elapsed(self, now_ms: int, limit: int) -> list[tuple[tuple[str, int], Placed]]:
        """The first of those whose time has come, and their projects and generations."""
        elapsed: list[tuple[tuple[str, int], Placed]] = []
        start, size = self._from, 1
        while len(elapsed) < limit:
            size = min(8 * size, limit - len(elapsed))  # mostly few are due, and all are read
            [found] = self._state.first(self._space, [due.GROUP], size, start)
            for sort, value in found:
                if not sort.startswith(self._begin):
                    return elapsed
                if (one := due.placed(sort, len(self._begin))).at_ms > now_ms:
                    return elapsed
                elapsed.append((due.whose_of(value), one))
            if len(found) < size:
                break
            start = found[-1][0] + b"\0"
        return elapsed

    def past(self, last: Placed) -> None:
        """All up to this one have been said, and will be heard."""
        self._from = last.sort + b"\0"
        self._known = False

    def check_heard(self) -> None:
        """All that was said was read; a turn that was not among it will never be."""
        if self.said > self.turn:
            self.skip()
        self.said = 0

    def skip(self) -> None:
        """A turn that was said before cannot be read: damaged, or given up. So the next is tried,
        and soon one far beyond.
        """
        self._skip *= 2
        self.turn += self._skip
