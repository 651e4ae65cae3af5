"""Mirrors that are made again, from the log with their folds, or from the states."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from penstock.core.projection import Fold, Step
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.mirroring import Mirroring
from penstock.core.projection.rebuild import Rebuild
from penstock.core.projection.refilling import Refill
from penstock.core.projection.runner import Consumer
from penstock.core.projection.shadows import Rebuilt
from support.mirrored import Held, Mirrored, Put, declaration, kept
from support.notes import Crash

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    with closing(Mirrored(tmp_path_factory.mktemp("mirrors"))) as opened:
        yield opened


def fresh(bench: Mirrored, **more: Any) -> tuple[Fold[Any, Any], FoldCursor]:
    fold = kept(**more)
    return fold, bench.open(fold)


def mirroring_of(cursor: FoldCursor) -> Mirroring:
    return cursor.sink.mirrorings[0]


def rebuilt(bench: Mirrored, fold: Fold[Any, Any], **how: bool) -> Rebuilt:
    live = Consumer(fold, FoldSink(fold, bench.stores), bench.log, bench.clock, bench.lines.logger)
    work = Rebuild(live, bench.stores, bench.log, bench.clock, bench.lines.logger)
    return work.run(declaration(fold), lambda *_: None, **how)


def test_a_mirror_is_rebuilt_with_its_fold_and_compared(bench: Mirrored) -> None:
    fold, cursor = fresh(bench)
    assert fold.mirror is not None
    bench.say(fold, Put("a", 1), Put("b", 2), Put("c", 1, bench.clock.ms + HOUR_MS), Put("d", 0))
    bench.settle(cursor)
    bench.clock.pass_hours(2)
    assert rebuilt(bench, fold, swap=False).differences == []
    line = "(0, 'default', 'b', 99, 'x', 1000000, 0)"
    bench.warehouse.command(f"INSERT INTO {fold.mirror.table} VALUES {line}")
    found = rebuilt(bench, fold)
    assert len(found.differences) == 2
    assert found.swapped
    assert bench.shown(fold) == bench.expected(fold)
    cursor = bench.settle(bench.owner(fold))
    bench.fill(cursor)
    assert cursor.sink.mirrorings[0].table.rows == 0
    bench.say(fold, Put("a", 5))
    bench.settle(cursor)
    bench.fill(cursor)
    assert bench.shown(fold) == bench.expected(fold)


def test_a_mirror_is_made_again_from_the_states_and_compared(bench: Mirrored) -> None:
    """Also without the log: what was marked and not written yet is in both."""
    fold, cursor = fresh(bench)
    assert fold.mirror is not None
    bench.say(fold, Put("a", 1), Put("b", 2), Put("c", 1, bench.clock.ms + HOUR_MS))
    bench.settle(cursor)
    bench.fill(cursor)
    bench.say(fold, Put("a", 3))
    bench.settle(cursor)
    bench.clock.pass_hours(2)

    def refilled(**how: bool) -> Rebuilt:
        live = Consumer(
            fold, FoldSink(fold, bench.stores), bench.log, bench.clock, bench.lines.logger
        )
        work = Refill(live, bench.stores, bench.log, None)
        with closing(bench.log.reader()) as reader:
            return work.run(declaration(fold), reader, **how)

    assert refilled(compare=True, swap=False).differences == []
    line = "(0, 'default', 'stranger', 99, 'x', 1000000, 0)"
    bench.warehouse.command(f"INSERT INTO {fold.mirror.table} VALUES {line}")
    found = refilled(compare=True, swap=True)
    assert (len(found.differences), found.swapped) == (1, True)
    assert bench.shown(fold) == bench.expected(fold)
    cursor = bench.settle(bench.owner(fold))
    bench.fill(cursor)
    assert mirroring_of(cursor).table.rows == 0
    bench.say(fold, Put("b", 5))
    bench.settle(cursor)
    bench.fill(cursor)
    assert bench.shown(fold) == bench.expected(fold)


def test_a_rebuild_that_dies_between_state_and_table_is_ended_by_the_next_start(
    bench: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 47. With other rows than before of the same records."""
    fold, cursor = fresh(bench)
    bench.say(fold, Put("a", 1), Put("b", 2))
    bench.settle(cursor)
    bench.fill(cursor)
    other = replace(
        fold, step=lambda held, record: Step(Held(record.event.amount, held.word + "y"))
    )

    def die(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(bench.warehouse, "exchange", die)
        with pytest.raises(Crash):
            rebuilt(bench, other, compare=False)
    cursor = bench.settle(bench.owner(other))
    bench.fill(cursor)
    assert bench.shown(other) == {("default", "a"): (1, "y"), ("default", "b"): (2, "y")}
    assert bench.shown(other) == bench.expected(other)
    assert bench.torn(other) == []
