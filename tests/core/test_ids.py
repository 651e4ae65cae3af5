"""Identifiers: unique, sorted by time, and growing whatever the clock does."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.ids import Ids
from support.clock import MovedClock


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time() -> None:
    clock = MovedClock(1_700_000_000_123)
    made = Ids(clock).uuid7()
    assert (made.version, made.variant) == (7, UUID(int=2 << 62).variant)
    assert made.int >> 80 == 1_700_000_000_123


@given(st.lists(st.sampled_from([0, 0, 0, 1, 5, -1, -3_600_000, 3_600_000]), max_size=200))
def test_ids_only_grow_also_when_the_clock_steps_back(moves: list[int]) -> None:
    """Reliability 13."""
    clock = MovedClock()
    ids = Ids(clock)
    made = []
    for move in moves:
        clock.ms += move
        made.append(ids.uuid7())
    assert made == sorted(set(made))


def test_more_ids_than_a_millisecond_has_numbers_for_still_grow() -> None:
    ids = Ids(MovedClock())
    made = [ids.uuid7() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert made[-1].int >> 80 <= MovedClock().now_ms() + 3


def test_threads_never_get_the_same_id() -> None:
    ids = Ids(MovedClock())
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ids.uuid7(), range(5_000)))
    assert len(set(made)) == 5_000
