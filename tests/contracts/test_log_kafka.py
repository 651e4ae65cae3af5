"""What a log on Kafka promises besides: partitions, shares of a group, starts that say why not."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined] # it is

from penstock.core.errors import Misconfigured, NotReady, Overloaded, TooLarge
from penstock.core.log import Append, partition_of
from penstock.core.log.kafka.edge import KafkaLog
from penstock.core.log.kafka.follow import KafkaFollower
from penstock.core.log.kafka.topics import create_topics, kept_otherwise
from penstock.core.log.kept import FOREVER, Kept
from penstock.core.settings import Settings
from services.kafka import Kafka
from support.kafka import kafka_settings, new_topic, open_edge
from support.logs import ANSWER_SECONDS, account, begin, submit, wait_until

pytestmark = pytest.mark.services

PARTITIONS = 6


@pytest.fixture
def settings(kafka: Kafka, tmp_path: Path) -> Settings:
    return kafka_settings(kafka, tmp_path, kafka_partitions=PARTITIONS)


@pytest.fixture
def topic(settings: Settings) -> str:
    return new_topic(settings)


@pytest.fixture
def log(settings: Settings, topic: str) -> Iterator[KafkaLog]:
    opened = open_edge(settings, topic)
    yield opened
    opened.close()


@pytest.fixture
def follower(settings: Settings, topic: str) -> Iterator[KafkaFollower]:
    """Of another process, and so of another folder."""
    elsewhere = msgspec.structs.replace(settings, data=f"{settings.data}-follower")
    opened = KafkaFollower(elsewhere, [topic])
    yield opened
    opened.close()


def read(log: KafkaFollower | KafkaLog, topic: str, partition: int) -> list[bytes]:
    found: list[bytes] = []
    reader, position = log.reader(), 0
    while position < log.end(topic, partition):
        batch = reader.read(topic, partition, position, 1_000)
        found += batch.payloads
        position = batch.next
    reader.close()
    return found


# -- partitions -----------------------------------------------------------------------------------


def test_records_of_a_key_are_in_the_partition_that_anybody_can_work_out_in_their_order(
    log: KafkaLog, topic: str
) -> None:
    keys = [b"key-%d" % (n % 17) for n in range(500)]
    payloads = [b"%b/%d" % (key, n) for n, key in enumerate(keys)]
    for start in range(0, 500, 50):
        part = slice(start, start + 50)
        submit(log, Append(topic, payloads[part], keys[part]))
    assert log.partitions(topic) == PARTITIONS
    for partition in range(PARTITIONS):
        expected = [p for k, p in zip(keys, payloads, strict=True)
                    if partition_of(k, PARTITIONS) == partition]  # fmt: skip
        assert read(log, topic, partition) == expected


def test_another_client_s_partitioner_agrees(kafka: Kafka, log: KafkaLog, topic: str) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "consistent"})
    keys = [b"key-%d" % n for n in range(40)]
    for key in keys:
        producer.produce(topic, key, key)
    assert producer.flush(ANSWER_SECONDS) == 0
    for partition in range(PARTITIONS):
        found = read(log, topic, partition)
        assert all(partition_of(key, PARTITIONS) == partition for key in found)


def test_records_without_a_key_stay_together_and_take_turns(log: KafkaLog, topic: str) -> None:
    for n in range(4 * PARTITIONS):
        submit(log, Append(topic, [b"%d" % n] * 10))
    counts = [len(read(log, topic, partition)) for partition in range(PARTITIONS)]
    assert counts == [40] * PARTITIONS


def test_a_record_carries_its_key_a_name_of_its_own_and_the_time_of_its_acceptance(
    kafka: Kafka, log: KafkaLog, topic: str
) -> None:
    before = int(time.time() * 1000)
    submit(log, Append(topic, [b"1", b"2"], [b"k", b"k"]))
    submit(log, Append(topic, [b"3"], [b"k"], idempotency_key="once"))
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": uuid4().hex})
    consumer.assign([TopicPartition(topic, partition_of(b"k", PARTITIONS), 0)])
    messages = consumer.consume(3, ANSWER_SECONDS)
    consumer.close()
    assert [m.value() for m in messages] == [b"1", b"2", b"3"]
    assert {m.key() for m in messages} == {b"k"}
    names = {dict(m.headers() or [])["penstock-id"] for m in messages}
    assert len(names) == 3
    assert all(before <= m.timestamp()[1] <= time.time() * 1000 for m in messages)


def test_gaps_that_transactions_leave_are_stepped_over(
    kafka: Kafka, log: KafkaLog, topic: str
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(ANSWER_SECONDS)
    for n in range(3):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % n, partition=0)
        producer.commit_transaction(ANSWER_SECONDS)
    wait_until(lambda: log.end(topic, 0) == 6)
    reader = log.reader()
    assert list(reader.read(topic, 0, 0, 2).offsets) == [0, 2]
    position, offsets = 2, list[int]()
    while position < 6:
        batch = reader.read(topic, 0, position, 10)
        assert batch.next > position
        offsets += batch.offsets
        position = batch.next
    assert offsets == [2, 4]
    reader.close()


def test_one_reader_reads_partitions_in_turn_however_much_they_hold(
    log: KafkaLog, topic: str
) -> None:
    payload = bytes(50_000)
    for _ in range(4 * PARTITIONS):
        begin(log, Append(topic, [payload] * 50))
    submit(log, *(Append(topic, [payload] * 50) for _ in range(PARTITIONS)))
    wait_until(lambda: all(log.end(topic, p) == 250 for p in range(PARTITIONS)))
    reader, positions = log.reader(), [0] * PARTITIONS
    while min(positions) < 250:
        for partition in range(PARTITIONS):
            batch = reader.read(topic, partition, positions[partition], 70)
            assert list(batch.offsets) == list(range(positions[partition], batch.next))
            positions[partition] = batch.next
    reader.close()


# -- following ------------------------------------------------------------------------------------


def test_a_follower_hears_of_records_and_knows_the_log_for_the_same(
    log: KafkaLog, follower: KafkaFollower, topic: str
) -> None:
    woken = threading.Event()
    follower.listen(topic, woken.set)
    submit(log, Append(topic, [b"a"], [b"k"]))
    assert woken.wait(ANSWER_SECONDS)
    partition = partition_of(b"k", PARTITIONS)
    wait_until(lambda: follower.end(topic, partition) == 1)
    assert read(follower, topic, partition) == [b"a"]
    assert follower.identity(topic) == log.identity(topic)
    assert follower.ledger(topic, 0) == []
    assert (log.totals(topic).stored, follower.totals(topic).stored) == (1, 0)


def test_the_edge_knows_at_once_where_what_it_delivered_ends(log: KafkaLog, topic: str) -> None:
    log.listen(topic, lambda: None)
    for n in range(1, 20):
        submit(log, Append(topic, [b"a"], [b"k"]))
        assert log.end(topic, partition_of(b"k", PARTITIONS)) == n


# -- limits ---------------------------------------------------------------------------------------


def test_an_event_that_no_broker_takes_is_refused_and_the_others_go_on(
    log: KafkaLog, topic: str
) -> None:
    with pytest.raises(TooLarge, match="at most"):
        submit(log, Append(topic, [bytes(1_000_000)], [b"k"]))
    submit(log, Append(topic, [bytes(800_000)], [b"k"]))
    assert account(log, topic)[1:] == (2, 1, 0, 1)


def test_a_topic_that_was_not_named_at_the_start_is_refused(log: KafkaLog) -> None:
    with pytest.raises(NotReady, match=r"tests\.unknown"):
        submit(log, Append("tests.unknown", [b"a"]))


def test_beyond_its_limits_the_queue_refuses(settings: Settings, topic: str, kafka: Kafka) -> None:
    small = kafka_settings(
        kafka, settings.folder, kafka_partitions=PARTITIONS, queue_records_max=10
    )
    log = open_edge(small, topic)
    try:
        with pytest.raises(Overloaded):
            begin(log, Append(topic, [b"a"] * 11))
        submit(log, Append(topic, [b"a"] * 10))
    finally:
        log.close()


# -- starting -------------------------------------------------------------------------------------


def test_topics_are_made_as_the_settings_say_and_kept_as_they_say_now(
    kafka: Kafka, tmp_path: Path
) -> None:
    name = f"tests.{uuid4().hex}"
    settings = kafka_settings(kafka, tmp_path, kafka_partitions=2)
    made = create_topics(settings, [name], {name: Kept(hours=1, bytes=1001)})
    assert made == [f"log topic {name}: made with 2 partitions, kept 1 hours and 1,001 bytes"]
    assert configured(kafka, name, "retention.ms") == "3600000"
    assert configured(kafka, name, "retention.bytes") == "501"
    assert configured(kafka, name, "min.insync.replicas") == "2"
    wait_until(lambda: not kept_otherwise(settings, {name: Kept(hours=1, bytes=1001)}))
    assert kept_otherwise(settings, {name: FOREVER}) == {name: "1 hours and 1,002 bytes"}
    larger = kafka_settings(kafka, tmp_path, kafka_partitions=4)
    assert create_topics(larger, [name]) == [
        f"log topic {name}: has 2 partitions, kept for ever; it was 1 hours and 1,002 bytes"
    ]
    wait_until(lambda: not kept_otherwise(settings, {name: FOREVER}))
    assert configured(kafka, name, "retention.ms") == "-1"
    assert configured(kafka, name, "retention.bytes") == "-1"


def configured(kafka: Kafka, topic: str, name: str) -> str:
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    [found] = client.describe_configs([ConfigResource("topic", topic)]).values()
    return str(found.result(ANSWER_SECONDS)[name].value)


@pytest.mark.parametrize(
    "open_log", [open_edge, lambda settings, topic: KafkaFollower(settings, [topic])]
)
def test_a_missing_topic_stops_the_start_and_names_the_remedy(
    settings: Settings, open_log: Callable[[Settings, str], object]
) -> None:
    with pytest.raises(Misconfigured, match=r"no topic tests\.none; run `penstock migrate`"):
        open_log(settings, "tests.none")


def test_too_few_partitions_stop_the_start_and_name_the_setting(
    kafka: Kafka, settings: Settings, topic: str
) -> None:
    more = kafka_settings(kafka, settings.folder, kafka_partitions=PARTITIONS + 1)
    with pytest.raises(Misconfigured, match=f"PENSTOCK_KAFKA_PARTITIONS.* set it to {PARTITIONS}"):
        open_edge(more, topic)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kafka://127.0.0.1:1", "do not answer.*127.0.0.1:1"),
        ("kafka://", "not of the form kafka://"),
        ("kafka://host:9092/topic", "not of the form kafka://"),
        ("kafka://host:9092?no.such=1", "no.such"),
        ("kafka://host:9092?session.timeout.ms=soon", "session.timeout.ms"),
        ("kafka://host:9092?acks=1&enable.idempotence=false", "acks, enable.idempotence cannot be"),
    ],
)
def test_a_url_that_leads_nowhere_stops_the_start_and_says_why(
    tmp_path: Path, url: str, message: str
) -> None:
    settings = Settings(log=url, data=str(tmp_path))
    with pytest.raises(Misconfigured, match=f"PENSTOCK_LOG.*{message}"):
        open_edge(settings, "tests.any")


def test_without_its_client_the_remedy_is_told() -> None:
    script = """
import sys
sys.modules["confluent_kafka"] = None
from penstock.core.errors import Misconfigured
try:
    import penstock.core.log.kafka.edge
except Misconfigured as error:
    assert "pip install '.[kafka]'" in str(error), error
else:
    raise AssertionError("imported")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_who_does_not_use_kafka_does_not_import_it() -> None:
    script = "import sys, penstock.main; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert {"confluent_kafka", "fastavro"}.isdisjoint(loaded)
