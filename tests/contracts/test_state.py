"""What every keyed state promises to indexes."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.engines import open_state
from penstock.core.errors import Misconfigured, Moved
from penstock.core.settings import Settings
from penstock.core.state import Entry, Position, State, Trim
from support.logs import wait_until

SPACE = "tests.space"
LOG = "a-log"


@pytest.fixture(params=["rocksdb", pytest.param("redis", marks=pytest.mark.services)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty state."""
    if request.param == "rocksdb":
        return f"rocksdb://{tmp_path}/state"
    found: str = request.getfixturevalue("redis_url")
    redis.Redis.from_url(found).flushdb()
    return found


@pytest.fixture
def state(url: str) -> Iterator[State]:
    opened = opening(url)
    yield opened
    opened.close()


def opening(url: str) -> State:
    return open_state(Settings(state=url))


def apply(
    state: State, *entries: Entry, upto: int = 1, space: str = SPACE, trims: Sequence[Trim] = ()
) -> None:
    state.apply(
        space,
        entries,
        partition=0,
        was=state.position(space, 0),
        position=Position(LOG, upto),
        trims=trims,
    )


def plain(group: bytes, value: bytes) -> Entry:
    return Entry(group, b"", value)


def everything(state: State, space: str = SPACE) -> list[Entry]:
    return list(state.scan(space))


def test_a_space_that_was_never_written_is_empty(state: State) -> None:
    assert state.position(SPACE, 0) is None
    assert state.first(SPACE, [b"g"], 10) == [[]]
    assert state.get_many(SPACE, [b"g", b"h"]) == [None, None]
    assert everything(state) == []
    state.delete(SPACE, b"g")
    state.drop(SPACE)


def test_entries_and_position_are_there_after_they_were_applied(state: State) -> None:
    apply(state, plain(b"a", b"1"), plain(b"b", b"2"), upto=7)
    assert state.position(SPACE, 0) == Position(LOG, 7)
    assert state.position(SPACE, 1) is None
    assert state.get_many(SPACE, [b"b", b"none", b"a", b"b"]) == [b"2", None, b"1", b"2"]
    assert state.get_many(SPACE, []) == []


def test_an_application_of_the_same_changes_nothing(state: State) -> None:
    for _ in range(3):
        apply(state, plain(b"a", b"1"), Entry(b"h", b"s", b"2"), upto=7)
    assert everything(state) == [plain(b"a", b"1"), Entry(b"h", b"s", b"2")]
    assert state.position(SPACE, 0) == Position(LOG, 7)


def test_a_position_moves_without_entries(state: State) -> None:
    apply(state, upto=5)
    assert state.position(SPACE, 0) == Position(LOG, 5)
    assert everything(state) == []


def test_partitions_keep_positions_of_their_own(state: State) -> None:
    state.apply(SPACE, [], partition=0, was=None, position=Position(LOG, 5))
    state.apply(SPACE, [], partition=3, was=None, position=Position("other", 9))
    assert state.position(SPACE, 0) == Position(LOG, 5)
    assert state.position(SPACE, 3) == Position("other", 9)


def big_entries(seed: int) -> list[Entry]:
    """20 MB that do not compress."""
    noise = random.Random(seed)
    return [plain(b"%04d" % n, noise.randbytes(10_000)) for n in range(2_000)]


def test_compacting_changes_nothing_that_is_read(state: State) -> None:
    state.compact(SPACE)
    for upto in (1, 2):
        apply(state, *(Entry(b"h", b"%03d" % n, b"%d" % upto) for n in range(100)), upto=upto)
    state.compact(SPACE)
    apply(state, plain(b"a", b"1"), upto=3, trims=[Trim(b"h", 40)])
    state.compact(SPACE)
    kept = [(b"%03d" % n, b"2") for n in range(40)]
    assert state.first(SPACE, [b"h", b"a"], 1_000) == [kept, [(b"", b"1")]]
    assert state.position(SPACE, 0) == Position(LOG, 3)


def test_compacting_an_embedded_store_leaves_nothing_that_was_overwritten(tmp_path: Path) -> None:
    def tables() -> int:
        found = 0
        for file in tmp_path.glob("state/*.sst"):
            with suppress(FileNotFoundError):  # it was compacted away since it was listed
                found += file.stat().st_size
        return found

    with closing(opening(f"rocksdb://{tmp_path}/state")) as state:
        for upto in (1, 2, 3):
            apply(state, *big_entries(upto), upto=upto)
        state.compact(SPACE)
        wait_until(lambda: 20_000_000 < tables() < 25_000_000)
        assert everything(state) == big_entries(3)


def test_an_embedded_store_may_be_closed_while_it_compacts(tmp_path: Path) -> None:
    for upto in (1, 2, 3):
        with closing(opening(f"rocksdb://{tmp_path}/state")) as state:
            apply(state, *big_entries(upto), upto=upto)
            state.compact("another.space")
            state.compact(SPACE)
            time.sleep(0.02 * upto)  # more or less of it is done
        assert "penstock-compact" not in " ".join(t.name for t in threading.enumerate())
        with closing(opening(f"rocksdb://{tmp_path}/state")) as state:
            assert everything(state) == big_entries(upto)


