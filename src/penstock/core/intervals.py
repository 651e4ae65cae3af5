"""Intervals: from one time of a schedule to its next, and by that as long as the zone's day is.

An interval is known by its end, in epoch seconds: that is when it is due, it only grows, and it
stays the same when a schedule gets other times. cronsim reads cron, with the rules of Debian's for
zones that put their clocks forward and back: what is due at a time that does not exist is due when
the clock has gone forward; what is due at a time that exists twice is due the first time; what is
due every so often goes by the time that passes.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_EVERY = re.compile(r"([1-9][0-9]{0,8}) (s|min|h)")
_SECONDS = {"s": 1, "min": 60, "h": 3_600}
_CRON = re.compile(r"((?:\S+ ){4}\S+)(?: ([A-Za-z]\S*))?")
_FORM = "write it as `60 s`, `5 min`, `1 h`, or as cron with a zone: `0 7 * * * Europe/Warsaw`"


class Interval(NamedTuple):
    """From `start_ms` on, before `end_ms`, in epoch milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def number(self) -> int:
        """Its end in epoch seconds."""
        return self.end_ms // 1000


class Times:
    """When a schedule is due; all of it in epoch seconds."""

    def __init__(self, at: str) -> None:
        """Raise `ValueError`, which says what can be written."""
        self._following: Callable[[int], int]
        self._before: Callable[[int], int]
        self.zone: ZoneInfo | None = None
        """None: UTC."""
        if every := _EVERY.fullmatch(at):
            seconds = int(every[1]) * _SECONDS[every[2]]
            self._following = lambda of: (of // seconds + 1) * seconds
            self._before = lambda of: (of - 1) // seconds * seconds
        elif cron := _CRON.fullmatch(at):
            self._cron = cron[1]
            try:
                self.zone = ZoneInfo(cron[2]) if cron[2] else None
                next(CronSim(self._cron, datetime.now(UTC)))
            except ZoneInfoNotFoundError as error:
                raise ValueError(f"{at}: there is no zone {cron[2]}; {_FORM}") from error
            except StopIteration as error:
                raise ValueError(f"{at} is never due; {_FORM}") from error
            except (CronSimError, ValueError) as error:
                raise ValueError(f"{at}: {error}; {_FORM}") from error
            self._following, self._before = self._cron_following, self._cron_before
        else:
            raise ValueError(f"{at}: {_FORM}")

    def following(self, of: int) -> int:
        """The first that is later."""
        return self._following(of)

    def before(self, of: int) -> int:
        """The last that is earlier."""
        return self._before(of)

    def newest(self, now: int) -> int:
        """The last that is not later."""
        return self._before(now + 1)

    def interval(self, end: int) -> Interval:
        """That which ends then; `end` is one of the times."""
        return Interval(self._before(end) * 1000, end * 1000)

    def around(self, at: int) -> Interval:
        """That in which a moment is."""
        return self.interval(self._following(at))

    def _cron_following(self, of: int) -> int:
        return next(time for time in self._cron_times(of) if time > of)

    def _cron_before(self, of: int) -> int:
        """Backwards the library has other rules for times that do not exist: so it only finds
        where to begin.
        """
        backwards = self._cron_times(of, reverse=True)
        begin = next(backwards)
        while True:
            begin = next(backwards)
            found = None
            for time in self._cron_times(begin):
                if time >= of:
                    break
                found = time
            if found is not None:
                return found

    def _cron_times(self, of: int, *, reverse: bool = False) -> Iterator[int]:
        """A time that exists twice may come once more where it is begun between the two."""
        begin = datetime.fromtimestamp(of, self.zone or UTC)
        for time in CronSim(self._cron, begin, reverse=reverse):
            yield int(time.timestamp())
