"""Intervals: when a schedule is due, also on days of 23 and 25 hours. Reliability 13."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.intervals import Times

WARSAW = ZoneInfo("Europe/Warsaw")


def at(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0,
    *, zone: tzinfo = WARSAW, fold: int = 0,
) -> int:  # fmt: skip
    return int(datetime(year, month, day, hour, minute, tzinfo=zone, fold=fold).timestamp())


def told(times: Times, begin: int, count: int) -> list[str]:
    """Local times from then on, with what they are ahead of UTC."""
    found = []
    for _ in range(count):
        begin = times.following(begin)
        found.append(datetime.fromtimestamp(begin, times.zone or UTC).strftime("%d %H:%M %z"))
    return found


def test_every_so_often_is_counted_from_the_epoch() -> None:
    times = Times("90 s")
    assert times.following(0) == 90
    assert [times.newest(now) for now in (89, 90, 179, 180)] == [0, 90, 90, 180]
    assert times.interval(180) == (90_000, 180_000)
    assert times.around(90) == times.around(179) == (90_000, 180_000)
    assert Times("5 min").following(0) == Times("300 s").following(0)


def test_cron_without_a_zone_is_in_utc() -> None:
    times = Times("30 7 * * 1-5")
    friday = at(2026, 3, 6, 7, 30, zone=UTC)
    assert times.following(friday) == at(2026, 3, 9, 7, 30, zone=UTC)
    assert times.before(friday) == at(2026, 3, 5, 7, 30, zone=UTC)


def test_a_day_is_as_long_as_it_is_where_it_is() -> None:
    times = Times("0 0 * * * Europe/Warsaw")
    hours = {
        day: (times.interval(at(2026, *day)).end_ms - times.interval(at(2026, *day)).start_ms)
        / 3.6e6
        for day in ((3, 29), (3, 30), (3, 31), (10, 25), (10, 26), (10, 27))
    }
    assert list(hours.values()) == [24, 23, 24, 24, 25, 24]


def test_a_time_that_does_not_exist_is_due_when_the_clock_has_gone_forward() -> None:
    times = Times("30 2 * * * Europe/Warsaw")
    assert told(times, at(2026, 3, 27, 12), 3) == [
        "28 02:30 +0100",
        "29 03:00 +0200",
        "30 02:30 +0200",
    ]
    gap = at(2026, 3, 29, 3)
    assert times.newest(gap) == gap
    assert times.newest(gap - 1) == times.before(gap) == at(2026, 3, 28, 2, 30)


def test_a_time_that_exists_twice_is_due_once() -> None:
    times = Times("30 2 * * * Europe/Warsaw")
    first, second = at(2026, 10, 25, 2, 30), at(2026, 10, 25, 2, 30, fold=1)
    assert second - first == 3_600
    assert told(times, at(2026, 10, 24, 12), 2) == ["25 02:30 +0200", "26 02:30 +0100"]
    for moment in (first, second - 60, second, second + 60):
        assert times.newest(moment) == first
        assert times.following(moment) == at(2026, 10, 26, 2, 30)


def test_what_is_due_every_hour_goes_by_the_time_that_passes() -> None:
    times = Times("15 * * * * Europe/Warsaw")
    spring, autumn = at(2026, 3, 29, 0), at(2026, 10, 25, 0)
    for begin, hours in ((spring, 23), (autumn, 25)):
        assert [times.following(begin + 3_600 * n) for n in range(hours)] == [
            begin + 900 + 3_600 * n for n in range(hours)
        ]


SCHEDULES = [
    "7 s", "1 h", "0 0 * * *", "30 2 * * * Europe/Warsaw", "0 2,3 * * * Europe/Warsaw",
    "*/20 * * * * Europe/Warsaw", "*/30 2 * * * America/New_York", "15 1 * * 0 Australia/Lord_Howe",
    "0 0 1,15 * * America/Sao_Paulo", "0 12 29 2 * Asia/Kathmandu",
]  # fmt: skip
MOMENTS = st.one_of(
    st.integers(at(2010, 1, 1), at(2040, 1, 1)),
    st.integers(-7_200, 7_200).map(lambda off: at(2026, 3, 29, 3) + off),
    st.integers(-7_200, 7_200).map(lambda off: at(2026, 10, 25, 3) + off),
)


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(moment=MOMENTS)
def test_intervals_lie_one_behind_the_other_without_gap_or_overlap(
    schedule: str, moment: int
) -> None:
    times = Times(schedule)
    interval = times.around(moment)
    start, end = interval.start_ms // 1000, interval.number
    assert start <= moment < end
    assert times.newest(moment) == times.before(end) == start
    assert times.following(start) == times.newest(end) == end
    assert times.around(end).start_ms == interval.end_ms


@pytest.mark.parametrize(
    "schedule",
    ["", "60", "0 s", "-1 s", "1 day", "60s", "* * * *", "* * * * * *", "61 * * * *",
     "0 0 30 2 *", "0 0 * * * Mars/Olympus", "0 0 * * * ../../etc/passwd", "daily"],
)  # fmt: skip
def test_what_is_never_due_is_refused_with_what_can_be_written(schedule: str) -> None:
    with pytest.raises(ValueError, match="write it as"):
        Times(schedule)
