"""Schedules over a real log and a real state, in processes that a test moves turn by turn."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

from penstock.core.clock import CarefulClock
from penstock.core.events import Event
from penstock.core.log import Log
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.manifest import Context, Owned, Run, Schedule
from penstock.core.projection import Topic
from penstock.core.reach import Reach
from penstock.core.schedules import Ran
from penstock.core.schedules.attempts import Attempts
from penstock.core.schedules.book import Book, Wish
from penstock.core.schedules.leading import Leading, Offered
from penstock.core.schedules.running import Appending
from penstock.core.state import State
from penstock.core.state.lease import AloneLeases, Leases
from penstock.core.state.rocksdb import RocksState
from support.clock import MovedClock
from support.lines import Lines
from support.logs import contents

APPLICATION = "tests"
HOUR = 3_600
BEGIN = 1_646_092_800
"""Midnight of 1 March 2022, in UTC: where a `MovedClock` stands."""


class Stated(Event, frozen=True, array_like=True, gc=False, tag="stated/1"):
    hour: int
    """Of the end of the interval, since `BEGIN`."""


STATEMENTS: Topic[Stated] = Topic("tests.statements", (Stated,))


def hour(run: Run) -> int:
    return (run.interval.number - BEGIN) // HOUR


class Work:
    """A run that notes which interval it had, and states it unless it is to fail."""

    def __init__(self, *, fails: int = 0, why: str = "the printer is on fire") -> None:
        self.runs: list[tuple[int, int]] = []
        """Hours and attempts."""
        self.fails = fails
        self.why = why
        self.tokens: list[int] = []

    async def __call__(self, run: Run, reach: Reach) -> Sequence[Event]:
        del reach
        self.runs.append((hour(run), run.attempt))
        self.tokens.append(run.token)
        if self.fails:
            self.fails -= 1
            raise ValueError(self.why)
        return [Stated(hour(run))]


def schedule(
    run: Callable[[Run, Reach], Awaitable[Sequence[Event | Owned]]],
    name: str = "tests.hourly",
    **how: Any,
) -> Schedule:
    given: dict[str, Any] = {"at": "1 h", "emits": (STATEMENTS,), **how}
    return Schedule(name=name, run=run, **given)


class Shared(Leases):
    """Leases in memory, for several processes, by the time that passes."""

    def __init__(self, clock: MovedClock) -> None:
        self._clock = clock
        self._token = 0
        self._held: dict[str, tuple[str, int, float]] = {}

    def acquire(self, name: str, owner: str, seconds: float) -> int | None:
        held = self._held.get(name)
        if held is not None and held[0] != owner and self._clock.seconds < held[2]:
            return None
        self._token += 1
        self._held[name] = owner, self._token, self._clock.seconds + seconds
        return self._token

    def renew(self, name: str, owner: str, token: int, seconds: float) -> bool:
        held = self._held.get(name)
        if held is None or held[:2] != (owner, token) or self._clock.seconds >= held[2]:
            return False
        self._held[name] = owner, token, self._clock.seconds + seconds
        return True

    def release(self, name: str, owner: str, token: int) -> None:
        if self.renew(name, owner, token, 1.0):
            del self._held[name]


class Process:
    """One that may lead, whose thread is the test's."""

    def __init__(self, bench: "Bench", schedules: Sequence[Schedule], owner: str) -> None:
        self.lines = Lines()
        clock = CarefulClock(bench.clock)
        self._attempts = Attempts(
            Reach(cast("Any", None)),
            Appending(bench.log, Topic.codec),
            clock=clock,
            logger=self.lines.logger,
        )
        self.leading = Leading(
            Offered(APPLICATION, schedules, cast("Context", None)),
            Book(bench.state, APPLICATION),
            self._attempts,
            leases=bench.leases,
            owner=owner,
            clock=clock,
            logger=self.lines.logger,
        )

    def begin(self, *, by_hand_only: bool = False) -> None:
        """What is due."""
        self.leading.turn(by_hand_only=by_hand_only)

    def end(self) -> None:
        """Wait for what was begun; it is not written down yet."""
        for attempt, _ in list(self._attempts.running):
            attempt.join(600.0)

    def turn(self, *, by_hand_only: bool = False) -> None:
        """Begin what is due, and write down what came of it, until nothing is."""
        while True:
            self.begin(by_hand_only=by_hand_only)
            if not self._attempts.running:
                return
            self.end()

    def ended(self) -> None:
        """Wait for those that were given up."""
        for attempt in self._attempts.stuck:
            attempt.join(600.0)

    def stop(self) -> None:
        self._attempts.stop()
        self.leading.stop()


class Bench:
    def __init__(self, folder: Path, engine: Callable[[Path], State] = RocksState) -> None:
        self.clock = MovedClock()
        self.leases: Leases = AloneLeases(self.clock)
        self.log: Log = SqliteLog(folder / "log.db", self.clock, Limits())
        self.state = engine(folder / "state")

    def process(self, *schedules: Schedule, owner: str = "one") -> Process:
        """One that leads as soon as nobody else does."""
        process = Process(self, schedules, owner)
        process.turn()
        return process

    def pass_hours(self, hours: int, *processes: Process) -> None:
        """An hour after the other; the processes have their turns after each."""
        for _ in range(hours):
            self.pass_seconds(HOUR, *processes)

    def pass_seconds(self, seconds: int, *processes: Process) -> None:
        self.clock.ms += seconds * 1000
        self.clock.seconds += seconds
        for process in processes:
            process.turn()

    def stated(self) -> list[int]:
        decode = STATEMENTS.codec().decode
        return [decode(payload).hour for payload in contents(self.log, STATEMENTS.name)]

    @property
    def book(self) -> Book:
        return Book(self.state, APPLICATION)

    def runs(self, name: str = "tests.hourly") -> list[Ran]:
        """The oldest first."""
        return self.book.runs(name)[::-1]

    def lacking(self, *schedules: Schedule) -> dict[str, list[tuple[int, int]]]:
        """Hours, from the first to the last of each stretch."""
        known = self.book.progress([of.name for of in schedules])
        return {
            of.name: [
                ((first - BEGIN) // HOUR, (last - BEGIN) // HOUR)
                for first, last in known[of.name].lacking(of.times)
            ]
            for of in schedules
        }

    def wish(self, hour: int, name: str = "tests.hourly") -> None:
        self.book.wish(Wish(name, BEGIN + hour * HOUR, f"{name} {hour}"))

    def close(self) -> None:
        self.state.close()
        self.log.close()


def results(bench: Bench, name: str = "tests.hourly") -> list[tuple[int, str]]:
    """Hours at the end of intervals, and what came of them."""
    return [((ran.end_ms // 1000 - BEGIN) // HOUR, ran.result) for ran in bench.runs(name)]
