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


def test_the_group_without_a_name_is_read_from_anywhere_on_in_order(state: State) -> None:
    """It may be large, and is changed in every write: what is due waits there."""
    sorts = [b"t\x00%b" % n.to_bytes(2) for n in range(3_000)]
    apply(state, *(Entry(b"", sort, sort + b"v") for sort in reversed(sorts)))
    apply(state, Entry(b"", b"j", b"other"), plain(b"a", b"1"), upto=2)
    assert state.first(SPACE, [b""], 2) == [[(b"j", b"other"), (sorts[0], sorts[0] + b"v")]]
    gone = [Place(SPACE, b"", sort) for sort in sorts[5:2_990]]
    again = [Entry(b"", sorts[4], b"again")]
    was = Position(LOG, 2)
    state.apply(SPACE, again, partition=0, was=was, position=Position(LOG, 3), deletes=gone)
    [found] = state.first(SPACE, [b""], 3, sorts[3] + b"\x00")
    assert found == [(sorts[4], b"again"), *((sort, sort + b"v") for sort in sorts[2_990:2_992])]
    assert [*map(len, state.first(SPACE, [b"", b"a", b"z"], 100, b"t"))] == [15, 0, 0]
    rest = [Place(SPACE, b"", entry.sort) for entry in everything(state) if not entry.group]
    was = Position(LOG, 3)
    state.apply(SPACE, [], partition=0, was=was, position=Position(LOG, 4), deletes=rest)
    assert state.first(SPACE, [b""], 10) == [[]]
    assert everything(state) == [plain(b"a", b"1")]
    assert state.lacking(SPACE) == ""
