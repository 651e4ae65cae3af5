"""Tables of a topic whose records are unique: their positions are elsewhere than the ids."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from penstock.core.projection.repeats import SPACES
from support.folded import Failing
from support.ided import Bench, Views, views
from support.logs import wait_until
from support.notes import Crash, Unreliable, open_unreliable


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Unreliable]:
    with closing(open_unreliable(tmp_path)) as opened:
        yield opened


@pytest.fixture
def bench(tmp_path: Path, warehouse: Unreliable) -> Iterator[Bench]:
    made = Bench(tmp_path, Failing(tmp_path / "state"), warehouse)
    yield made
    made.log.close()
    made.state.close()


def paid(bench: Bench) -> Views:
    of = views()
    assert bench.warehouse is not None
    bench.warehouse.create([of.schema])
    return of


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_kill_between_the_ids_and_the_rows_leaves_each_in_once(
    bench: Bench, warehouse: Unreliable, at: str
) -> None:
    """Whichever of ids, plan and rows was written last; and ids that a state has lost, newest part
    or all, are asked of the log again, with the same outcome.
    """
    of = paid(bench)
    bench.pay(of, "a", "b", "a")
    bench.carry(of.table)
    older = bench.state.position(SPACES + of.topic.name, 0)
    bench.pay(of, "c", "b", "c", "d")
    warehouse.faults = [f"crash {at}"]
    with suppress(Crash):
        bench.carry(of.table)
    assert bench.state.position(SPACES + of.topic.name, 0) != older
    bench.carry(of.table)
    assert bench.rows(of) == [0, 1, 3, 6]
    told = bench.repeats(of)
    bench.pay(of, "d", "e")
    bench.state.drop(SPACES + of.topic.name)
    assert isinstance(bench.state, Failing)
    bench.state.at = at
    with suppress(Crash):
        bench.carry(of.table)
    bench.carry(of.table)
    assert bench.rows(of) == [0, 1, 3, 6, 8]
    assert bench.repeats(of) == {**told, 7: 6}
    rebuilt = bench.rebuild(of.table, of.schema)
    assert (rebuilt.differences, rebuilt.lost, rebuilt.swapped) == ([], [], True)
    assert bench.rows(of) == [0, 1, 3, 6, 8]


def test_what_repeats_a_record_that_the_log_forgot_is_left_out_by_a_rebuild_too(
    bench: Bench,
) -> None:
    """The table has a partition of the even numbers, which the log covers no more, and one of the
    odd ones: in that there is a repeat of what is gone.
    """
    of = paid(bench)
    for name in ("a", "b", "x", "y", "z", "a"):
        bench.pay(of, name)
    cursor = bench.carry(of.table)
    cursor.sink.settle(0)
    bench.log.trim(bench.log.identity(of.topic.name), of.topic.name, 1, 0)
    wait_until(lambda: bench.log.start(of.topic.name, 0) == 1)
    rebuilt = bench.rebuild(of.table, of.schema)
    assert (rebuilt.differences, rebuilt.lost, rebuilt.swapped) == ([], [], True)
    assert len(rebuilt.kept) == 1
    assert bench.rows(of) == [0, 1, 2, 3, 4]


def test_a_table_whose_ids_are_lost_asks_them_in_portions(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its thread may be stopped meanwhile."""
    monkeypatch.setattr("penstock.core.projection.repeats._PORTION_RECORDS", 2)
    of = paid(bench)
    bench.pay(of, "a", "a", "b", "b", "c")
    bench.carry(of.table)
    bench.state.drop(SPACES + of.topic.name)
    bench.pay(of, "c", "d")
    cursor, asked = bench.cursor(of.table), list[int]()
    cursor.begin()
    with closing(bench.log.reader()) as reader:
        while cursor.position < 7:
            assert cursor.due(0.0) == 0
            cursor.advance(reader)
            position = bench.state.position(SPACES + of.topic.name, 0)
            asked.append(0 if position is None else position.next)
    assert asked == [2, 4, 5, 7]
    assert (cursor.failures, bench.rows(of)) == (0, [0, 2, 4, 6])
