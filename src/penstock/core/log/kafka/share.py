"""One process's part of a topic: a member of a consumer group that fetches nothing itself."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from penstock.core.errors import NotReady
from penstock.core.log.kafka.address import client
from penstock.core.telemetry import Logger

_POLL_SECONDS = 0.1
_COMMIT_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_RETRY_SECONDS_MAX = 30.0
_STOOD_SECONDS = 120.0
"""Two of one name would take turns for ever: so they do it ever more seldom."""
_UNDEALT_SECONDS_MAX = 30.0
"""A member that has not heard by then what is its own asks anew, with a client of its own."""

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
        self._properties = {**properties, **_PROPERTIES, **named}
        self._topic = topic
        self._changed = changed
        self._logger = logger.bind(group=group, topic=topic)
        self._own: frozenset[int] = frozenset()
        self._noted: dict[int, int] = {}
        self._committed_at = 0.0
        self._closing = threading.Event()
        self._failures = 0
        self._join()
        self._thread = threading.Thread(target=self._run, name="penstock-share", daemon=True)
        self._thread.start()

    def commit(self, partition: int, following: int) -> None:
        self._noted[partition] = following

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _join(self) -> None:
        self._joined_at = time.monotonic()
        self._undealt_since: float | None = self._joined_at
        self._consumer = client(Consumer, self._properties)
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._poll()
            except Exception:
                self._logger.exception("kafka.share_failed")
                self._closing.wait(min(_RETRY_SECONDS * 2**self._failures, _RETRY_SECONDS_MAX))
                stood = time.monotonic() >= self._joined_at + _STOOD_SECONDS
                self._failures = 0 if stood else self._failures + 1
                if self._is_lost() and not self._closing.is_set():
                    self._renew()
        self._commit(self._own)
        self._leave()
        self._consumer.close()

    def _poll(self) -> None:
        told = self._consumer.poll(_POLL_SECONDS)
        now = time.monotonic()
        error = None if told is None else told.error()
        # Its code says so: what the client says of it otherwise is that it is not fatal.
        if error is not None and error.code() == KafkaError._FATAL:  # noqa: SLF001 - its public name
            self._undealt_since = now - _UNDEALT_SECONDS_MAX
            raise KafkaException(error)  # such as that another one has our name
        if self._is_lost():
            raise NotReady("the group has not said what is this process's own")
        if now >= self._committed_at + _COMMIT_SECONDS:
            self._commit(self._own)

    def _is_lost(self) -> bool:
        since = self._undealt_since
        return since is not None and time.monotonic() >= since + _UNDEALT_SECONDS_MAX

    def _renew(self) -> None:
        """A client that was told that it is none of the group is of no use any more, and one that
        hears nothing may have missed that its brokers are others. What was its own is nobody's.
        """
        lost, self._own = self._consumer, frozenset()
        self._tell()
        with suppress(Exception):
            lost.close()
        with suppress(Exception):  # who cannot be made now is made with the next failure
            self._join()

    def _leave(self) -> None:
        """Let others take over at once: a member with a name is waited for when it only closes."""
        with suppress(KafkaException, RuntimeError):
            self._consumer.unsubscribe()
            self._consumer.poll(_POLL_SECONDS)

    def _assigned(self, consumer: Consumer, added: list[TopicPartition]) -> None:
        self._undealt_since = None
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
