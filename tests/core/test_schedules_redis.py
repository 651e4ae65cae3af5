"""Schedules whose state and lease are on a Redis, as several processes share it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from penstock.core.state.redis import RedisState
from support.scheduled import Bench, Work, results, schedule


@pytest.fixture
def bench(tmp_path: Path, redis_url: str) -> Iterator[Bench]:
    with redis.Redis.from_url(redis_url) as admin:
        admin.flushdb()
    made = Bench(tmp_path, lambda _: RedisState(redis_url))
    assert isinstance(made.state, RedisState)
    made.leases = made.state
    yield made
    made.close()


def test_of_two_processes_one_leads_and_the_other_goes_on_where_it_was(bench: Bench) -> None:
    one, two = Work(), Work()
    leader, heir = bench.process(schedule(one)), bench.process(schedule(two), owner="two")
    bench.pass_hours(1, leader, heir)
    leader.stop()
    bench.pass_hours(1, heir)
    bench.wish(1)
    heir.turn()
    assert (one.runs, two.runs) == ([(1, 1)], [(2, 1), (1, 1)])
    assert two.tokens[0] > one.tokens[0]
    assert bench.stated() == [1, 2]
    assert results(bench) == [(1, "succeeded"), (2, "succeeded"), (1, "succeeded")]


def test_who_was_replaced_without_being_told_writes_nothing(bench: Bench) -> None:
    one, two = Work(), Work()
    leader = bench.process(schedule(one))
    bench.pass_seconds(3_598, leader)
    token = leader.leading._token
    assert token is not None
    bench.leases.release("schedules tests", "one", token)
    heir = bench.process(schedule(two), owner="two")
    bench.pass_seconds(2)
    leader.begin()
    assert not leader.leading.leads
    heir.turn()
    assert (one.runs, two.runs) == ([], [(1, 1)])
