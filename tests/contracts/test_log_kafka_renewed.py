"""A client of the brokers that gets no answer any more is replaced (reliability 14)."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from penstock.core.errors import NotReady
from penstock.core.log.kafka import cluster, reader
from penstock.core.log.kafka.address import client, properties
from services.kafka import Kafka
from support.kafka import kafka_settings, new_topic, open_edge
from support.logs import ANSWER_SECONDS, add

T = TypeVar("T")
SECONDS = 1.0


@pytest.fixture
def nobody() -> Iterator[dict[str, object]]:
    """What leads a client to a broker that takes its connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield properties(f"kafka://127.0.0.1:{silent.getsockname()[1]}")


@pytest.fixture
def topic(kafka: Kafka, tmp_path: Path) -> str:
    """With one record in it."""
    settings = kafka_settings(kafka, tmp_path)
    name = new_topic(settings)
    with closing(open_edge(settings, name)) as log:
        add(log, b"a record", topic=name)
    return name


def in_the_end(ask: Callable[[], T]) -> T:
    """The first answer."""
    until = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < until:
        with suppress(NotReady):
            return ask()
    pytest.fail("asked in vain")


def test_one_that_asks_what_there_is(
    kafka: Kafka, topic: str, nobody: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_RENEW_SECONDS", SECONDS)
    asking = cluster.Cluster(properties(kafka.url))
    asking._admin = client(AdminClient, nobody)
    assert in_the_end(lambda: asking.ends([(topic, 0)])) == {(topic, 0): 1}
    renewed = asking._admin
    assert asking.starts([(topic, 0)]) == {(topic, 0): 0}
    assert asking._admin is renewed


def test_one_that_reads(
    kafka: Kafka, topic: str, nobody: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the last one ended."""
    with closing(reader.KafkaReader(properties(kafka.url))) as reading:
        assert in_the_end(lambda: reading.read(topic, 0, 0, 10)).payloads == [b"a record"]
        reading._consumer.close()
        reading._consumer = client(Consumer, {**nobody, **reader._PROPERTIES})
        reading._tails.clear()
        monkeypatch.setattr(reader, "_SILENCE_SECONDS", SECONDS)
        assert in_the_end(lambda: reading.read(topic, 0, 0, 10)).payloads == [b"a record"]
