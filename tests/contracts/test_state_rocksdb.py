"""What the embedded state promises besides."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from penstock.core.errors import Damaged, NotReady
from penstock.core.state import Entry, Position
from penstock.core.state.rocksdb import RocksState
from support.damage import flipped
from support.logs import ANSWER_SECONDS
from support.stores import open_state

THREADS, TURNS = 4, 10
VIEW, OTHER, OURS = "tests.view", "tests.other", "penstock.tests"
GROUPS = [b"%03d" % number for number in range(200)]


def test_those_who_make_a_space_at_once_meet_in_it(tmp_path: Path) -> None:
    """As when several projections put aside their first records."""
    together = threading.Barrier(THREADS, timeout=ANSWER_SECONDS)
    with closing(open_state(tmp_path)) as state:

        def put(number: int) -> None:
            for turn in range(TURNS):
                together.wait()
                state.put(f"tests.{turn}", Entry(b"%d" % number, b"", b"1"))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(put, range(THREADS)))
        for turn in range(TURNS):
            found = sorted(entry.group for entry in state.scan(f"tests.{turn}"))
            assert found == [b"%d" % number for number in range(THREADS)]


@pytest.fixture
def spoilt(tmp_path: Path) -> Iterator[RocksState]:
    """A state with a damage in the middle of each of two spaces, and a third that is whole."""
    for upto in (1, 2):
        with closing(open_state(tmp_path)) as state:
            for space in (VIEW, OURS) if upto == 1 else (VIEW, OTHER):
                entries = [Entry(group, b"%02d" % upto, group * 100) for group in GROUPS]
                was = state.position(space, 0)
                state.apply(space, entries, partition=0, was=was, position=Position("a", upto))
        if upto == 1:
            of_first = sorted(tmp_path.glob("state/*.sst"), key=lambda file: -file.stat().st_size)
    for file in of_first[:2]:
        flipped(file)
    with closing(open_state(tmp_path)) as state:
        yield state


def test_a_damaged_file_is_never_the_end_of_a_history(spoilt: RocksState) -> None:
    """Reliability 46: an iterator that meets one stops, as it does where there is no more."""
    told: list[object] = []
    for group in GROUPS:
        try:
            told += spoilt.first(VIEW, [group], 10)
        except Damaged as error:
            told.append(error)
    wrong = [found for found in told if isinstance(found, list) and len(found) != 2]
    assert not wrong
    assert any(isinstance(found, Damaged) for found in told)
    assert spoilt.lacking(VIEW)
    assert len(spoilt.first(OTHER, GROUPS, 10)) == len(GROUPS)


def test_a_damaged_file_is_never_the_end_of_a_scan(spoilt: RocksState) -> None:
    with pytest.raises(Damaged, match=f"penstock rebuild {VIEW} --from-scratch"):
        list(spoilt.scan(VIEW))
    assert len(list(spoilt.scan(OTHER))) == len(GROUPS)


def test_what_no_rebuild_makes_again_names_the_folder(spoilt: RocksState) -> None:
    """Dead letters and what was given up are no views."""
    with pytest.raises(NotReady, match="move its folder away") as caught:
        list(spoilt.scan(OURS))
    assert not isinstance(caught.value, Damaged)
    with pytest.raises(NotReady, match="move its folder away"):
        spoilt.ping()


def test_a_damage_that_compacting_meets_is_told_with_what_mends_it(spoilt: RocksState) -> None:
    """The engine takes nothing from then on, of whatever space."""
    spoilt.compact(VIEW)
    spoilt._compactor.shutdown()
    writes: list[Callable[[], object]] = [
        lambda: spoilt.put(OTHER, Entry(b"a", b"", b"1")),
        lambda: spoilt.put("tests.new", Entry(b"a", b"", b"1")),
        lambda: spoilt.delete(OTHER, GROUPS[0]),
        lambda: spoilt.drop(VIEW),
        lambda: spoilt.swap(OTHER, VIEW),
        spoilt.ping,
    ]
    for write in writes:
        with pytest.raises(NotReady, match="move its folder away"):
            write()
    assert len(spoilt.first(OTHER, GROUPS, 10)) == len(GROUPS), "it is still read"
