"""Folds on brokers and a Redis, carried on by hand, as by several processes that share both."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from penstock.core.log import Append, Done, Log, partition_of
from penstock.core.projection import Fold
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.deciding import FoldCursor
from penstock.core.state import State
from penstock.core.state.redis import RedisState
from services.kafka import Kafka
from support.clock import MovedClock
from support.errands import Errands
from support.kafka import Apart, kafka_settings
from support.logs import ANSWER_SECONDS, begin, patiently
from support.notes import Crash

PARTITIONS = 2


class FailingRedis(RedisState):
    """The real server, and the process ends when it is told to, or somebody else comes first."""

    at = ""
    meanwhile: Callable[[], object] | None = None
    """Done once, before a write."""

    def apply(self, *given: Any, **named: Any) -> None:
        at, self.at = self.at, ""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if at == "before":
            raise Crash
        super().apply(*given, **named)
        if at == "after":
            raise Crash


class Halving(Apart):
    """The real brokers, and the process ends when half of what it says is there, if it is to."""

    half: int | None = None
    """The one partition that gets its part."""

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        half, self.half = self.half, None
        if half is None:
            super().submit(appends, done)
            return
        parts = [_part(append, half) for append in appends]
        patiently(lambda: begin(self, *parts).result())
        raise Crash


def _part(append: Append, partition: int) -> Append:
    """What of it goes there; each record says one thing in each topic."""
    assert append.origin is not None
    here = [n for n, key in enumerate(append.keys) if partition_of(key, PARTITIONS) == partition]
    return append._replace(
        payloads=[append.payloads[n] for n in here],
        keys=[append.keys[n] for n in here],
        origin=append.origin._replace(numbers=[append.origin.numbers[n] for n in here]),
    )


class Shared(Errands):
    """One process of several."""

    log: Halving
    state: FailingRedis

    def __init__(
        self, kafka: Kafka, redis_url: str, folder: Path, folds: Sequence[Fold[Any, Any]]
    ) -> None:
        topics = {topic.name for fold in folds for topic in (fold.topic, *fold.emits)}
        redis.Redis.from_url(redis_url).flushdb()

        def log(folder: Path, clock: MovedClock) -> Log:
            settings = kafka_settings(kafka, folder, kafka_partitions=PARTITIONS)
            return Halving(settings, clock, topics)

        def state(folder: Path) -> State:
            del folder
            return FailingRedis(redis_url)

        super().__init__(folder, state, log)

    def carry(
        self, fold: Fold[Any, Any], block: int = 40, blocks: int = 1 << 30, partition: int = 0
    ) -> Cursor:
        carry = super().carry
        return patiently(lambda: carry(fold, block, blocks, partition))

    def carry_on(self, cursor: FoldCursor) -> None:
        """Brokers that were silent are asked again; and who was refused goes by the state."""
        deadline = time.monotonic() + ANSWER_SECONDS
        super().carry_on(cursor)
        while cursor.failures:
            assert time.monotonic() < deadline, cursor.last_error
            self.clock.seconds += 60
            super().carry_on(cursor)

    def carry_all(self, fold: Fold[Any, Any], block: int = 40) -> None:
        """All there is, of every partition, as after a restart."""
        for partition in range(PARTITIONS):
            self.carry(fold, block, partition=partition)

    def killed(self, carry: Callable[[], object]) -> None:
        """It is if it comes so far."""
        with suppress(Crash):
            carry()
        self.state.at, self.log.half = "", None
