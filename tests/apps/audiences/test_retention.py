"""What happens to old tags. Each test has days of its own, later than those of the tests before."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from apps.audiences.served import Served
from apps.audiences.tags import a_tag, instant
from penstock.core.projection.retention import expire

MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
START = datetime(2022, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def days() -> Iterator[int]:
    """Noons in epoch milliseconds, ten days apart, so that no test sees another's tags."""
    return (
        int((START + timedelta(days=10 * n, hours=12)).timestamp()) * 1000 for n in count(start=1)
    )


def aggregates(start_ms: int, minutes: int = 1) -> str:
    start, end = (instant(time)[:19] for time in (start_ms, start_ms + minutes * MINUTE_MS))
    return f"time_range={start}_{end}&action=VIEW&aggregates=COUNT"


def counts(served: Served, start_ms: int, minutes: int = 1) -> list[str]:
    return [row[-1] for row in served.rows(aggregates(start_ms, minutes))]


def skipped(served: Served) -> float:
    return (
        served.metric(
            'penstock_projection_skipped_total{partition="0",projection="audiences_tags"}'
        )
        or 0
    )


def test_au_84_a_range_behind_the_retention_is_answered_410(
    served: Served, days: Iterator[int]
) -> None:
    noon = next(days)
    served.tags(a_tag(time=instant(noon + n * MINUTE_MS)) for n in range(3))
    served.settle()
    assert counts(served, noon, 3) == ["1", "1", "1"]
    served.tag(a_tag(time=instant(noon + DAY_MS + MINUTE_MS)))
    served.settle()
    for minutes in (1, 2, 3):
        got = served.aggregates(aggregates(noon, minutes))
        assert got.error == (410, "retention")
        assert instant(noon + MINUTE_MS)[:19] in got.json["message"]
    assert counts(served, noon + MINUTE_MS, 2) == ["1", "1"]
    assert served.aggregates(aggregates(noon, 0)).json["rows"] == []


def test_au_83_everything_of_the_last_day_stays_exact_to_the_minute(
    served: Served, days: Iterator[int]
) -> None:
    noon = next(days)
    oldest = noon - DAY_MS
    served.tags(a_tag(time=instant(oldest + n * 500)) for n in range(240))
    served.tag(a_tag(time=instant(noon + MINUTE_MS - 1)))
    served.settle()
    for consumer in served.platform.consumers.values():
        expire(consumer, served.platform.require_stores().tables)
    assert counts(served, oldest, 3) == ["120", "120", "0"]
    assert counts(served, noon) == ["1"]


def test_au_85_a_late_tag_is_accepted_counted_as_skipped_and_in_the_profile(
    served: Served, days: Iterator[int]
) -> None:
    noon = next(days)
    served.tag(a_tag(time=instant(noon)))
    served.settle()
    before = skipped(served)
    late = a_tag(time=instant(noon - 2 * DAY_MS), cookie="late")
    served.tag(late)
    served.settle()
    assert skipped(served) == before + 1
    whole = f"time_range={instant(noon - 3 * DAY_MS)[:-1]}_{instant(noon)[:-1]}"
    assert served.profile("late", whole).json["views"] == [late]
    assert served.aggregates(aggregates(noon - 2 * DAY_MS)).status == 410
    assert counts(served, noon) == ["1"]


def test_au_87_a_late_tag_inside_the_retention_is_counted(
    served: Served, days: Iterator[int]
) -> None:
    noon = next(days)
    for late_ms in (0, DAY_MS, DAY_MS // 2, 0):
        served.tag(a_tag(time=instant(noon - late_ms)))
        served.settle()
    assert counts(served, noon - DAY_MS) == ["1"]
    assert counts(served, noon - DAY_MS // 2) == ["1"]
    assert counts(served, noon) == ["2"]


@pytest.mark.parametrize("minutes", [1, 1_440, 1_441, 30 * 1_440])
def test_au_85_a_tag_counts_in_its_own_minute_however_late_or_is_counted_as_skipped(
    served: Served, days: Iterator[int], minutes: int
) -> None:
    """Reliability 13: by a minute, a day, and thirty days; the profile has it in any case."""
    noon = next(days)
    late_ms, cookie = noon - minutes * MINUTE_MS, f"late-{minutes}"
    there, before = minutes <= 1_440, skipped(served)
    late = a_tag(time=instant(late_ms), cookie=cookie)
    served.tags([a_tag(time=instant(noon)), late])
    served.settle()
    assert skipped(served) == before + (not there)
    assert counts(served, noon) == ["1"]
    if there:
        assert counts(served, late_ms) == ["1"]
    else:
        assert served.aggregates(aggregates(late_ms)).error == (410, "retention")
    whole = f"time_range={instant(late_ms)[:-1]}_{instant(noon)[:-1]}"
    assert served.profile(cookie, whole).json["views"] == [late]


def test_au_111_the_horizon_is_a_day_behind_the_newest_tag(
    served: Served, days: Iterator[int]
) -> None:
    noon = next(days)
    served.tags([a_tag(time=instant(noon + 30_000)), a_tag(time=instant(noon - 30_000))])
    served.settle()
    newest = served.metric('penstock_application{number="audiences.newest_tag_seconds"}')
    horizon = served.metric('penstock_application{number="audiences.retention_horizon_seconds"}')
    assert (newest, horizon) == (noon / 1000, (noon - DAY_MS) / 1000)


def test_au_86_a_restart_keeps_the_horizon_and_what_was_skipped(
    served: Served, days: Iterator[int]
) -> None:
    noon = next(days)
    served.tags([a_tag(time=instant(noon)), a_tag(time=instant(noon - DAY_MS))])
    served.settle()
    served.reopen()
    served.tag(a_tag(time=instant(noon - DAY_MS - MINUTE_MS)))
    served.settle()
    assert counts(served, noon - DAY_MS) == ["1"]
    assert served.aggregates(aggregates(noon - DAY_MS - MINUTE_MS)).status == 410
    assert skipped(served) == 1
