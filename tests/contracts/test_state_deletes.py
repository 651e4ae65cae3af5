"""What a state forgets goes in the same write as what it learns."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis

from contracts.test_state import LOG, SPACE, apply, everything, opening, plain
from penstock.core.errors import Moved
from penstock.core.state import Entry, Place, Position, State, Trim


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


def test_values_are_found_by_group_and_sort_and_a_group_goes_whole(state: State) -> None:
    assert state.values(SPACE, [b"g", b"h"], [b"a", b"b"]) == [[None, None], [None, None]]
    apply(state, Entry(b"g", b"a", b"1"), Entry(b"g", b"", b"2"), Entry(b"h", b"b", b""))
    assert state.values(SPACE, [b"h", b"g"], [b"b", b"", b"a"]) == [[b"", None, None],
                                                                    [None, b"2", b"1"]]  # fmt: skip
    assert (state.values(SPACE, [], [b"a"]), state.values(SPACE, [b"g"], [])) == ([], [[]])
    apply(state, upto=2, trims=[Trim(b"g", 0), Trim(b"none", 0)])
    assert everything(state) == [Entry(b"h", b"b", b"")]
    assert state.lacking(SPACE) == "", "what was trimmed is not missed"


def test_of_two_who_go_on_from_one_position_the_later_is_refused(state: State) -> None:
    """Though both had looked before either wrote."""
    apply(state, upto=1)

    def meanwhile() -> Iterator[Entry]:
        apply(state, plain(b"a", b"1"), upto=2)
        yield plain(b"a", b"2")

    was, to = Position(LOG, 1), Position(LOG, 3)
    with pytest.raises(Moved):
        state.apply(SPACE, meanwhile(), partition=0, was=was, position=to)
    assert everything(state) == [plain(b"a", b"1")]
    assert state.position(SPACE, 0) == Position(LOG, 2)
