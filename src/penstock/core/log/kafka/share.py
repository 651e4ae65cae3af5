"""One process's part of a topic: a member of a consumer group that fetches nothing itself."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from penstock.core.log.kafka.address import client
from penstock.core.telemetry import Logger

_POLL_SECONDS = 0.1
_COMMIT_SECONDS = 1.0
_RETRY_SECONDS = 1.0

_PROPERTIES = {
    "partition.assignment.strategy": "cooperative-sticky",
    # A member that died is missed after this; the default is 45 seconds.
    "session.timeout.ms": 10_000,
    # That the group is dealt anew is heard with the next heartbeat; the default is three seconds.
    "heartbeat.interval.ms": 1_000,
    # As long may the work on partitions that are taken away go on.
    "max.poll.interval.ms": 300_000,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
}


class KafkaShare:
    """Its consumer stands for this process in the group and notes offsets for Kafka's own tools.

    Partitions are paused as soon as they are assigned: readers of their own fetch the records.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        group: str,
        topic: str,
        changed: Callable[[frozenset[int]], None],
        logger: Logger,
        *,
        member: str,
    ) -> None:
        """`member`: who comes back under this name gets back what was its own, at once."""
        named = {"group.id": group, "group.instance.id": member}
        self._consumer = client(Consumer, {**properties, **_PROPERTIES, **named})
        self._topic = topic
        self._changed = changed
        self._logger = logger.bind(group=group, topic=topic)
        self._own: frozenset[int] = frozenset()
        self._noted: dict[int, int] = {}
        self._committed_at = 0.0
        self._closing = threading.Event()
        self._consumer.subscribe(
            [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        self._thread = threading.Thread(target=self._run, name="penstock-share", daemon=True)
        self._thread.start()

    def commit(self, partition: int, following: int) -> None:
        self._noted[partition] = following

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                told = self._consumer.poll(_POLL_SECONDS)
                if told is not None and (error := told.error()) is not None and error.fatal():
                    raise KafkaException(error)  # such as another one of our name
                if time.monotonic() >= self._committed_at + _COMMIT_SECONDS:
                    self._commit(self._own)
            except Exception:
                self._logger.exception("kafka.share_failed")
                self._closing.wait(_RETRY_SECONDS)
        self._commit(self._own)
        self._leave()
        self._consumer.close()

    def _leave(self) -> None:
        """Let others take over at once: a member with a name is waited for when it only closes."""
        with suppress(KafkaException, RuntimeError):
            self._consumer.unsubscribe()
            self._consumer.poll(_POLL_SECONDS)

    def _assigned(self, consumer: Consumer, added: list[TopicPartition]) -> None:
        self._own |= {place.partition for place in added}
        consumer.incremental_assign(added)
        consumer.pause(added)
        self._tell()

    def _revoked(self, consumer: Consumer, gone: list[TopicPartition]) -> None:
        """Nobody else gets them before this returns."""
        partitions = frozenset(place.partition for place in gone)
        self._own -= partitions
        try:
            self._tell()
        finally:
            self._commit(partitions)
            consumer.incremental_unassign(gone)

    def _tell(self) -> None:
        if not self._closing.is_set():
            self._changed(self._own)

    def _commit(self, partitions: frozenset[int]) -> None:
        """Without waiting, and whether it works or not: the stores know what they have."""
        self._committed_at = time.monotonic()
        noted = {p: self._noted.pop(p) for p in partitions if p in self._noted}
        if noted:
            offsets = [TopicPartition(self._topic, *entry) for entry in noted.items()]
            with suppress(KafkaException):
                self._consumer.commit(offsets=offsets, asynchronous=True)
