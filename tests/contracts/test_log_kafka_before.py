"""A log on brokers that the version before projects has written is served on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # it is

from penstock.core.events import Codec, Event
from penstock.core.log import Append, partition_of
from penstock.core.log.kafka.topics import create_topics, kept_otherwise
from penstock.core.log.kept import FOREVER
from penstock.core.projects import DEFAULT_PROJECT, order_of
from services.kafka import Kafka
from support.kafka import kafka_settings, open_edge
from support.logs import ANSWER_SECONDS, submit, wait_until

pytestmark = pytest.mark.services

PARTITIONS = 3
NAMES = ("ann", "bob", "ćma", "")


class Named(Event, frozen=True, array_like=True, gc=False, tag="named/1"):
    name: str


FORMS: dict[str, Callable[[str], bytes]] = {
    "msgpack": lambda name: b"\x92\xa7named/1" + bytes([0xA0 + len(name.encode())]) + name.encode(),
    "json": lambda name: b'{"type":"named/1","name":"%b"}' % name.encode(),
}
"""What that version made of `Named(name)`: neither knew of projects."""


def made_then(kafka: Kafka, topic: str) -> None:
    config = {"retention.ms": "-1", "min.insync.replicas": "1"}
    made = NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1, config=config)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    [future] = admin.create_topics([made]).values()
    future.result(ANSWER_SECONDS)


def written_then(kafka: Kafka, topic: str, payloads: Mapping[str, bytes]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    session = uuid4().bytes
    for number, (name, payload) in enumerate(payloads.items()):
        key = name.encode()
        headers: list[tuple[str, str | bytes | None]] = [
            ("penstock-id", session + number.to_bytes(8, "big"))
        ]
        producer.produce(topic, payload, key, partition_of(key, PARTITIONS), headers=headers)
    assert producer.flush(ANSWER_SECONDS) == 0


@pytest.mark.parametrize("form", FORMS)
def test_it_is_read_as_the_default_project_s_and_its_keys_go_on_where_they_are(
    kafka: Kafka, tmp_path: Path, form: str
) -> None:
    settings = kafka_settings(kafka, tmp_path, kafka_partitions=PARTITIONS)
    topic = f"tests.{uuid4().hex}"
    made_then(kafka, topic)
    written_then(kafka, topic, {name: FORMS[form](name) for name in NAMES})
    codec = Codec((Named,))

    assert "made" not in create_topics(settings, [topic])[0]
    wait_until(lambda: not kept_otherwise(settings, {topic: FOREVER}))
    log = open_edge(settings, topic)
    try:
        for name in NAMES:
            key = order_of(DEFAULT_PROJECT, name.encode())
            submit(log, Append(topic, [codec.encode(Named(name))], [key]))
        reader = log.reader()
        for partition in range(PARTITIONS):
            found = codec.read_all(reader.read(topic, partition, 0, 100).payloads)[1]
            here = [Named(n) for n in NAMES if partition_of(n.encode(), PARTITIONS) == partition]
            assert found == [*here, *here]
        reader.close()
    finally:
        log.close()
