"""Rows of a project, or of one subject of it, go when an operator says so, and stay away."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.errors import NotReady
from penstock.core.projection import witness
from penstock.core.projection.deleting import Whose, count, delete, kept_for
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import sink
from penstock.core.state.rocksdb import RocksState
from support import notes
from support.ided import Bench, Views, views
from support.notes import Unreliable, open_unreliable

ODD = "ann's \\ 100% {subject:String}"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Unreliable]:
    with closing(open_unreliable(tmp_path)) as opened:
        yield opened


@pytest.fixture
def bench(tmp_path: Path, warehouse: Unreliable) -> Iterator[Bench]:
    made = Bench(tmp_path, RocksState(tmp_path / "state"), warehouse)
    yield made
    made.log.close()
    made.state.close()


def live(bench: Bench, of: Views) -> Consumer:
    made = sink(of.table, bench.stores)
    return Consumer(of.table, made, bench.log, bench.clock, bench.lines.logger)


def test_rows_of_a_subject_and_of_a_project_go_and_no_start_makes_them_again(
    bench: Bench, warehouse: Unreliable
) -> None:
    """Those of the block that a start would make again are among them. A rebuild does, for the log
    has them.
    """
    of = views()
    warehouse.create([of.schema])
    bench.pay(of, ODD, "bob", "ann")
    bench.pay(of, ODD, "bob", project="shop")
    bench.carry(of.table)
    assert witness.missing(warehouse, bench.state, of.table.table) == ""
    whose = Whose("default", ODD)
    assert count(of.table, warehouse, whose) == 1
    assert delete(live(bench, of), bench.log, warehouse, whose) == 1
    assert bench.rows(of) == [1, 2, 3, 4]
    assert delete(live(bench, of), bench.log, warehouse, Whose("shop")) == 2
    assert count(of.table, warehouse, Whose("default' OR '1")) == 0
    bench.pay(of, "cid")
    bench.carry(of.table)
    assert bench.rows(of) == [1, 2, 5]
    assert warehouse.damage(of.table.table) == warehouse.lacking(of.table.table) == ""
    assert witness.missing(warehouse, bench.state, of.table.table) == ""
    bench.rebuild(of.table, of.schema)
    assert bench.rows(of) == [0, 1, 2, 3, 4, 5]


def test_nothing_goes_while_the_table_is_rebuilt(bench: Bench, warehouse: Unreliable) -> None:
    of = views()
    warehouse.create([of.schema])
    bench.pay(of, "ann")
    bench.carry(of.table)
    consumer = live(bench, of)
    with consumer.rebuilding, pytest.raises(NotReady, match="being rebuilt"):
        delete(consumer, bench.log, warehouse, Whose("default"))
    assert bench.rows(of) == [0]


def test_a_table_says_by_what_it_knows_a_subject_or_keeps_its_rows(warehouse: Unreliable) -> None:
    table, whose = notes.table, Whose("default", "ann")
    assert kept_for(table, warehouse, whose) == "it says of no row whom it is about"
    assert "views" in kept_for(table, warehouse, Whose("default"))
    with pytest.raises(ValueError, match=r"says \{subject:String\}"):
        replace(table, subject="word = 'x'")
