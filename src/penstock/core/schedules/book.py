"""What the state has of an application's schedules: how far each is, its runs, and what is wished.

Only who leads writes what has become of runs, and each write goes on from the one before: after the
first write of a successor none of an older leader's goes in, which is told it by `Moved`. A wish is
of whoever has it; the leader takes it away in the write by which it begins.
"""

from collections.abc import Mapping, Sequence

import msgspec

from penstock.core.position import Position
from penstock.core.schedules import SPACES, Ran
from penstock.core.schedules.progress import Progress
from penstock.core.state import Entry, Place, State, Trim

RUNS_KEPT = 100
"""Of each schedule."""
_WISHES_MAX = 64
_LARGEST = (1 << 63) - 1
_WISHES = b"wishes"
_PROGRESS, _RUNS = b"progress/", b"runs/"

_pack = msgspec.msgpack.Encoder().encode
_progress = msgspec.msgpack.Decoder(Progress).decode
_ran = msgspec.msgpack.Decoder(Ran).decode


class Wish(msgspec.Struct, frozen=True):
    """An interval that somebody wants run."""

    schedule: str
    end: int
    id: str


_wish = msgspec.msgpack.Decoder(Wish).decode


class Book:
    def __init__(self, state: State, application: str) -> None:
        self._state = state
        self._space = f"{SPACES}{application}"
        self._at: Position | None = None

    # -- anybody's ------------------------------------------------------------------------------

    def progress(self, schedules: Sequence[str]) -> Mapping[str, Progress]:
        """Of those that were ever seen."""
        groups = [_PROGRESS + name.encode() for name in schedules]
        values = self._state.get_many(self._space, groups)
        found = zip(schedules, values, strict=True)
        return {name: _progress(value) for name, value in found if value is not None}

    def runs(self, schedule: str, limit: int = RUNS_KEPT) -> list[Ran]:
        """The newest first."""
        [history] = self._state.first(self._space, [_RUNS + schedule.encode()], limit)
        return [_ran(value) for _, value in history]

    def wishes(self) -> list[Wish]:
        [history] = self._state.first(self._space, [_WISHES], _WISHES_MAX)
        return [_wish(value) for _, value in history]

    def wish(self, wish: Wish) -> None:
        self._state.put(self._space, Entry(_WISHES, wish.id.encode(), _pack(wish)))

    def take_back(self, wish: Wish) -> None:
        self._state.delete(self._space, _WISHES, wish.id.encode())

    # -- the leader's ---------------------------------------------------------------------------

    def open(self) -> None:
        """Go on from what there is."""
        self._at = self._state.position(self._space, 0)

    @property
    def number(self) -> int:
        """Of the next write: none before had it."""
        return 1 if self._at is None else self._at.next + 1

    def write(
        self,
        progress: Mapping[str, Progress],
        runs: Sequence[Ran] = (),
        *,
        taken: Sequence[Wish] = (),
    ) -> None:
        """All of it or nothing. Raise `Moved` when somebody else has written meanwhile."""
        position = Position(self._space, self.number)
        groups = {run.schedule: _RUNS + run.schedule.encode() for run in runs}
        self._state.apply(
            self._space,
            [
                *(Entry(_PROGRESS + n.encode(), b"", _pack(p)) for n, p in progress.items()),
                *(Entry(groups[run.schedule], _sort(run), _pack(run)) for run in runs),
            ],
            partition=0,
            was=self._at,
            position=position,
            deletes=[Place(self._space, _WISHES, wish.id.encode()) for wish in taken],
            trims=[Trim(group, RUNS_KEPT) for group in groups.values()],
        )
        self._at = position


def _sort(run: Ran) -> bytes:
    return (_LARGEST - run.number).to_bytes(8)
