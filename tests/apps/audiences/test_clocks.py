"""No sender's clock, and not the server's own, moves what others see (reliability 13, 37, 48)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audiences.served import Ask, Served
from apps.audiences.tags import a_tag, encoded, instant
from penstock.apps.audiences.events import TagRecorded
from penstock.apps.audiences.projections import RETENTION_MINUTES, TagRow, tag_rows
from penstock.core.clock import BELIEVED_AFTER_SECONDS, CarefulClock, SystemClock
from penstock.core.errors import NotFound, Rejected
from penstock.core.operations import Operations
from penstock.core.projection.retention import expire
from support.asking import PATIENT
from support.clock import MovedClock, WrongClock
from support.records import records

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
AGGREGATES = "audiences_tags"
AHEAD = f'penstock_projection_ahead_seconds{{projection="{AGGREGATES}"}}'
STEP = "penstock_clock_step_seconds"

Open = Callable[..., Served]


@pytest.fixture
def clock() -> WrongClock:
    return WrongClock()


@pytest.fixture
def opened(tmp_path: Path, clock: WrongClock) -> Iterator[Open]:
    platforms: list[Served] = []

    def open_served(**settings: str) -> Served:
        named = {f"PENSTOCK_AUDIENCES_{name.upper()}": value for name, value in settings.items()}
        platforms.append(Served(tmp_path, PATIENT | named, clock=clock))
        return platforms[-1]

    yield open_served
    for served in platforms:
        served.close()


def now_ms() -> int:
    """The start of the minute that it really is."""
    return SystemClock().now_ms() // MINUTE_MS * MINUTE_MS


def ago(hours: float) -> int:
    return now_ms() - int(hours * HOUR_MS)


def send(served: Served, *times_ms: int) -> list[int]:
    """Statuses."""
    asks = [Ask("/user_tags", body=encoded(a_tag(time=instant(at)))) for at in times_ms]
    statuses = [served.ask(ask).status for ask in asks]
    served.settle()
    for consumer in served.platform.consumers.values():
        expire(consumer, served.platform.require_stores().tables)
    return statuses


def count(served: Served, at_ms: int) -> int:
    """Of the minute; -1 where that is answered 410."""
    start, end = (instant(at)[:19] for at in (at_ms, at_ms + MINUTE_MS))
    got = served.aggregates(f"time_range={start}_{end}&action=VIEW&aggregates=COUNT")
    return -1 if got.status == 410 else int(got.json["rows"][0][-1])


def test_a_tag_from_the_future_takes_nothing_from_anybody(opened: Open) -> None:
    served = opened(max_future_skew_hours="24")
    old = ago(23)
    assert send(served, old, now_ms() + DAY_MS - 2 * MINUTE_MS) == [204, 204]
    assert send(served, old, now_ms()) == [204, 204]
    assert count(served, old) == 2
    horizon = served.metric('penstock_application{number="audiences.retention_horizon_seconds"}')
    assert horizon is not None
    assert horizon <= ago(24) / 1000
    ahead = served.metric(AHEAD)
    assert ahead is not None
    assert 23 < ahead / 3_600 < 24
    ready = served.until("/readyz", 200)
    assert "ahead of the clock" in ready.json["warnings"][AGGREGATES]


def test_a_tag_more_than_an_hour_ahead_is_refused_by_default(opened: Open) -> None:
    served = opened()
    assert send(served, now_ms() + 58 * MINUTE_MS, now_ms() + 62 * MINUTE_MS) == [204, 400]
    assert served.until("/readyz", 200).json == {"status": "ready"}


@pytest.mark.parametrize("wrong", [48.0, -24.0])
def test_a_clock_that_is_wrong_for_a_while_changes_no_answer(
    opened: Open, clock: WrongClock, wrong: float
) -> None:
    served = opened()
    old = ago(23)
    assert send(served, old, now_ms()) == [204, 204]
    clock.ahead_hours = wrong
    assert send(served, old, now_ms(), now_ms() + int(max(0, wrong) * HOUR_MS)) == [204] * 3
    assert "clock" in served.get("/readyz").json["warnings"]
    assert served.metric(STEP) == pytest.approx(wrong * 3_600, abs=60)
    assert (count(served, old), send(served, old), count(served, old)) == (2, [204], 3)
    clock.ahead_hours = 0.0
    assert send(served, old) == [204]
    assert count(served, old) == 4
    assert "clock" not in served.get("/readyz").json.get("warnings", {})
    assert served.metric(STEP) == 0
    rebuilt = Operations(served.platform).rebuild(
        AGGREGATES, lambda _done, _total: None, from_scratch=False, dry_run=True
    )
    assert rebuilt.differences == []


def test_a_clock_that_is_behind_the_log_at_the_start_refuses_no_right_tag(
    opened: Open, clock: WrongClock
) -> None:
    served = opened()
    old = ago(23)
    assert send(served, old, now_ms()) == [204, 204]
    clock.ahead_hours = -24.0
    served.reopen()
    assert send(served, old, now_ms()) == [204, 204]
    assert count(served, old) == 2


def test_what_a_wrong_start_let_in_can_be_given_up_by_its_number(
    opened: Open, clock: WrongClock
) -> None:
    served = opened()
    old = ago(23)
    send(served, old)
    clock.ahead_hours = 48.0
    served.reopen()
    assert send(served, now_ms() + 2 * DAY_MS) == [204]
    clock.ahead_hours = 0.0
    served.reopen()
    assert send(served, old, now_ms()) == [204, 204]
    assert count(served, old) == -1  # never silently in part
    operations = Operations(served.platform)
    with pytest.raises(NotFound):
        operations.give_up(AGGREGATES, 0, [1, 9])
    assert operations.dead_letters(AGGREGATES) == []
    (letter,) = operations.give_up(AGGREGATES, 0, [1])
    assert (letter.code, letter.offset) == ("given_up", 1)
    operations.rebuild(AGGREGATES, lambda _done, _total: None, from_scratch=True, dry_run=False)
    assert (count(served, old), count(served, now_ms() + 2 * DAY_MS)) == (2, 0)
    assert send(served, old) == [204]
    assert count(served, old) == 3
    served.reopen()  # and for good, whatever is rebuilt
    operations = Operations(served.platform)
    again = operations.rebuild(
        AGGREGATES, lambda _done, _total: None, from_scratch=False, dry_run=False
    )
    assert again.differences == []
    assert [found.code for found in operations.dead_letters(AGGREGATES)] == ["given_up"]
    assert count(served, old) == 3
    for refused in (operations.retry_dead_letter, operations.drop_dead_letter):
        with pytest.raises(Rejected, match="take-back"):
            refused(AGGREGATES, 0, 1)
    with pytest.raises(NotFound):
        operations.take_back(AGGREGATES, 0, [1, 9])
    operations.take_back(AGGREGATES, 0, [1])
    operations.rebuild(AGGREGATES, lambda _done, _total: None, from_scratch=True, dry_run=False)
    assert operations.dead_letters(AGGREGATES) == []
    assert count(served, old) == -1


# -- any course of clocks --------------------------------------------------------------------------

HORIZON_MS = RETENTION_MINUTES * MINUTE_MS
moments = st.lists(
    st.tuples(
        # How wrong the server's clock is; never back to the second at which it was looked at last.
        st.sampled_from([0.0, 0.0, 24.1, -24.1, 48.1]),
        st.integers(0, HORIZON_MS - HOUR_MS),  # how late an honest tag is
        st.sampled_from([0, HOUR_MS, DAY_MS, 1_000 * DAY_MS]),  # how early another one's is
        st.sampled_from([0.0, 0.25, 1.0, 7.5]),  # hours until the next
    ),
    max_size=12,
)


def at(time_ms: int) -> TagRecorded:
    return TagRecorded(time_ms, 3, "c", "PL", "PC", "VIEW", "o", 7, "b", "k", 1)


@given(moments)
def test_every_tag_of_the_last_day_is_counted_whatever_clocks_say(
    course: list[tuple[float, int, int, float]],
) -> None:
    clock = MovedClock()
    watched, right_ms = CarefulClock(clock), clock.now_ms()
    events: list[TagRecorded] = []
    times: list[int] = []
    was, stood = 0.0, 0.0
    for wrong, late_ms, early_ms, hours in course:
        was, stood = wrong, stood if wrong == was else 0.0
        if wrong and stood * 3_600 >= BELIEVED_AFTER_SECONDS:
            break  # from now on that is the time
        clock.step_hours(wrong)
        taken_ms = watched.now_ms()
        assert taken_ms <= right_ms <= watched.latest_ms()
        events += [at(right_ms - late_ms), at(right_ms + early_ms)]
        times += [taken_ms, taken_ms]
        clock.step_hours(-wrong)
        clock.pass_hours(hours)
        stood += hours
        right_ms += int(hours * HOUR_MS)
    made = tag_rows(records(events, range(len(events)), times), None)
    assert made.carry is None or made.carry.logical_minute <= right_ms // MINUTE_MS
    kept = {row.log_offset for row in made.rows}
    for number, event in enumerate(events):
        if event.time_ms >= right_ms - HORIZON_MS:
            assert number in kept
    for row in made.rows:
        assert isinstance(row, TagRow)
        assert row.logical_minute == min(row.minute, times[row.log_offset] // MINUTE_MS)
