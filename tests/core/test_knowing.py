"""What a handler knows: settings, and how often something came of late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.edge.knowing import KEYS_MAX, WINDOWS_MAX, Knowledge


class Clock:
    """Seconds of a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> Knowledge[str, None]:
    return Knowledge("settings", None, now=clock)


def test_it_has_the_settings_and_what_people_have_set(known: Knowledge[str, None]) -> None:
    assert (known.settings, known.catalogue) == ("settings", None)


def test_a_tally_counts_each_key_in_each_window_by_itself(known: Knowledge[str, None]) -> None:
    assert [known.tally(b"a", 60), known.tally(b"a", 60), known.tally(b"b", 60)] == [1, 2, 1]
    assert known.tally(b"a", 1) == 1


def test_what_came_before_the_window_counts_less_and_less_and_then_no_more(
    known: Knowledge[str, None], clock: Clock
) -> None:
    for _ in range(10):
        known.tally(b"a", 60)
    clock.now += 60
    assert known.tally(b"a", 60) == 11
    clock.now += 30
    assert known.tally(b"a", 60) == 2 + 5
    clock.now += 29
    assert known.tally(b"a", 60) == 3
    clock.now += 120
    assert known.tally(b"a", 60) == 1


@given(st.lists(st.floats(0, 40), max_size=60))
def test_a_tally_lies_between_what_came_in_one_window_and_in_two(steps: list[float]) -> None:
    clock = Clock()
    known = Knowledge(None, None, now=clock)
    came: list[float] = []
    for step in steps:
        clock.now += step
        came.append(clock.now)
        told = known.tally(b"a", 60)
        assert 1 <= told <= sum(at > clock.now - 120.001 for at in came)


def test_however_many_keys_come_a_bounded_number_is_kept_and_the_frequent_are_among_them(
    known: Knowledge[str, None],
) -> None:
    """Reliability 21."""
    for n in range(3 * KEYS_MAX):
        known.tally(b"%d" % n, 60)
        if n % 1_000 == 0:
            assert known.tally(b"frequent", 60) == n // 1_000 + 1
    (window,) = known._windows.values()
    assert len(window.counts) <= KEYS_MAX
    for seconds in range(1, 2 * WINDOWS_MAX):
        known.tally(b"a", seconds)
    assert len(known._windows) == WINDOWS_MAX


def test_of_keys_that_all_come_often_a_bounded_number_is_kept_too(
    known: Knowledge[str, None],
) -> None:
    for n in range(KEYS_MAX + 1):
        for _ in range(2):
            known.tally(b"%d" % n, 60)
    (window,) = known._windows.values()
    assert len(window.counts) <= KEYS_MAX


def test_a_window_without_time_is_refused(known: Knowledge[str, None]) -> None:
    with pytest.raises(ValueError, match="time that passes"):
        known.tally(b"a", 0)
