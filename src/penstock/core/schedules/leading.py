"""Who leads the schedules of an application: begins what is due, and writes down what came of it.

An attempt is written down before it starts, and so is the end of one before the next begins: work
that kills its process is counted, and after so many attempts it is left alone.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from penstock.core.clock import CarefulClock
from penstock.core.errors import Moved, NotReady, sound, told_of
from penstock.core.intervals import Times
from penstock.core.manifest import Run, Schedule
from penstock.core.schedules import By, Ran
from penstock.core.schedules.attempts import Attempts
from penstock.core.schedules.book import Book, Wish
from penstock.core.schedules.progress import Open, Progress, pause_seconds, upcoming
from penstock.core.schedules.running import Outcome
from penstock.core.state.lease import Leases
from penstock.core.telemetry import Logger

_LEASE_SECONDS = 15.0
_RENEW_SECONDS = 5.0
_INTERRUPTED = "the process that ran it ended"
_LINES = {
    "failed": "schedule.failed",
    "interrupted": "schedule.interrupted",
    "missed": "schedule.missed",
}


class Offered(NamedTuple):
    application: str
    schedules: Sequence[Schedule]
    context: Any
    """See `core.manifest.Context`; core's own schedules reach nothing by it."""


class Leading:
    """One application's, in one process. For one thread."""

    def __init__(
        self,
        offered: Offered,
        book: Book,
        attempts: Attempts,
        *,
        leases: Leases,
        owner: str,
        clock: CarefulClock,
        logger: Logger,
    ) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        """Runs that are over, by schedule and result."""
        self.name = f"schedules {offered.application}"
        self._context = offered.context
        self._schedules = {schedule.name: schedule for schedule in offered.schedules}
        self._book = book
        self._attempts = attempts
        self._leases = leases
        self._owner = owner
        self._clock = clock
        self._logger = logger
        self._token: int | None = None
        self._until = 0.0
        """So long, by the time that passes, nobody else has the lease."""
        self._look_at = 0.0
        """When the lease is asked for next, or renewed."""
        self._progress: dict[str, Progress] = {}
        self._under_way: dict[str, Ran] = {}
        self._again: dict[str, int] = {}
        """What was run of that which a clock had passed over when it was wrong."""

    @property
    def leads(self) -> bool:
        return self._token is not None

    @property
    def names(self) -> Collection[str]:
        return self._schedules.keys()

    def late_seconds(self, name: str) -> float:
        """Since the oldest interval is due that is not over."""
        progress, now = self._progress.get(name), self._now
        if progress is None:
            return 0.0
        return max(0.0, float(now - self._schedules[name].times.following(progress.done)))

    def soonest(self) -> float:
        """Seconds until something more is due, or the stores are to be looked at anyhow."""
        now = self._clock.believed_ms() / 1000
        times = [
            of.open.retry_at
            if of.open is not None
            else self._schedules[name].times.following(of.done)
            for name, of in self._progress.items()
        ]
        return min((time - now for time in times if time > now), default=_RENEW_SECONDS)

    def turn(self, *, by_hand_only: bool) -> None:
        """Raise what the stores raise: the next turn tries again."""
        if not self._lead():
            return
        try:
            self._settle()
            for wish in self._book.wishes():
                self._grant(wish)
            if not by_hand_only:
                for schedule in self._schedules.values():
                    self._go_on(schedule)
        except Moved:
            self._lose("somebody else has written")

    def stop(self) -> None:
        """After the attempts have stopped: write down what there is, and let another one lead."""
        if self._token is None:
            return
        try:
            self._settle()
            self._leases.release(self.name, self._owner, self._token)
        except Exception as error:  # noqa: BLE001 - the lease ends by itself, and others are to stop
            self._logger.warning("schedule.not_released", error=told_of(error))
        self._token = None

    # -- the lease ------------------------------------------------------------------------------

    def _lead(self) -> bool:
        now = self._clock.monotonic()
        if now < self._look_at:
            return self.leads
        self._look_at = now + _RENEW_SECONDS
        if self._token is not None:
            try:
                held = self._leases.renew(self.name, self._owner, self._token, _LEASE_SECONDS)
            except NotReady:
                self._look_at = 0.0
                if now >= self._until:
                    self._lose("the lease could not be renewed")
                raise
            if held:
                self._until = now + _LEASE_SECONDS
                return True
            self._lose("the lease was lost")
        token = self._leases.acquire(self.name, self._owner, _LEASE_SECONDS)
        if token is not None:
            self._until = now + _LEASE_SECONDS
            self._take_over(token)
        return self.leads

    def _lose(self, why: str) -> None:
        self._logger.warning("schedule.leader_lost", lease=self.name, error=why)
        self._attempts.drop(self._schedules.__contains__)
        self._token = None
        self._progress, self._under_way = {}, {}

    def _take_over(self, token: int) -> None:
        self._book.open()
        known = self._book.progress(list(self._schedules))
        progress, ended = {}, []
        for name, schedule in self._schedules.items():
            newest = schedule.times.newest(self._now)
            progress[name] = known.get(name) or Progress(newest, newest)
            for run in self._book.runs(name):
                if run.result == "running":
                    ended.append(self._closed(run, "interrupted", _INTERRUPTED))
                of = progress[name].open
                if of is not None and of.run == run.number:
                    self._under_way[name] = run
            progress[name] = self._interrupted(schedule, progress[name])
        self._book.write(progress, ended)
        self._progress = progress
        self._token = token
        for run in ended:
            self._tell(run, progress[run.schedule])

    def _interrupted(self, schedule: Schedule, progress: Progress) -> Progress:
        """An attempt whose process is gone has failed."""
        of = progress.open
        return progress if of is None or of.retry_at else self._failed(schedule, progress, of)

    # -- what is over ---------------------------------------------------------------------------

    def _settle(self) -> None:
        for attempt, outcome in self._attempts.over(self._schedules.__contains__):
            schedule = attempt.schedule
            ran = self._under_way[schedule.name]
            progress = self._progress[schedule.name]
            stopped = attempt.cancelled and self._attempts.stopping and not outcome.succeeded
            if ran.by == "hand":
                progress = self._after_hand(schedule, progress, ran, outcome)
            elif outcome.succeeded:
                progress = progress.over(ran.end_ms // 1000, schedule.times, succeeded=True)
            elif progress.open is not None and stopped:
                of = progress.open
                again = msgspec.structs.replace(
                    of, attempts=of.attempts - 1, retry_at=max(1, self._now)
                )
                progress = msgspec.structs.replace(progress, open=again)
            elif progress.open is not None:
                progress = self._failed(schedule, progress, progress.open)
            result = "succeeded" if outcome.succeeded else "interrupted" if stopped else "failed"
            closed = self._closed(ran, result, outcome.reason)
            closed = msgspec.structs.replace(
                closed, events=outcome.events, repeated=outcome.repeated
            )
            self._book.write({schedule.name: progress}, [closed])
            self._progress[schedule.name] = progress
            self._attempts.forget(schedule.name)
            self._tell(closed, progress)

    def _failed(self, schedule: Schedule, progress: Progress, of: Open) -> Progress:
        if of.attempts > schedule.retries:
            return progress.over(of.end, schedule.times, succeeded=False)
        pause = pause_seconds(schedule, of.attempts)
        again = msgspec.structs.replace(of, retry_at=max(1, round(self._now + pause)))
        return msgspec.structs.replace(progress, open=again)

    def _after_hand(
        self, schedule: Schedule, progress: Progress, ran: Ran, outcome: Outcome
    ) -> Progress:
        """A failure by hand changes nothing: what is due by the clock is run by it all the same."""
        if not outcome.succeeded:
            return progress
        end, times = ran.end_ms // 1000, schedule.times
        if (following := times.following(progress.done)) < end:
            progress = progress.passed_over(following, times.before(end), times)
        return progress.over(end, times, succeeded=True)

    def _tell(self, ran: Ran, progress: Progress) -> None:
        key = ran.schedule, ran.result
        self.counts[key] = self.counts.get(key, 0) + 1
        if (line := _LINES.get(ran.result)) is not None:
            of = progress.open
            self._logger.warning(
                line, schedule=ran.schedule, interval=_time(ran.end_ms),
                attempts=ran.attempts, error=ran.reason,
                retry=_time(of.retry_at * 1000) if of is not None else "none",
            )  # fmt: skip

    # -- what is next ---------------------------------------------------------------------------

    def _go_on(self, schedule: Schedule) -> None:
        name, progress = schedule.name, self._progress[schedule.name]
        if self._attempts.busy(name):
            return
        if (of := progress.open) is not None:
            if of.retry_at <= self._now:
                self._begin(schedule, of.end, "clock", of)
            return
        coming = upcoming(schedule, progress, self._now, self._other)
        if coming is None or (coming.end <= progress.done and self._again.get(name) == coming.end):
            return
        self._again[name] = coming.end
        if coming.missed is not None:
            self._pass_over(schedule, *coming.missed, "it was not run in its time")
        if coming.lacking:
            why = f"{coming.lacking} has not succeeded for it"
            self._pass_over(schedule, coming.end, coming.end, why)
        else:
            self._begin(schedule, coming.end, "clock")

    def _other(self, name: str) -> tuple[Times, Progress]:
        return self._schedules[name].times, self._progress[name]

    def _pass_over(self, schedule: Schedule, first: int, last: int, why: str) -> None:
        name, times = schedule.name, schedule.times
        progress = self._progress[name].passed_over(first, last, times)
        progress = msgspec.structs.replace(progress, done=last)
        ran = Ran(
            number=self._book.number,
            schedule=name,
            start_ms=times.interval(first).start_ms,
            end_ms=last * 1000,
            by="clock",
            result="missed",
            ended_ms=self._clock.now_ms(),
            reason=why,
        )
        self._book.write({name: progress}, [ran])
        self._progress[name] = progress
        self._tell(ran, progress)

    def _grant(self, wish: Wish) -> None:
        schedule = self._schedules.get(wish.schedule)
        if schedule is None or self._attempts.busy(schedule.name):
            return
        progress = self._progress[schedule.name]
        of = progress.open
        if of is not None and of.end == wish.end:
            self._begin(schedule, wish.end, "clock", of, wish)
        elif of is None or wish.end <= progress.done:  # else that which is before it is over first
            self._begin(schedule, wish.end, "hand", wish=wish)

    def _begin(
        self,
        schedule: Schedule,
        end: int,
        by: By,
        of: Open | None = None,
        wish: Wish | None = None,
    ) -> None:
        """Written down first."""
        assert self._token is not None
        name, progress = schedule.name, self._progress[schedule.name]
        interval = schedule.times.interval(end)
        attempts = 1 if of is None else of.attempts + 1
        ran = Ran(
            number=self._book.number if of is None else of.run,
            schedule=name,
            start_ms=interval.start_ms,
            end_ms=interval.end_ms,
            by=by,
            result="running",
            attempts=attempts,
            begun_ms=self._clock.now_ms(),
            owner=self._owner,
            token=self._token,
            wish="" if wish is None else wish.id,
        )
        if by == "clock":
            progress = msgspec.structs.replace(progress, open=Open(end, attempts, ran.number))
        self._book.write({name: progress}, [ran], taken=[] if wish is None else [wish])
        self._progress[name] = progress
        self._under_way[name] = ran
        run = Run(
            schedule=name,
            interval=interval,
            attempt=attempts,
            token=self._token,
            context=self._context,
        )
        self._attempts.begin(schedule, run, in_order=progress.in_order(end))

    # -- small things ---------------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._clock.believed_ms() // 1000

    def _closed(self, ran: Ran, result: str, reason: str) -> Ran:
        return msgspec.structs.replace(
            ran, result=result, reason=sound(reason), ended_ms=self._clock.now_ms()
        )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
