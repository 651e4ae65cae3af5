"""How far projections have come, whichever process carries them."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from penstock.core.clock import Clock
from penstock.core.errors import NotReady
from penstock.core.log import Follow, partition_of
from penstock.core.platform.pools import Pools
from penstock.core.projection.runner import Consumer

_ELSEWHERE_POLL_SECONDS = 0.01


class Positions:
    def __init__(
        self, consumers: Mapping[str, Consumer], follow: Follow, pools: Pools, clock: Clock
    ) -> None:
        self._consumers = consumers
        self._follow = follow
        self._pools = pools
        self._clock = clock

    def position(self, consumer: Consumer, partition: int) -> int:
        """Of one partition. Blocks."""
        cursor = consumer.cursors.get(partition)
        if cursor is not None and cursor.state == "running":
            return cursor.position
        return consumer.sink.position(partition)

    async def caught_up(
        self, projection: str, timeout_seconds: float, key: bytes | None = None
    ) -> bool:
        """Wait until the projection has all that the log has now, or all where that key is."""
        consumer = self._consumers[projection]
        topic = consumer.projection.topic.name
        deadline = self._clock.monotonic() + timeout_seconds
        count = self._follow.partitions(topic)
        for partition in range(count) if key is None else [partition_of(key, count)]:
            end = self._follow.end(topic, partition)
            cursor = consumer.cursors.get(partition)
            if cursor is not None:
                reached = await cursor.reach(end, deadline - self._clock.monotonic())
            else:
                reached = await self._reached_elsewhere(consumer, partition, end, deadline)
            if not reached:
                return False
        return True

    async def _reached_elsewhere(
        self, consumer: Consumer, partition: int, end: int, deadline: float
    ) -> bool:
        while not await self._pools.run(partial(self._has, consumer, partition, end)):
            if self._clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(_ELSEWHERE_POLL_SECONDS)
        return True

    def _has(self, consumer: Consumer, partition: int, end: int) -> bool:
        """Whether its store has everything before `end` that the log still keeps."""
        if consumer.sink.position(partition) >= end:
            return True
        with suppress(NotReady):
            return self._follow.start(consumer.projection.topic.name, partition) >= end
        return False
