"""A Redis that forgets while it runs is noticed, not taken for an empty one (reliability 51)."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.core.errors import NotReady
from penstock.core.state.redis import RedisState
from services.redis import RedisServer
from support.redis_state import SPACE, client, configured, move, plain


@pytest.fixture
def url(redis_url: str) -> str:
    with client(redis_url) as admin:
        admin.flushdb()
    return redis_url


@pytest.fixture
def state(url: str) -> Iterator[RedisState]:
    with closing(RedisState(url)) as opened:
        yield opened


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    with client(redis_server.url) as admin:
        admin.flushdb()
    return redis_server


def test_a_flush_is_noticed_by_the_next_question_and_by_where_the_space_is(
    state: RedisState, url: str
) -> None:
    """Until its projection has seen it too: then it is made again (reliability 51)."""
    move(state, plain(b"a", b"1"))
    assert state.first(SPACE, [b"a"], 9) == [[(b"", b"1")]]
    with client(url) as admin:
        admin.flushall()
    for _ in range(2):
        with pytest.raises(NotReady, match="is gone from the state"):
            state.first(SPACE, [b"a"], 9)
    assert state.position(SPACE, 0) is None
    with pytest.raises(NotReady, match="is gone from the state"):
        state.first(SPACE, [b"a"], 9)
    move(state, plain(b"a", b"2"))
    with pytest.raises(NotReady, match="or was made again"):
        state.first(SPACE, [b"a"], 9)
    assert state.position(SPACE, 0) is not None
    assert state.first(SPACE, [b"a"], 9) == [[(b"", b"2")]]


def test_what_another_process_made_again_answers_once_its_position_was_looked_at(
    state: RedisState, url: str
) -> None:
    """It may hold less than there was."""
    move(state, plain(b"a", b"1"))
    with closing(RedisState(url)) as asking:
        assert asking.first(SPACE, [b"a"], 9) == [[(b"", b"1")]]
        with client(url) as admin:
            admin.flushall()
        move(state, plain(b"b", b"2"))
        with pytest.raises(NotReady, match="or was made again"):
            asking.first(SPACE, [b"a"], 9)
        assert asking.position(SPACE, 0) is not None
        assert asking.first(SPACE, [b"a"], 9) == [[]]


def test_what_was_nowhere_and_what_is_no_view_may_be_made_by_others(
    state: RedisState, url: str
) -> None:
    """Dead letters are: a process that looked for some is told of those that another one parks."""
    for space in (SPACE, "penstock.letters"):
        with closing(RedisState(url)) as asking:
            assert asking.first(space, [b"a"], 9) == [[]]
            move(state, plain(b"a", b"1"), space=space)
            assert asking.first(space, [b"a"], 9) == [[(b"", b"1")]]
    with closing(RedisState(url)) as asking:
        assert asking.first("penstock.letters", [b"a"], 9) == [[(b"", b"1")]]
        state.drop("penstock.letters")
        assert asking.first("penstock.letters", [b"a"], 9) == [[]]


def test_keys_that_are_gone_are_missed(state: RedisState, url: str) -> None:
    move(state, *(plain(b"%d" % n, b"") for n in range(300)))
    assert state.lacking(SPACE) == ""
    with client(url) as admin:
        groups = admin.keys("*:=*")
        admin.delete(*groups[::3])
        assert "has lost " in state.lacking(SPACE)
        assert state.lacking("tests.other") == ""
        admin.delete(*admin.keys("penstock:????????????????????????????????"))
    assert state.lacking(SPACE) == "the state has lost the names of its keys"
    state.drop(SPACE)
    assert state.lacking(SPACE) == ""


def test_evictions_are_noticed_whatever_was_evicted(server: RedisServer) -> None:
    """Also the few keys that no sample would find; and what is made anew has lost none."""
    with closing(RedisState(server.url)) as state, client(server.url) as admin:
        move(state, plain(b"a", b"1"))
        move(state, plain(b"a", b"1"), space="tests.made_anew")
        state.ping()
        used = int(admin.info("memory")["used_memory"])
        with configured(
            server.url, maxmemory_policy="volatile-lru", maxmemory=str(used + 3_000_000)
        ):
            with pytest.raises(NotReady, match="forgets when its memory is full"):
                state.ping()
            assert state.lacking(SPACE) == ""
            for n in range(10):
                admin.set(f"somebody's:{n}", bytes(1_000_000), ex=1_000)
            assert state.lacking(SPACE) == "the state has evicted keys"
        state.ping()
        assert state.lacking(SPACE) == "the state has evicted keys", "what is lost stays lost"
        state.drop("tests.made_anew")
        move(state, plain(b"a", b"1"), space="tests.made_anew")
        assert state.lacking("tests.made_anew") == ""
