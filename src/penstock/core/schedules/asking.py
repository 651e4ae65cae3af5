"""What operators are told of schedules and wish of them, in whatever process they ask."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from uuid import uuid4
from zoneinfo import ZoneInfo

from penstock.core.clock import CarefulClock
from penstock.core.errors import NotFound, Rejected
from penstock.core.intervals import Interval, Times
from penstock.core.manifest import Manifest, Schedule
from penstock.core.schedules import Line, Ran
from penstock.core.schedules.book import Book, Wish
from penstock.core.state import State

_UTC = ZoneInfo("UTC")


class Asking:
    def __init__(self, manifests: Sequence[Manifest], state: State, clock: CarefulClock) -> None:
        self._manifests = manifests
        self._state = state
        self._clock = clock

    def lines(self, name: str = "", runs: int = 1) -> list[Line]:
        """Of one schedule, or of all; with so many of their runs."""
        if name:
            self._known(name)
        return [line for manifest in self._manifests for line in self._lines(manifest, name, runs)]

    def wish(self, name: str, at: str = "") -> Wish:
        """Have an interval run: that in which `at` is, or the newest that is over.

        Raise `NotFound` for a schedule there is not, and `Rejected` for an interval there is not.
        """
        manifest, schedule = self._known(name)
        if schedule.everywhere:
            raise Rejected(f"{name} runs everywhere, each process for itself, and not by hand")
        wish = Wish(name, self._interval(schedule.times, at).number, uuid4().hex)
        self._book(manifest).wish(wish)
        return wish

    def result(self, wish: Wish) -> Ran | None:
        """Of the run that it had; None while it has none that is over."""
        manifest, _ = self._known(wish.schedule)
        for ran in self._book(manifest).runs(wish.schedule):
            if ran.wish == wish.id and ran.result != "running":
                return ran
        return None

    def take_back(self, wish: Wish) -> bool:
        """Whether it was still there: nobody had begun it."""
        manifest, _ = self._known(wish.schedule)
        book = self._book(manifest)
        there = wish in book.wishes()
        book.take_back(wish)
        return there

    def _lines(self, manifest: Manifest, name: str, limit: int) -> Iterator[Line]:
        schedules = [of for of in manifest.schedules if name in ("", of.name)]
        book, now = self._book(manifest), self._clock.believed_ms() // 1000
        known = book.progress([of.name for of in schedules]) if schedules else {}
        for schedule in schedules:
            progress = known.get(schedule.name)
            yield Line(
                schedule=schedule.name,
                at=schedule.at,
                everywhere=schedule.everywhere,
                runs=[] if progress is None else book.runs(schedule.name, limit),
                next_ms=schedule.times.following(now) * 1000,
                lacking=[] if progress is None else progress.lacking(schedule.times),
            )

    def _interval(self, times: Times, at: str) -> Interval:
        now = self._clock.believed_ms()
        if not at:
            return times.interval(times.newest(now // 1000))
        moment = _moment(at, times.zone or _UTC)
        interval = times.around(int(moment.timestamp()))
        if interval.end_ms > now:
            raise Rejected(f"the interval of {at} is over at {_told(interval.end_ms, times)}")
        return interval

    def _known(self, name: str) -> tuple[Manifest, Schedule]:
        for manifest in self._manifests:
            for schedule in manifest.schedules:
                if schedule.name == name:
                    return manifest, schedule
        known = ", ".join(of.name for manifest in self._manifests for of in manifest.schedules)
        raise NotFound(f"there is no schedule {name}; there are {known or 'none'}")

    def _book(self, manifest: Manifest) -> Book:
        return Book(self._state, manifest.name)


def _moment(at: str, zone: ZoneInfo) -> datetime:
    """In the zone of the schedule, where it names none."""
    try:
        day = date.fromisoformat(at)
    except ValueError:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError as error:
            raise Rejected(f"{at} is no time as in 2026-03-01T07:00, and no day") from error
    else:
        moment = datetime.combine(day, time())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _told(ms: int, times: Times) -> str:
    return datetime.fromtimestamp(ms / 1000, times.zone or _UTC).isoformat(timespec="seconds")
