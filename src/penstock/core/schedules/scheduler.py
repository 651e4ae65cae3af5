"""The scheduler of a process: one thread that begins what is due, and waits for none of it."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

from penstock.core.clock import CarefulClock
from penstock.core.errors import told_of
from penstock.core.intervals import Interval
from penstock.core.manifest import Run
from penstock.core.schedules.attempts import Attempts
from penstock.core.schedules.leading import Leading, Offered
from penstock.core.telemetry import Logger, Samples

_TURN_SECONDS = 1.0
_TURN_SECONDS_MIN = 0.02


class Everywhere:
    """What this process does for itself: nobody else is asked, and nothing is written down."""

    def __init__(
        self, offered: Offered, attempts: Attempts, *, clock: CarefulClock, logger: Logger
    ) -> None:
        self._context = offered.context
        self._schedules = {schedule.name: schedule for schedule in offered.schedules}
        self._attempts = attempts
        self._clock = clock
        self._logger = logger
        self._done = {
            name: schedule.times.newest(self._now) for name, schedule in self._schedules.items()
        }

    def turn(self) -> None:
        for attempt, outcome in self._attempts.over(self._schedules.__contains__):
            name = attempt.schedule.name
            self._attempts.forget(name)
            if not outcome.succeeded and not self._attempts.stopping:
                self._logger.warning("schedule.failed", schedule=name, error=outcome.reason)
        for name, schedule in self._schedules.items():
            newest = schedule.times.newest(self._now)
            self._done[name] = min(self._done[name], newest)  # a clock that was ahead may be right
            if newest == self._done[name] or self._attempts.busy(name):
                continue
            interval = Interval(self._done[name] * 1000, newest * 1000)
            self._done[name] = newest
            run = Run(schedule=name, interval=interval, attempt=1, token=0, context=self._context)
            self._attempts.begin(schedule, run)

    def soonest(self) -> float:
        """Seconds until something more is due."""
        now = self._clock.believed_ms() / 1000
        times = [self._schedules[name].times.following(done) for name, done in self._done.items()]
        return min((time - now for time in times if time > now), default=_TURN_SECONDS)

    @property
    def _now(self) -> int:
        return self._clock.believed_ms() // 1000


class Scheduler:
    def __init__(
        self,
        leading: Sequence[Leading],
        everywhere: Sequence[Everywhere],
        attempts: Attempts,
        logger: Logger,
    ) -> None:
        self.by_hand_only = False
        """Whether nothing is begun by the clock; set before `start`."""
        self._leading = leading
        self._everywhere = everywhere
        self._attempts = attempts
        self._logger = logger
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        if self._leading or self._everywhere:
            self._thread = threading.Thread(
                target=self._run, name="penstock-schedules", daemon=True
            )
            self._thread.start()

    def wake(self) -> None:
        """Something may be wished."""
        self._attempts.wake.set()

    def stop(self) -> None:
        """What is in hand ends soon, or is cancelled; another process may lead."""
        self._stopping.set()
        self.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._attempts.stop()
        for leading in self._leading:
            leading.stop()

    def turn(self) -> None:
        for leading in self._leading:
            self._try(leading.name, partial(leading.turn, by_hand_only=self.by_hand_only))
        if not self.by_hand_only:
            for everywhere in self._everywhere:
                self._try("everywhere", everywhere.turn)

    def sample(self, samples: Samples) -> None:
        for leading in self._leading:
            for (schedule, result), count in list(leading.counts.items()):
                samples.counter("penstock_schedule_runs", count, schedule=schedule, result=result)
            if leading.leads:
                for name in leading.names:
                    late = leading.late_seconds(name)
                    samples.gauge("penstock_schedule_late_seconds", late, schedule=name)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._attempts.wake.clear()
            self.turn()
            soonest = [of.soonest() for of in self._leading]
            soonest += [of.soonest() for of in self._everywhere]
            self._attempts.wake.wait(min(max(min(soonest), _TURN_SECONDS_MIN), _TURN_SECONDS))

    def _try(self, whose: str, turn: Callable[[], None]) -> None:
        try:
            turn()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next turn may do
            self._logger.warning("schedule.waits", schedules=whose, error=told_of(error))
