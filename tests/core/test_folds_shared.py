"""Folds on brokers and Redis: what they decide is there once, whoever dies and whoever else acts.

Nothing here goes by time: a process ends, and another one comes, where the test puts them.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import redis

from core.test_folds import oracle
from penstock.core.errors import Moved as Refused
from services.kafka import Kafka
from support.logs import contents
from support.purses import Decided, Emptied, Moved, purses
from support.shared import PARTITIONS, Shared

NAMES = "abcdef"


@pytest.fixture
def bench(kafka: Kafka, redis_url: str, tmp_path: Path) -> Iterator[Shared]:
    with closing(Shared(kafka, redis_url, tmp_path, [purses])) as opened:
        yield opened


def made(count: int = 60) -> list[Moved]:
    draw = random.Random(14)
    return [Moved(draw.choice(NAMES), draw.randint(-4, 4)) for _ in range(count)]


def by_purse(events: Sequence[object]) -> dict[str, list[tuple[object, ...]]]:
    """What was decided of each purse, in order; but for the numbers of records."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for event in events:
        assert isinstance(event, Decided | Emptied)
        told = (event.left, event.taken) if isinstance(event, Decided) else ()
        found.setdefault(event.purse, []).append((type(event).__name__, *told))
    return found


def repeats(bench: Shared) -> int:
    """Records that the brokers have, and nobody reads."""
    places = [(topic.name, p) for topic in purses.emits for p in range(PARTITIONS)]
    return sum(bench.log.end(*place) - len(contents(bench.log, *place)) for place in places)


def check(bench: Shared, moves: Sequence[Moved]) -> None:
    """States and outputs are those of the plain fold, and so is what is made again."""
    states, said = oracle(moves)
    known = {name: purse.cents for name, purse in bench.known(purses).items()}
    assert known == {name: purse.cents for name, purse in states.items()}
    decided, emptied = bench.said(purses)
    assert by_purse(decided) == by_purse(said[0])
    assert by_purse(emptied) == by_purse(said[1])
    rebuilt = bench.rebuild(purses)
    assert rebuilt.differences == [], "made again, it is the same, outputs included"


def test_whoever_dies_between_saying_and_writing_has_said_it_once(bench: Shared) -> None:
    """At one block after the other: before the write, behind it, and where one partition has its
    part of what was said and the other has not. Reliability 4, 6 and 8.
    """
    moves = made()
    bench.say(purses, *moves)
    for at, half, block in (("before", None, 5), ("", 0, 7), ("", 1, 3), ("after", None, 4)):
        for partition in range(PARTITIONS):
            bench.state.at, bench.log.half = at, half
            bench.killed(partial(bench.carry, purses, block, partition=partition))
    bench.carry_all(purses)
    assert repeats(bench) > 0
    check(bench, moves)


def test_of_two_that_believe_a_partition_is_theirs_the_later_one_adds_nothing(
    bench: Shared,
) -> None:
    """One is held up when it has said what it is to write; the other carries on to the end.

    Reliability 14.
    """
    moves = made()
    bench.say(purses, *moves)
    bench.state.meanwhile = lambda: bench.carry(purses, 3)
    with pytest.raises(Refused):
        bench.carry(purses, 7)
    bench.carry_all(purses)
    check(bench, moves)


def test_a_redis_that_lost_its_newest_part_has_nothing_said_twice(
    bench: Shared, redis_url: str
) -> None:
    """State and position go back together. Reliability 14."""
    moves = made()
    bench.say(purses, *moves)
    bench.carry(purses, 5, blocks=2)
    server = redis.Redis.from_url(redis_url)
    kept = {key: server.dump(key) for key in server.keys("penstock:*")}
    bench.carry_all(purses, 4)
    server.flushdb()
    for key, value in kept.items():
        assert value is not None
        server.restore(key, 0, value)
    bench.carry_all(purses, 7)
    check(bench, moves)