def test_an_embedded_space_may_be_dropped_while_it_is_compacted(tmp_path: Path) -> None:
    with closing(opening(f"rocksdb://{tmp_path}/state")) as state:
        apply(state, *big_entries(1))
        state.compact(SPACE)
        time.sleep(0.02)  # time to begin; one that has not must find nothing to do
        state.drop(SPACE)
        assert everything(state) == []
        apply(state, plain(b"a", b"1"))
        state.compact(SPACE)
        assert everything(state) == [plain(b"a", b"1")]


@pytest.mark.parametrize("was", [None, Position(LOG, 4), Position("other", 5)])
def test_a_writer_who_does_not_know_the_position_changes_nothing(
    state: State, was: Position | None
) -> None:
    apply(state, plain(b"a", b"1"), upto=5)
    with pytest.raises(Moved, match=SPACE):
        state.apply(
            SPACE,
            [plain(b"a", b"2"), plain(b"b", b"2")],
            partition=0,
            was=was,
            position=Position(LOG, 6),
            trims=[Trim(b"a", 0)],
        )
    assert everything(state) == [plain(b"a", b"1")]
    assert state.position(SPACE, 0) == Position(LOG, 5)


def test_a_writer_of_a_space_that_is_gone_changes_nothing(state: State) -> None:
    apply(state, plain(b"a", b"1"), upto=5)
    state.drop(SPACE)
    with pytest.raises(Moved):
        state.apply(
            SPACE,
            [plain(b"a", b"2")],
            partition=0,
            was=Position(LOG, 5),
            position=Position(LOG, 6),
        )
    assert everything(state) == []
    assert state.position(SPACE, 0) is None


def test_a_history_is_read_from_its_first_entry_on(state: State) -> None:
    apply(state, *(Entry(b"g", bytes([n]), b"%d" % n) for n in (5, 1, 3, 2, 4)))
    history = [(bytes([n]), b"%d" % n) for n in range(1, 6)]
    assert state.first(SPACE, [b"g"], 3) == [history[:3]]
    assert state.first(SPACE, [b"g", b"none"], 100) == [history, []]
    assert state.first(SPACE, [b"g"], 0) == [[]]
    assert state.first(SPACE, [b"g", b"none"], 2, b"\x02") == [history[1:3], []]
    assert state.first(SPACE, [b"g"], 2, b"\x05\x00") == [[]]


def test_a_trim_keeps_the_first_and_forgets_the_rest_of_its_group_only(state: State) -> None:
    entries = [Entry(group, bytes([n]), b"") for group in (b"f", b"g", b"gg") for n in range(10)]
    apply(state, *entries, trims=[Trim(b"g", 4), Trim(b"x", 1)])
    kept = [(entry.group, entry.sort[0]) for entry in everything(state)]
    assert [sort for group, sort in kept if group == b"g"] == [0, 1, 2, 3]
    assert [sort for group, sort in kept if group != b"g"] == [*range(10), *range(10)]


def test_single_entries_are_put_and_deleted(state: State) -> None:
    state.put(SPACE, Entry(b"g", b"1", b"a"))
    state.put(SPACE, Entry(b"g", b"2", b"b"))
    state.put(SPACE, Entry(b"g", b"2", b"c"))
    state.delete(SPACE, b"g", b"1")
    state.delete(SPACE, b"g", b"none")
    assert everything(state) == [Entry(b"g", b"2", b"c")]
    assert state.position(SPACE, 0) is None


def test_spaces_do_not_meet(state: State) -> None:
    apply(state, plain(b"a", b"1"), space="tests.one", upto=1)
    apply(state, plain(b"a", b"2"), space="tests.one.more", upto=2)
    state.drop("tests.one")
    assert state.get_many("tests.one", [b"a"]) == [None]
    assert state.position("tests.one", 0) is None
    assert state.get_many("tests.one.more", [b"a"]) == [b"2"]
    assert state.position("tests.one.more", 0) == Position(LOG, 2)
    assert state.spaces() == ["tests.one.more"]


def test_a_dropped_space_can_be_filled_again(state: State) -> None:
    apply(state, plain(b"a", b"1"), plain(b"b", b"1"), upto=9)
    state.drop(SPACE)
    assert state.position(SPACE, 0) is None
    apply(state, plain(b"a", b"2"), upto=1)
    assert everything(state) == [plain(b"a", b"2")]
    assert state.position(SPACE, 0) == Position(LOG, 1)


def test_a_swap_puts_the_shadow_with_its_position_in_the_place_of_the_space(state: State) -> None:
    shadow = SPACE + "__shadow"
    for turn in range(3):  # a space is rebuilt more than once
        apply(state, plain(b"old", b"%d" % turn), upto=100 + turn)
        apply(state, plain(b"new", b"%d" % turn), space=shadow, upto=turn)
        state.swap(shadow, SPACE)
        assert everything(state) == [plain(b"new", b"%d" % turn)]
        assert state.position(SPACE, 0) == Position(LOG, turn)
        assert everything(state, shadow) == []
        assert state.position(shadow, 0) is None
        assert state.spaces() == [SPACE]


