"""What every lease promises, and what one that several processes want has to."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis

from penstock.core.clock import SystemClock
from penstock.core.errors import NotReady
from penstock.core.state.lease import AloneLeases, Leases
from penstock.core.state.redis import RedisState
from services.redis import RedisServer
from support.clock import MovedClock

NAME = "tests.job"
LONG = 60.0
SHORT = 0.05


@pytest.fixture
def state(redis_url: str) -> Iterator[RedisState]:
    with redis.Redis.from_url(redis_url) as admin:
        admin.flushdb()
    with closing(RedisState(redis_url)) as opened:
        yield opened


@pytest.fixture(params=["alone", pytest.param("redis", marks=pytest.mark.services)])
def leases(request: pytest.FixtureRequest) -> Leases:
    if request.param == "alone":
        return AloneLeases(SystemClock())
    found: Leases = request.getfixturevalue("state")
    return found


def acquire(leases: Leases, owner: str = "me", seconds: float = LONG, name: str = NAME) -> int:
    token = leases.acquire(name, owner, seconds)
    assert token is not None
    return token


def test_tokens_grow_with_every_acquisition(leases: Leases) -> None:
    tokens = []
    for _ in range(5):
        tokens.append(acquire(leases))
        leases.release(NAME, "me", tokens[-1])
    tokens += [acquire(leases), acquire(leases)]
    assert tokens == sorted(set(tokens))


def test_an_owner_may_hold_on_until_it_lets_go(leases: Leases) -> None:
    token = acquire(leases)
    assert leases.renew(NAME, "me", token, LONG)
    leases.release(NAME, "me", token)
    assert not leases.renew(NAME, "me", token, LONG)
    leases.release(NAME, "me", token)


def test_a_token_that_was_followed_by_another_holds_nothing(leases: Leases) -> None:
    old, new = acquire(leases), acquire(leases)
    assert not leases.renew(NAME, "me", old, LONG)
    leases.release(NAME, "me", old)
    assert leases.renew(NAME, "me", new, LONG)


def test_leases_of_different_names_do_not_meet(leases: Leases) -> None:
    one, two = acquire(leases), acquire(leases, name="tests.other")
    leases.release(NAME, "me", one)
    assert leases.renew("tests.other", "me", two, LONG)


def test_tokens_of_one_who_is_alone_grow_over_restarts_and_steps_of_the_clock() -> None:
    """Reliability 37."""
    clock = MovedClock()
    leases = AloneLeases(clock)
    first = acquire(leases)
    clock.pass_hours(1)
    assert acquire(AloneLeases(clock)) > first
    clock.step_hours(-10)
    assert acquire(leases) > first


def test_of_two_owners_one_holds_the_lease_until_it_lets_go(state: RedisState) -> None:
    token = acquire(state)
    assert state.acquire(NAME, "other", LONG) is None
    assert not state.renew(NAME, "other", token, LONG)
    state.release(NAME, "other", token)
    assert state.acquire(NAME, "other", LONG) is None
    state.release(NAME, "me", token)
    assert acquire(state, "other") > token


def test_of_many_who_want_it_one_gets_it(state: RedisState) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda n: state.acquire(NAME, f"owner {n}", LONG), range(32)))
    assert len([token for token in tokens if token is not None]) == 1


def test_a_lease_ends_with_its_time_and_its_owner_finds_out(state: RedisState) -> None:
    token = acquire(state, seconds=SHORT)
    time.sleep(2 * SHORT)
    later = acquire(state, "other")
    assert later > token
    assert not state.renew(NAME, "me", token, LONG)
    state.release(NAME, "me", token)
    assert state.renew(NAME, "other", later, LONG)


def test_a_lease_that_is_renewed_outlives_its_first_time(state: RedisState) -> None:
    for seconds in (SHORT, 20 * SHORT, 100 * SHORT):  # a machine may stand still
        token = acquire(state, seconds=seconds)
        if state.renew(NAME, "me", token, LONG):
            break
    time.sleep(2 * seconds)
    assert state.acquire(NAME, "other", LONG) is None


def test_a_lease_survives_a_restart_of_the_server(redis_server: RedisServer) -> None:
    with closing(RedisState(redis_server.url)) as state:
        token = acquire(state)
        redis_server.kill()
        with pytest.raises(NotReady):
            state.renew(NAME, "me", token, LONG)
        redis_server.start()
        assert state.acquire(NAME, "other", LONG) is None
        assert state.renew(NAME, "me", token, LONG)
        state.release(NAME, "me", token)


def test_tokens_grow_even_when_the_server_has_forgotten_everything(
    state: RedisState, redis_url: str
) -> None:
    token = acquire(state)
    with redis.Redis.from_url(redis_url) as admin:
        admin.flushdb()
    assert acquire(state, "other") > token
