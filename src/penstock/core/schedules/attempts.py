"""The attempts of one process that are under way: each is bounded in time, and told."""

import threading
import time
from collections.abc import Callable, Collection, Iterator

from penstock.core.clock import Clock
from penstock.core.manifest import Run, Schedule
from penstock.core.reach import Reach
from penstock.core.schedules.running import Appending, Attempt, Outcome
from penstock.core.telemetry import Logger

_GRACE_SECONDS = 5.0
"""For an attempt to hear that it is cancelled."""
_STOP_SECONDS = 2.0


class Attempts:
    """For one thread; `wake` is set by others when one is over."""

    def __init__(self, reach: Reach, appending: Appending, *, clock: Clock, logger: Logger) -> None:
        self.wake = threading.Event()
        self.stopping = False
        self._reach = reach
        self._appending = appending
        self._clock = clock
        self._logger = logger
        self._running: dict[str, tuple[Attempt, float]] = {}
        self._stuck: dict[str, Attempt] = {}

    def busy(self, name: str) -> bool:
        """Whether one runs, or one that was given up has not ended yet."""
        stuck = self._stuck.get(name)
        if stuck is not None and not stuck.alive:
            del self._stuck[name]
        return name in self._running or name in self._stuck

    def begin(self, schedule: Schedule, run: Run, *, in_order: bool = True) -> None:
        attempt = Attempt(
            schedule,
            run,
            self._reach,
            self._appending,
            in_order=in_order,
            wake=self.wake.set,
            logger=self._logger,
        )
        self._running[schedule.name] = attempt, self._clock.monotonic()
        attempt.start()

    def over(self, mine: Callable[[str], bool]) -> Iterator[tuple[Attempt, Outcome]]:
        """Those of some schedules that have ended, or have had their time; each until it is
        forgotten.
        """
        for name, (attempt, begun) in list(self._running.items()):
            if not mine(name):
                continue
            if attempt.outcome is None:
                self._bound(attempt, self._clock.monotonic() - begun)
            if (outcome := attempt.outcome) is not None:
                if attempt.cancelled and not outcome.succeeded:
                    outcome = outcome._replace(reason=self._late(attempt))
                yield attempt, outcome

    @property
    def running(self) -> Collection[tuple[Attempt, float]]:
        """With when each began, by the time that passes."""
        return self._running.values()

    @property
    def stuck(self) -> Collection[Attempt]:
        """Those that were given up and have not been seen to end."""
        return self._stuck.values()

    def forget(self, name: str) -> None:
        del self._running[name]

    def drop(self, mine: Callable[[str], bool]) -> None:
        """They are somebody else's now."""
        for name in [name for name in self._running if mine(name)]:
            attempt, _ = self._running.pop(name)
            attempt.cancel()
            if attempt.give_up("somebody else leads"):
                self._stuck[name] = attempt

    def stop(self) -> None:
        """Those that end soon do so; the others are cancelled. None is under way after that."""
        self.stopping = True
        attempts = [attempt for attempt, _ in self._running.values()]
        self._join(attempts)
        for attempt in attempts:
            if attempt.alive:
                attempt.cancel()
        self._join(attempts)
        for attempt in attempts:
            attempt.give_up("the process stopped")

    def _join(self, attempts: list[Attempt]) -> None:
        until = time.monotonic() + _STOP_SECONDS
        for attempt in attempts:
            attempt.join(max(0.0, until - time.monotonic()))

    def _bound(self, attempt: Attempt, seconds: float) -> None:
        schedule = attempt.schedule
        if seconds > schedule.seconds_max and not attempt.cancelled:
            attempt.cancel()
        if seconds > schedule.seconds_max + _GRACE_SECONDS and attempt.give_up("it hangs"):
            self._stuck[schedule.name] = attempt
            self._logger.error(
                "schedule.stuck", schedule=schedule.name, seconds=round(seconds),
                remedy="it does not run here any more until it ends; restart",
            )  # fmt: skip

    def _late(self, attempt: Attempt) -> str:
        if self.stopping:
            return "the process stopped"
        hangs = ", nor when it was cancelled" if attempt.schedule.name in self._stuck else ""
        return f"it did not end within {attempt.schedule.seconds_max:g} seconds{hangs}"
