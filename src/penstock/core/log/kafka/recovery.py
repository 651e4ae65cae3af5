"""After an unclean end: which records of the spool the brokers have all the same."""

import threading
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from penstock.core.errors import NotReady
from penstock.core.log.kafka.address import client, reason
from penstock.core.log.kafka.cluster import Cluster, Place
from penstock.core.log.kafka.producer import HEADER, SESSION_BYTES
from penstock.core.telemetry import Logger

SETTLE_SECONDS = 10.0
"""Between the first answer of the brokers and the look at their ends. A request that the old
session left behind is then done with, and a follower that died with it, whose answer would keep
records out of sight, is missed: its session lasts nine seconds.
"""
_RETRY_SECONDS = 1.0
_SILENCE_SECONDS = 10.0
_AT_ONCE = 5_000

_PROPERTIES = {
    "group.id": "penstock-recovery",  # the client insists on one; it is never joined
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",  # what retention deleted is not there
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 100,
}


class Recovery:
    """Looks on a thread of its own, as long as it takes, and then tells `found`."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        lows: Mapping[Place, int],
        sessions: AbstractSet[bytes],
        found: Callable[[set[bytes]], None],
        *,
        logger: Logger,
        settle_seconds: float,
    ) -> None:
        self._properties = properties
        self._lows = dict(lows)
        self._sessions = sessions
        self._found = found
        self._logger = logger
        self._settle_seconds = settle_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-recover", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        settled = False
        while not self._closing.is_set():
            try:
                ends = Cluster(self._properties).ends(self._lows)
                if not settled:
                    settled = not self._closing.wait(self._settle_seconds)
                    continue
                ids = self._look(ends)
            except Exception as error:  # noqa: BLE001 - nothing of the spool is sent before this ends
                told = f"{type(error).__name__}: {reason(error)}"
                self._logger.warning("kafka.recovery_waits", error=told)
                self._closing.wait(_RETRY_SECONDS)
                continue
            if not self._closing.is_set():
                self._found(ids)
            return

    def _look(self, ends: Mapping[Place, int]) -> set[bytes]:
        """Names of records of the sessions, from the lows to the ends."""
        consumer = client(Consumer, {**self._properties, **_PROPERTIES})
        try:
            left = {place for place, low in self._lows.items() if low < ends[place]}
            consumer.assign([TopicPartition(*place, self._lows[place]) for place in left])
            ids: set[bytes] = set()
            while left and not self._closing.is_set():
                heard = consumer.poll(_SILENCE_SECONDS)
                if heard is None:
                    raise NotReady("the brokers are silent")
                for message in (heard, *consumer.consume(_AT_ONCE, 0)):
                    if (name := _name(message)) and name[:SESSION_BYTES] in self._sessions:
                        ids.add(name)
                    place = (message.topic() or "", message.partition() or 0)
                    if (message.offset() or 0) >= ends[place] - 1:
                        left.discard(place)
            return ids
        finally:
            consumer.close()


def _name(message: Message) -> bytes | None:
    """Raise `NotReady` for what is neither a record nor the end of a partition."""
    error = message.error()
    if error is not None:
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's name for it
            raise NotReady("the brokers cannot be read", detail=reason(error))
        return None
    headers: Any = message.headers() or ()
    return next((value for key, value in headers if key == HEADER), None)