def test_a_space_swapped_for_an_empty_one_lives_on_by_itself(state: State) -> None:
    shadow = SPACE + "__shadow"
    apply(state, plain(b"old", b"1"))
    state.swap(shadow, SPACE)
    assert everything(state) == []
    assert state.position(SPACE, 0) is None
    apply(state, plain(b"new", b"1"), upto=3)
    state.drop(shadow)
    assert everything(state) == [plain(b"new", b"1")]
    assert state.position(SPACE, 0) == Position(LOG, 3)


def test_spaces_of_equal_contents_scan_alike(state: State) -> None:
    """A rebuild is compared in one pass; scans of other contents need not be in any order."""
    entries = [Entry(b"%d" % group, b"%d" % n, b"") for group in range(300) for n in range(3)]
    apply(state, *entries)
    for start in range(900, -1, -90):
        apply(state, *entries[start : start + 90], upto=start, space="tests.other")
    assert everything(state) == everything(state, "tests.other")
    assert sorted(everything(state)) == sorted(entries)


def test_everything_is_there_after_a_reopening(url: str) -> None:
    state = opening(url)
    apply(state, plain(b"a", b"1"), upto=3, space="tests.kept")
    apply(state, plain(b"a", b"2"), upto=4, space="tests.shadow")
    apply(state, plain(b"a", b"3"), upto=5, space="tests.swapped")
    apply(state, plain(b"a", b"4"), upto=6, space="tests.dropped")
    state.swap("tests.shadow", "tests.swapped")
    state.drop("tests.dropped")
    state.close()
    state = opening(url)
    try:
        assert everything(state, "tests.kept") == [plain(b"a", b"1")]
        assert state.position("tests.kept", 0) == Position(LOG, 3)
        assert everything(state, "tests.swapped") == [plain(b"a", b"2")]
        assert state.position("tests.swapped", 0) == Position(LOG, 4)
        assert everything(state, "tests.dropped") == []
        assert state.position("tests.dropped", 0) is None
        assert state.spaces() == ["tests.kept", "tests.swapped"]
        assert state.bytes_on_disk() > 0
    finally:
        state.close()


def test_an_embedded_store_that_is_open_already_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Reliability 39."""
    url = f"rocksdb://{tmp_path}/state"
    with closing(opening(url)), pytest.raises(Misconfigured, match="no other process has it"):
        opening(url)


groups = st.one_of(
    st.sampled_from([b"a", b"aa", b"ab", b"\x00", b"\x00\x00", b"\xff", b"\xff\xff", b"a\xff"]),
    st.binary(min_size=1, max_size=300),
)
sorts = st.one_of(st.just(b""), st.binary(max_size=20))


@settings(
    max_examples=30,
    # Each example drops the space.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.tuples(groups, sorts, st.binary(max_size=8)), max_size=40),
    st.integers(0, 5),
    st.data(),
)
def test_groups_of_any_bytes_never_meet(
    state: State, written: list[tuple[bytes, bytes, bytes]], keep: int, data: st.DataObject
) -> None:
    """Also groups that begin like others."""
    state.drop(SPACE)
    model: dict[bytes, dict[bytes, bytes]] = {}
    for group, sort, value in written:
        model.setdefault(group, {})[sort] = value
    apply(state, *(Entry(*entry) for entry in written))
    if model:
        trimmed = data.draw(st.sampled_from(sorted(model)))
        model[trimmed] = dict(sorted(model[trimmed].items())[:keep])
        apply(state, upto=2, trims=[Trim(trimmed, keep)])
    for group, entries in model.items():
        assert state.first(SPACE, [group], 100) == [sorted(entries.items())]
        assert state.get_many(SPACE, [group]) == [entries.get(b"")]
    assert sorted(everything(state)) == sorted(
        Entry(group, sort, value)
        for group, entries in model.items()
        for sort, value in entries.items()
    )


_WRITER = """
import sys
from penstock.core.engines import open_state
from penstock.core.settings import Settings
from penstock.core.state import Entry, Position

state = open_state(Settings(state=sys.argv[1]))
was = state.position("tests.space", 0)
while True:
    position = Position("a-log", was.next + 1 if was else 1)
    entries = [Entry(b"%d" % k, b"%08d" % position.next, b"") for k in range(5)]
    state.apply("tests.space", entries, partition=0, was=was, position=position)
    was = position
    print(position.next, flush=True)
"""


def test_a_killed_writer_leaves_entries_and_position_in_step(url: str) -> None:
    """Reliability 9."""
    applied = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, url],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        told = writer.communicate()[0].split()
        applied = max([applied, *(int(n) for n in told[:-1])])
        state = opening(url)
        position = state.position(SPACE, 0)
        assert position is not None
        assert position.next >= applied
        sorted_keys = [b"%08d" % n for n in range(1, position.next + 1)]
        found: dict[bytes, list[bytes]] = {}
        for entry in state.scan(SPACE):
            found.setdefault(entry.group, []).append(entry.sort)
        assert found == {b"%d" % k: sorted_keys for k in range(5)}
        state.close()
