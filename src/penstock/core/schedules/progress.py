"""How far a schedule has come, and what is next. Pure; all times are ends in epoch seconds.

Intervals are run in order, each once. Those that were passed over are kept as stretches, so that
what is lacking is known, and what is run of it later can be told from what was run in its order.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from penstock.core.intervals import Times
from penstock.core.manifest import Schedule

Stretch = tuple[int, int]
"""From the first end to the last."""

_STRETCHES_MAX = 1_000
"""The oldest are forgotten: they cannot be told from what has succeeded any more."""
_STEPS_BACK_MAX = 100
_PAUSE_SECONDS_MAX = 3_600.0


class Open(msgspec.Struct, frozen=True):
    """An interval that was begun and is not over."""

    end: int
    attempts: int
    """That have begun."""
    run: int
    """Its number among all runs."""
    retry_at: int = 0
    """0 while an attempt is under way."""


class Progress(msgspec.Struct, frozen=True):
    first: int
    """Until then intervals were over before the schedule was first seen."""
    done: int
    """Up to this one all were run or passed over."""
    passed: tuple[Stretch, ...] = ()
    made_up: tuple[Stretch, ...] = ()
    """Of what was passed over, or is before the first: what has succeeded since."""
    open: Open | None = None

    def in_order(self, end: int) -> bool:
        """Whether it is to be run in its order, or was; it stays what it is for ever."""
        return end > self.first and not within(self.passed, end)

    def lacks(self, end: int) -> bool:
        return end <= self.done and within(self.passed, end) and not within(self.made_up, end)

    def lacking(self, times: Times) -> list[Stretch]:
        """What was passed over and not made up."""
        left = [part for stretch in self.passed for part in _without(stretch, self.made_up)]
        ends = [(times.following(first - 1), times.newest(last)) for first, last in left]
        return [(first, last) for first, last in ends if first <= last]

    def passed_over(self, first: int, last: int, times: Times) -> "Progress":
        """These will not be run by themselves."""
        previous = times.before(first)
        begin = previous if within(self.passed, previous) else first
        return msgspec.structs.replace(self, passed=added(self.passed, (begin, last)))

    def over(self, end: int, times: Times, *, succeeded: bool) -> "Progress":
        """An interval has succeeded, or has failed for good."""
        after = self
        if self.open is not None and self.open.end == end:
            after = msgspec.structs.replace(after, open=None)
        if end <= self.done:
            if succeeded and not self.in_order(end):
                made_up = added(self.made_up, (end, end))
                after = msgspec.structs.replace(after, made_up=made_up)
            return after
        after = msgspec.structs.replace(after, done=end)
        return after if succeeded else after.passed_over(end, end, times)


class Next(NamedTuple):
    """An interval that is to be begun now."""

    end: int
    missed: Stretch | None = None
    """What is passed over with it."""
    lacking: str = ""
    """Whom it comes after and who has not succeeded for it: then it is passed over as well."""


def upcoming(
    schedule: Schedule,
    progress: Progress,
    now: int,
    others: Callable[[str], tuple[Times, Progress]],
) -> Next | None:
    """What is due of a schedule that has nothing open; None while nothing is.

    A clock that was wrong may have led far ahead, and be right again: then what was passed over on
    the way is run when its time comes, and nothing twice.
    """
    times = schedule.times
    newest = times.newest(now)
    if newest <= progress.done:
        return Next(newest) if newest < progress.done and progress.lacks(newest) else None
    following = times.following(progress.done)
    end = following if schedule.missed == "each" else newest
    for _ in range(_STEPS_BACK_MAX):
        waiting, lacking = _before(schedule, times, end, others)
        if not waiting:
            missed = (following, times.before(end)) if following < end else None
            return Next(end, missed, lacking)
        end = times.before(end)
        if end <= progress.done:
            break
    return None


def _before(
    schedule: Schedule, times: Times, end: int, others: Callable[[str], tuple[Times, Progress]]
) -> tuple[bool, str]:
    """Whether somebody whom this interval comes after is not that far; and who never will be."""
    start = times.before(end)
    for name in schedule.after:
        of, progress = others(name)
        last = of.newest(end)
        if last > max(start, progress.done):
            return True, ""
        if any(first <= end and last > start for first, last in progress.lacking(of)):
            return False, name
    return False, ""


def pause_seconds(schedule: Schedule, attempts: int) -> float:
    """Before the next one, when so many have failed."""
    return min(schedule.retry_seconds * 2.0 ** min(attempts - 1, 32), _PAUSE_SECONDS_MAX)


def within(stretches: Sequence[Stretch], end: int) -> bool:
    return any(first <= end <= last for first, last in stretches)


def added(stretches: Sequence[Stretch], stretch: Stretch) -> tuple[Stretch, ...]:
    """In order; those that meet are one."""
    merged: list[Stretch] = []
    for first, last in sorted([*stretches, stretch]):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return tuple(merged[-_STRETCHES_MAX:])


def _without(stretch: Stretch, stretches: Sequence[Stretch]) -> list[Stretch]:
    """What is left of a stretch, second by second: there need not be an end in it."""
    left, (first, last) = [], stretch
    for begin, end in stretches:
        if end < first or begin > last:
            continue
        if begin > first:
            left.append((first, begin - 1))
        first = end + 1
    return [*left, (first, last)] if first <= last else left
