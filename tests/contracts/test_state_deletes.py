"""What a state forgets goes in the same write as what it learns."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis

from contracts.test_state import LOG, SPACE, apply, everything, opening, plain
from penstock.core.errors import Moved
from penstock.core.state import Entry, Place, Position, State


@pytest.fixture(params=["rocksdb", pytest.param("redis", marks=pytest.mark.services)])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    url = f"rocksdb://{tmp_path}/state"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        redis.Redis.from_url(url).flushdb()
    with closing(opening(url)) as opened:
        yield opened


def test_what_is_deleted_goes_with_what_is_written_and_the_rest_stays(state: State) -> None:
    apply(state, plain(b"a", b"1"), plain(b"b", b"2"), Entry(b"c", b"x", b"3"))
    for group in (b"a", b"z"):
        state.put("tests.other", plain(group, b"9"))
    gone = [Place(SPACE, b"a"), Place(SPACE, b"c", b"none"), Place("tests.other", b"z")]
    gone += [Place(SPACE, b"never"), Place("tests.nowhere", b"a")]
    for was in (Position(LOG, 9), Position(LOG, 1)):
        with suppress(Moved):  # refused, it deletes nothing: the next is to
            more = [plain(b"d", b"4")]
            state.apply(SPACE, more, partition=0, was=was, position=Position(LOG, 2), deletes=gone)
        refused = was.next == 9
        assert (plain(b"a", b"1") in everything(state)) is refused
    assert everything(state) == [plain(b"b", b"2"), Entry(b"c", b"x", b"3"), plain(b"d", b"4")]
    assert everything(state, "tests.other") == [plain(b"a", b"9")]
    assert state.lacking(SPACE) == "", "what was deleted is not missed"
