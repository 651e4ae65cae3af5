"""The heavy part of a job, in a process of its own."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.core.projection.dead_jobs import DeadJobs
from penstock.core.projection.job import Retry
from support.errands import Asked, Doer, Errands, find, fold
from support.workers import PATHS

HOUR_MS = 3_600_000
pytestmark = pytest.mark.slow  # processes are started


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Errands]:
    with closing(Errands(tmp_path_factory.mktemp("computed"))) as opened:
        yield opened


@pytest.fixture
def bench(shared: Errands, monkeypatch: pytest.MonkeyPatch) -> Iterator[Errands]:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    shared.doer = Doer()
    yield shared
    shared.doer.go.set()


def test_what_was_computed_is_in_the_work_and_another_process_did_it(bench: Errands) -> None:
    folding = fold(compute=find, concurrency=1)
    bench.ask(folding, Asked("a"), Asked("b"))
    bench.settle(bench.owner(folding))
    assert bench.told(folding) == ["done", "found"]
    assert bench.told(folding, "b") == ["done", "found"]
    [first, second] = bench.doer.by
    assert first == second
    assert first not in (0, os.getpid())


def test_what_cannot_be_computed_is_tried_again_and_given_up_with_the_reason(
    bench: Errands,
) -> None:
    """Reliability 18: it kills its process, or fills it; this one goes on, and so do others."""
    expected = {
        "raise": (2, "ValueError: there is none"),
        "half": (2, "ValueError: half \\udcff"),
        "half never": (1, "half \\udcff"),
        "wide": (2, "\u20ac"),
        "leave": (2, "SystemExit: 1"),
        "die": (2, "the process that computed it ended"),
        "fill": (2, "it takes more than"),
        "say never": (1, "there never was one"),
        "much": (1, "bytes were computed; at most"),
    }
    folding = fold(compute=find, concurrency=2, retry=Retry(2, 1.0, 1.0))
    bench.ask(folding, *(Asked(trick, trick=trick) for trick in expected), Asked("well"))
    cursor = bench.settle(bench.owner(folding))
    bench.clock.ms += HOUR_MS
    bench.settle(cursor)
    letters = {letter.key.decode(): letter for letter in DeadJobs(bench.state).all(folding.space)}
    assert {key: letter.attempts for key, letter in letters.items()} == {
        trick: attempts for trick, (attempts, _) in expected.items()
    }
    for trick, (_, why) in expected.items():
        assert why in letters[trick].reason
    assert bench.told(folding, "well") == ["done", "found"]
    assert bench.doer.ran == ["well"]


def test_what_computes_for_ever_is_ended_with_its_attempt(bench: Errands) -> None:
    folding, other = fold(compute=find, seconds_max=1.0, retry=Retry(1)), fold(compute=find)
    bench.ask(folding, Asked("a", trick="compute for ever"))
    bench.settle(bench.owner(folding))
    assert bench.told(folding) == ["failed 1: it took longer than 1 seconds"]
    bench.ask(other, Asked("b"))
    bench.settle(bench.owner(other))
    assert bench.told(other, "b") == ["done", "found"]


def test_what_another_process_cannot_find_is_refused() -> None:
    with pytest.raises(ValueError, match="another process cannot find"):
        fold(compute=lambda work: work)
