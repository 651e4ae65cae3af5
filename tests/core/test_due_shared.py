"""Timers and jobs on brokers and Redis: each comes once, at whatever point somebody dies.

The points are where the test puts them: between the result of a job and its note, between what is
said of it and what is heard, and where one partition has its part of what it returned and the other
has not.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock.core.log import partition_of
from penstock.core.projection import Elapsed, Fold
from penstock.core.projection.deciding import FoldCursor
from services.kafka import Kafka
from support import alarms, errands
from support.alarms import Set
from support.errands import Asked, Sent
from support.logs import patiently, wait_until
from support.shared import PARTITIONS, Shared

Opening = Callable[[Fold[Any, Any]], Shared]


@pytest.fixture
def opening(kafka: Kafka, redis_url: str, tmp_path: Path) -> Iterator[Opening]:
    opened: list[Shared] = []

    def open_for(fold: Fold[Any, Any]) -> Shared:
        opened.append(Shared(kafka, redis_url, tmp_path, [fold]))
        return opened[-1]

    yield open_for
    for one in opened:
        one.close()


KEYS = "abcdef"
HERE = next(key for key in KEYS if partition_of(key.encode(), PARTITIONS) == 0)


def finished(bench: Shared, fold: Fold[Any, Any]) -> list[FoldCursor]:
    """All that is due of every partition, by processes that begin anew."""
    cursors = [bench.owner(fold, partition=partition) for partition in range(PARTITIONS)]
    for cursor in (*cursors, *cursors):  # what a job returns may be of another partition
        bench.settle(cursor)
    return cursors


def await_idle(cursor: FoldCursor) -> None:
    """What it has begun has ended; it has noted nothing of that."""
    doing = cursor.sink.doing(cursor.partition)
    wait_until(lambda: doing.has_ended or not doing.queue.busy)


def check_errands(bench: Shared, fold: Fold[Any, Any], keys: str = KEYS) -> None:
    """Every job has ended once, and what it returned is there once."""
    ended = Counter(event.key for event in bench.ended(fold))
    assert ended == dict.fromkeys((key.encode() for key in keys), 1)
    sent = Counter((e.key, e.what) for e in bench.events(fold.topic) if isinstance(e, Sent))
    assert sent == dict.fromkeys(
        [(key, "it") for key in keys] + [(x, f"of {key}") for key in keys for x in "xyz"], 1
    )
    for key in keys:
        assert bench.told(fold, key) == ["done", "it"]
    for key in "xyz":
        assert sorted(bench.told(fold, key)) == [f"of {of}" for of in keys]
    assert [one for one in bench.state.scan(fold.space) if one.sort[:1] == b"j"] == []


def test_a_job_ends_once_wherever_its_process_does(opening: Opening) -> None:
    """Reliability 4, 6 and 8."""
    folding = errands.fold()
    bench = opening(folding)
    bench.ask(folding, *(Asked(key, trick="many") for key in KEYS))
    for at, half in (("result", None), ("before", None), ("", 0), ("", 1), ("after", None)):
        for partition in range(PARTITIONS):
            cursor = bench.owner(folding, partition=partition)
            bench.doer.go.clear()
            bench.carry_on(cursor)
            bench.doer.go.set()
            await_idle(cursor)
            if at != "result":  # else nobody ever notes how they ended
                bench.state.at, bench.log.half = at, half
                bench.killed(partial(bench.carry_on, cursor))
    finished(bench, folding)
    check_errands(bench, folding)


def test_of_two_that_did_the_same_job_one_is_heard(opening: Opening) -> None:
    """Both have a result, and both say so before either hears the other. Reliability 14."""
    folding = errands.fold()
    bench = opening(folding)
    bench.ask(folding, Asked(HERE, trick="many"))
    both = [bench.owner(folding), bench.owner(folding)]
    for cursor in both:
        bench.carry_on(cursor)
    bench.doer.go.set()
    for cursor in both:
        await_idle(cursor)
        cursor.sink.doing(0).settle(bench.clock)
    for cursor in both:
        assert patiently(partial(cursor.sink.say_due, 0, bench.clock.ms))
    bench.carry_on(both[1])
    finished(bench, folding)
    check_errands(bench, folding, HERE)
    assert bench.doer.ran == [HERE, HERE]


def test_a_timer_comes_once_whoever_says_it(opening: Opening) -> None:
    """One says that it has come, and dies before it hears that; two say it at once; and what is
    heard in the midst of it goes on. Reliability 4 and 14.
    """
    folding = alarms.fold()
    bench = opening(folding)
    now_ms = bench.clock.ms
    bench.say(folding, *(Set(key, str(n), now_ms + n) for key in KEYS for n in range(1, 4)))
    finished(bench, folding)
    for n in (1, 2, 3):
        bench.clock.ms = now_ms + n
        bench.clock.seconds += 60
        owners = [bench.owner(folding), bench.owner(folding)]
        with closing(bench.log.reader()) as reader:
            for owner in owners:
                patiently(partial(owner.resume, reader))
        for owner in owners:
            patiently(partial(owner.sink.say_due, 0, bench.clock.ms))
        bench.state.at = ("before", "after", "")[n - 1]
        bench.killed(partial(bench.carry_on, owners[n % 2]))
        bench.carry_on(owners[0])
    finished(bench, folding)
    said = Counter((e.key, e.name) for e in bench.events(folding.topic) if isinstance(e, Elapsed))
    assert set(said.values()) == {1}
    assert len(said) == 3 * len(KEYS)
    for state in bench.known(folding).values():
        assert [tuple(one) for one in state.rung] == [(str(n), now_ms + n) for n in (1, 2, 3)]
