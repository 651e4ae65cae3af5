"""Logs on real brokers that tests share: each with topics of its own, made as `migrate` does."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from penstock.core.clock import Clock, SystemClock
from penstock.core.log import Append, Batch, Done, Extent, Minute, Reader, Share
from penstock.core.log.kafka.edge import KafkaLog
from penstock.core.log.kafka.topics import create_topics
from penstock.core.settings import Settings
from services.kafka import Kafka
from support.logs import ANSWER_SECONDS

BROKERS = 3
SETTLE_SECONDS = 0.5
"""The brokers of tests miss each other sooner than those of production."""


def kafka_settings(kafka: Kafka, folder: Path, **others: Any) -> Settings:
    given: dict[str, Any] = {
        "log": kafka.url,
        "data": str(folder),
        "log_level": "error",
        "kafka_partitions": 1,
        "disk_free_bytes_min": 0,
        "kafka_spool_after_seconds": 60.0,  # brokers of a slow machine are no brokers that are away
    }
    return Settings(**{**given, **others})


def new_topic(settings: Settings) -> str:
    name = f"tests.{uuid4().hex}"
    create_topics(settings, [name])
    return name


def open_edge(settings: Settings, *topics: str, clock: Clock | None = None) -> KafkaLog:
    return KafkaLog(settings, clock or SystemClock(), topics, settle_seconds=SETTLE_SECONDS)


def _partitions(kafka: Kafka, topic: str) -> Mapping[int, Any]:
    """As some broker knows them: none yet, or none for now, where it has not heard of them."""
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    with suppress(KafkaException):
        return client.list_topics(topic, ANSWER_SECONDS).topics[topic].partitions
    return {}


def leader(kafka: Kafka, topic: str) -> int:
    """Of the first partition; -1 while there is none."""
    known = _partitions(kafka, topic)
    return int(known[0].leader) if 0 in known else -1


def all_in_sync(kafka: Kafka, topic: str) -> bool:
    known = _partitions(kafka, topic).values()
    return bool(known) and all(len(partition.isrs) == BROKERS for partition in known)


class Apart:
    """A log whose topics have other names on the brokers, so that every test finds them empty."""

    keyed = True

    def __init__(self, settings: Settings, clock: Clock, topics: Iterable[str]) -> None:
        self._prefix = f"tests.{uuid4().hex}."
        names = [self._prefix + topic for topic in topics]
        create_topics(settings, names)
        self.log = open_edge(settings, *names, clock=clock)

    @property
    def commits(self) -> int:
        return self.log.commits

    @property
    def spooled(self) -> int:
        return self.log.spooled

    @property
    def idempotency_keys(self) -> int:
        return self.log.idempotency_keys

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        self.log.submit([a._replace(topic=self._prefix + a.topic) for a in appends], done)

    def tally(self, topic: str, *, rejected: int) -> None:
        self.log.tally(self._prefix + topic, rejected=rejected)

    def failure(self) -> str:
        return self.log.failure()

    def remembers(self) -> str:
        return self.log.remembers()

    def identity(self, topic: str) -> str:
        return self.log.identity(self._prefix + topic)

    def partitions(self, topic: str) -> int:
        return self.log.partitions(self._prefix + topic)

    def share(self, group: str, topic: str, changed: Callable[[frozenset[int]], None]) -> Share:
        return self.log.share(group, self._prefix + topic, changed)

    def reader(self) -> Reader:
        return _ApartReader(self.log.reader(), self._prefix)

    def start(self, topic: str, partition: int) -> int:
        return self.log.start(self._prefix + topic, partition)

    def extent(self, topic: str, partition: int) -> Extent:
        return self.log.extent(self._prefix + topic, partition)

    def end(self, topic: str, partition: int) -> int:
        return self.log.end(self._prefix + topic, partition)

    def listen(self, topic: str, wake: Callable[[], None]) -> None:
        self.log.listen(self._prefix + topic, wake)

    def ledger(self, topic: str, since_minute: int) -> list[Minute]:
        return self.log.ledger(self._prefix + topic, since_minute)

    def totals(self, topic: str) -> Minute:
        return self.log.totals(self._prefix + topic)

    def bytes_on_disk(self) -> int:
        return self.log.bytes_on_disk()

    def close(self) -> None:
        self.log.close()


class _ApartReader:
    def __init__(self, reader: Reader, prefix: str) -> None:
        self._reader = reader
        self._prefix = prefix

    def read(
        self, topic: str, partition: int, offset: int, limit: int, proof: str | None = None
    ) -> Batch:
        return self._reader.read(self._prefix + topic, partition, offset, limit, proof)

    def close(self) -> None:
        self._reader.close()
