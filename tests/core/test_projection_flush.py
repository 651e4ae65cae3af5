"""When a backlog is due, by policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.projection.flush import Backlog, Flush


def a_backlog(records: int = 1, *, size: int = 100, age: float = 0.0, cost: float = 0.0) -> Backlog:
    return Backlog(records=records, bytes=size, age_seconds=age, cost_seconds=cost)


@pytest.mark.parametrize(
    ("flush", "backlog", "wait"),
    [
        (Flush.immediate(), a_backlog(), 0.0),
        (Flush.time(2.0), a_backlog(49_999), 2.0),
        (Flush.time(2.0), a_backlog(50_000), 0.0),
        (Flush.time(2.0), a_backlog(age=0.5), 1.5),
        (Flush.time(2.0), a_backlog(age=2.0), 0.0),
        (Flush.time(2.0), a_backlog(age=99.0), 0.0),
        (Flush.size(100), a_backlog(99), 1.0),
        (Flush.size(100), a_backlog(100), 0.0),
        (Flush.size(100, wait_seconds=5.0), a_backlog(1, age=4.0), 1.0),
        (Flush.hybrid(100, 3.0), a_backlog(99, age=1.0), 2.0),
        (Flush.hybrid(100, 3.0), a_backlog(100), 0.0),
        (Flush.hybrid(100, 3.0), a_backlog(1, age=3.0), 0.0),
        (Flush.memory(1_000), a_backlog(1, size=999), 1.0),
        (Flush.memory(1_000), a_backlog(1, size=1_000), 0.0),
        (Flush.adaptive(share=0.2, wait_seconds=0.5), a_backlog(cost=0.0), 0.0),
        (Flush.adaptive(share=0.2, wait_seconds=0.5), a_backlog(cost=0.02), 0.1),
        (Flush.adaptive(share=0.2, wait_seconds=0.5), a_backlog(cost=0.02, age=0.06), 0.04),
        (Flush.adaptive(share=0.2, wait_seconds=0.5), a_backlog(cost=60.0), 0.5),
    ],
)
def test_a_policy_waits_so_long(flush: Flush, backlog: Backlog, wait: float) -> None:
    assert flush.wait(backlog) == pytest.approx(wait)


policies = st.sampled_from(
    [
        Flush.immediate(),
        Flush.time(2.0),
        Flush.size(100),
        Flush.hybrid(100, 3.0),
        Flush.memory(1_000),
        Flush.adaptive(),
    ]
)
amounts = st.integers(1, 10_000)
times = st.floats(0, 100)


@given(policies, amounts, amounts, times, times)
def test_no_policy_needs_more_events_to_come(
    flush: Flush, records: int, size: int, age: float, cost: float
) -> None:
    """Freshness does not depend on later traffic: the wait ends by itself, and never grows."""
    now = flush.wait(a_backlog(records, size=size, age=age, cost=cost))
    later = flush.wait(a_backlog(records, size=size, age=age + now, cost=cost))
    assert 0.0 <= now <= flush.wait_seconds
    assert later == pytest.approx(0.0, abs=1e-9)
