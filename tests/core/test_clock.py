"""A clock that steps is not believed at once, and harms nobody (reliability 37, 48)."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.clock import BELIEVED_AFTER_SECONDS, CarefulClock, careful
from support.clock import MovedClock

HOUR_MS = 3_600_000
DAY_HOURS = BELIEVED_AFTER_SECONDS / 3_600

steps = st.lists(
    st.tuples(
        st.sampled_from([24.0, -24.0, 48.0, -1.5, 0.25, 1_000.0]), st.sampled_from([0.25, 0.5, 2.0])
    ),
    max_size=5,
)
"""By how many hours the clock is off, and for how long."""


@given(steps)
def test_what_steps_back_was_never_believed(wrong: list[tuple[float, float]]) -> None:
    clock = MovedClock()
    careful_clock = CarefulClock(clock)
    for hours_off, hours in wrong:
        right_ms = clock.now_ms()
        clock.step_hours(hours_off)
        for _ in range(2):
            assert careful_clock.now_ms() == min(right_ms, clock.now_ms())
            assert careful_clock.latest_ms() == max(right_ms, clock.now_ms())
            assert round(careful_clock.step_seconds()) == hours_off * 3_600
            clock.pass_hours(hours)
            right_ms += int(hours * HOUR_MS)
        clock.step_hours(-hours_off)
        now_ms = clock.now_ms()
        assert careful_clock.now_ms() == careful_clock.latest_ms() == now_ms
        assert careful_clock.step_seconds() == 0


@given(st.sampled_from([-48.0, -24.0, 24.0, 48.0]))
def test_a_step_is_believed_once_it_has_lasted_a_day(hours_off: float) -> None:
    clock = MovedClock()
    careful_clock = CarefulClock(clock)
    clock.step_hours(hours_off)
    assert careful_clock.step_seconds() == hours_off * 3_600
    clock.pass_hours(DAY_HOURS - 0.25)
    assert careful_clock.step_seconds() == hours_off * 3_600
    clock.pass_hours(0.25)
    assert careful_clock.now_ms() == careful_clock.latest_ms() == clock.now_ms()


def test_a_clock_that_goes_on_stepping_is_never_believed() -> None:
    clock = MovedClock()
    careful_clock = CarefulClock(clock)
    right_ms = clock.now_ms()
    for hours_off in (24.0, -48.0, 48.0, -48.0):
        clock.step_hours(hours_off)
        assert careful_clock.step_seconds() != 0
        clock.pass_hours(DAY_HOURS - 1)
        right_ms += int((DAY_HOURS - 1) * HOUR_MS)
        assert careful_clock.now_ms() <= right_ms <= careful_clock.latest_ms()


@given(st.lists(st.floats(-0.9 / 60, 0.9 / 60), max_size=20))
def test_small_steps_are_what_keeps_a_clock_right(hours: list[float]) -> None:
    clock = MovedClock()
    careful_clock = CarefulClock(clock)
    for step in hours:
        clock.step_hours(step)
        assert careful_clock.now_ms() == careful_clock.latest_ms() == clock.now_ms()


def test_a_clock_behind_what_was_written_down_is_not_believed_either() -> None:
    clock = MovedClock()
    careful_clock = CarefulClock(clock)
    written_ms = clock.now_ms() + 24 * HOUR_MS
    careful_clock.reach(clock.now_ms() - HOUR_MS)
    assert careful_clock.latest_ms() == clock.now_ms()
    careful_clock.reach(written_ms)
    assert (careful_clock.now_ms(), careful_clock.latest_ms()) == (clock.now_ms(), written_ms)


def test_a_process_has_one_careful_clock() -> None:
    clock = careful(MovedClock())
    assert careful(clock) is clock
