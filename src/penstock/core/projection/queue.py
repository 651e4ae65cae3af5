"""The jobs of one partition of a fold that wait: on disk, and which of them is next.

Each kind of job has a lane for each project, in the order of time, and projects have turns: one
that wants a hundred thousand keeps nobody else waiting for more than the next.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from penstock.core.projection import due
from penstock.core.projection.due import Placed, Queued
from penstock.core.projection.job import Job
from penstock.core.state import Entry, Place, State

_READ_AT_ONCE = 64


class Claimed(NamedTuple):
    """A job whose turn it is."""

    job: Job[Any]
    project: str
    at: Placed
    queued: Queued


class _Lane:
    """One project's jobs of a kind; what was read of them and not taken."""

    __slots__ = ("begin", "job", "project", "read", "start")

    def __init__(self, begin: bytes, job: str, project: str) -> None:
        self.begin = begin
        self.job = job
        self.project = project
        self.start = begin
        """What is before this was read."""
        self.read: deque[tuple[Placed, Queued]] = deque()

    def back(self, sort: bytes) -> None:
        """There is one here, whether or not it was read already."""
        if sort < self.start:
            self.start = min(sort, self.read[0][0].sort) if self.read else sort
            self.read.clear()

    def gone(self, sort: bytes) -> None:
        """There is none here any more."""
        if self.read and self.read[0][0].sort <= sort < self.start:
            self.start = self.read[0][0].sort
            self.read.clear()


class Queue:
    def __init__(self, state: State, space: str, partition: int, jobs: Iterable[Job[Any]]) -> None:
        """Raise `NotReady` when the state cannot be read."""
        self._state = state
        self._space = space
        self._begin = due.jobs(partition)
        self._jobs = {job.name: job for job in jobs}
        self._lanes: dict[bytes, _Lane] = {}
        self._turns: dict[str, deque[_Lane]] = {}
        self._taken: dict[bytes, tuple[bytes, str]] = {}
        """Where those stand that are under way, or whose end was not heard; keys and names."""
        self._busy: set[tuple[bytes, str]] = set()
        """Of these."""
        self._held: dict[tuple[bytes, str], list[bytes]] = {}
        """What is wanted anew while the one of its key and name is taken."""
        self.known_ms: int | None = None
        """When the next one is due, as that was looked up last. For any thread."""
        start = self._begin
        while self._jobs and (found := self._first(start, 1)):
            start = self._lane(found[0][0]).begin + b"\xff" * 8

    def follow(self, before: "Queue") -> None:
        """Take over what is under way and still there."""
        for sort, place in before._taken.items():  # noqa: SLF001 - of its own kind
            if [found for found, _ in self._first(sort, 1)] == [sort]:
                self._taken[sort] = place
                self._busy.add(place)

    def note(self, entries: Iterable[Entry], deletes: Iterable[Place] = ()) -> None:
        """These went in, and these went away."""
        for group, sort, _ in entries:
            if group == due.GROUP and sort.startswith(self._begin):
                self._lane(sort).back(sort)
        for _, group, sort in deletes:
            if group == due.GROUP and sort.startswith(self._begin):
                self._lane(sort).gone(sort)

    @property
    def busy(self) -> bool:
        """Whether any is under way, or its end not heard."""
        return bool(self._taken)

    def has(self, sort: bytes) -> bool:
        """Whether the one here is under way, or its end not heard."""
        return sort in self._taken

    def release(self, sort: bytes) -> None:
        """Nobody is at it any longer."""
        if (place := self._taken.pop(sort, None)) is not None:
            self._busy.discard(place)
            for waiting in self._held.pop(place, ()):
                self._lane(waiting).back(waiting)

    def next_ms(self, room: Callable[[Job[Any]], int]) -> int | None:
        """When the first of those is due that there is room for."""
        found = [
            first[0].at_ms
            for lane in [*self._lanes.values()]
            if (job := self._jobs.get(lane.job)) is not None  # else nobody knows it any more
            and room(job) > 0
            and (first := self._peek(lane)) is not None
        ]
        self.known_ms = min(found, default=None)
        return self.known_ms

    def take(self, now_ms: int, room: Callable[[Job[Any]], int]) -> list[Claimed]:
        """Those that are due, as many as there is room for; from now on they are under way."""
        taken: list[Claimed] = []
        for name, job in self._jobs.items():
            turns, most, idle = self._turns.get(name, deque[_Lane]()), room(job), 0
            while most > 0 and idle < len(turns):
                lane = turns[0]
                turns.rotate(-1)
                first = self._peek(lane)
                if first is None or first[0].at_ms > now_ms:
                    idle += 1
                    continue
                lane.read.popleft()
                idle, most = 0, most - 1
                place = self._taken[first[0].sort] = (first[0].key, first[0].name)
                self._busy.add(place)
                taken.append(Claimed(job, lane.project, *first))
        return taken

    def _peek(self, lane: _Lane) -> tuple[Placed, Queued] | None:
        """The first that can be taken."""
        while True:
            while lane.read:
                at, _ = lane.read[0]
                place = (at.key, at.name)
                if at.sort not in self._taken:
                    if place not in self._busy:
                        return lane.read[0]
                    self._held.setdefault(place, []).append(at.sort)
                lane.read.popleft()
            found = self._first(lane.start, _READ_AT_ONCE, lane.begin)
            if not found:
                self._lanes.pop(lane.begin, None)
                self._turns[lane.job].remove(lane)
                return None
            lane.start = found[-1][0] + b"\0"
            lane.read.extend(
                (due.placed(sort, len(lane.begin)), due.queued(value)) for sort, value in found
            )

    def _first(self, start: bytes, limit: int, begin: bytes = b"") -> list[tuple[bytes, bytes]]:
        [found] = self._state.first(self._space, [due.GROUP], limit, start)
        return [one for one in found if one[0].startswith(begin or self._begin)]

    def _lane(self, sort: bytes) -> _Lane:
        begin, name, project = due.lane_of(sort)
        lane = self._lanes.get(begin)
        if lane is None:
            lane = self._lanes[begin] = _Lane(begin, name, project)
            self._turns.setdefault(name, deque()).append(lane)
        return lane


def keep_by_hand(state: State, space: str, shadow: str) -> None:
    """What is tried again by hand no rebuild finds in the log: it is taken over from what was."""
    start = due.ANY_JOB
    while found := state.first(space, [due.GROUP], _READ_AT_ONCE, start)[0]:
        for sort, value in found:
            if not sort.startswith(due.ANY_JOB):
                return
            if due.queued(value).by_hand:
                state.put(shadow, Entry(due.GROUP, sort, value))
        start = found[-1][0] + b"\0"
