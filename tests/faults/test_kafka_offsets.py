"""Offsets that are not there any more: deleted by retention, or with their whole topic."""

import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from penstock.core.errors import Disproved, NotReady
from penstock.core.log import FORGOTTEN, Batch, Damage, Reader
from penstock.core.log.kafka.follow import KafkaFollower
from penstock.core.log.kafka.topics import create_topics
from penstock.core.settings import Settings
from services.kafka import KafkaCluster
from support.kafka import kafka_settings, new_topic, open_edge
from support.logs import ANSWER_SECONDS, add, wait_until


@pytest.fixture
def single(kafka_cluster: KafkaCluster, tmp_path: Path) -> Settings:
    return kafka_settings(kafka_cluster, tmp_path)


def test_what_retention_deleted_is_reported_and_never_skipped(
    kafka_cluster: KafkaCluster, single: Settings
) -> None:
    """Reliability 14."""
    topic = new_topic(single)
    log = open_edge(single, topic)
    reader, late = log.reader(), log.reader()
    try:
        add(log, *(b"%d" % n for n in range(10)), topic=topic)
        wait_until(lambda: late.read(topic, 0, 0, 2).next == 2)
        _delete_before(kafka_cluster, topic, 6)
        assert log.start(topic, 0) == 6
        assert reader.read(topic, 0, 0, 4).damages == (Damage(0, 4, FORGOTTEN),)
        assert reader.read(topic, 0, 4, 4).damages == (Damage(4, 6, FORGOTTEN),)
        batch = reader.read(topic, 0, 6, 100)
        assert (list(batch.offsets), batch.damages) == ([6, 7, 8, 9], ())
        position, told = 2, list[int]()
        while position < 10:  # what was fetched before it was deleted may still be read
            batch = late.read(topic, 0, position, 100)
            told += [n for damage in batch.damages for n in range(damage.first, damage.next)]
            told += batch.offsets
            position = batch.next
        assert told == list(range(2, 10))
    finally:
        reader.close()
        late.close()
        log.close()


def _delete_before(cluster: KafkaCluster, topic: str, offset: int) -> None:
    client = AdminClient({"bootstrap.servers": cluster.bootstrap})
    [done] = client.delete_records([TopicPartition(topic, 0, offset)]).values()
    assert done.result(ANSWER_SECONDS).low_watermark == offset


def test_a_topic_made_anew_is_another_log_and_is_not_read_on_in(
    kafka_cluster: KafkaCluster, single: Settings
) -> None:
    """Reliability 14 and 45."""
    topic = new_topic(single)
    client = AdminClient({"bootstrap.servers": kafka_cluster.bootstrap})
    log = open_edge(single, topic)
    add(log, b"a", b"b", b"c", topic=topic)
    log.close()
    follower = KafkaFollower(single, [topic])
    reader = follower.reader()
    try:
        before = follower.identity(topic)
        assert follower.end(topic, 0) == reader.read(topic, 0, 0, 10).next == 3
        client.delete_topics([topic])[topic].result(ANSWER_SECONDS)
        wait_until(lambda: topic not in client.list_topics(timeout=30).topics)
        _make_again(single, topic)
        wait_until(lambda: follower.end(topic, 0) == 0)
        assert follower.identity(topic) != before
        with pytest.raises(NotReady, match="ends at 0, and was read to 3"):
            _read_until_refused(reader, topic, 3)
    finally:
        reader.close()
        follower.close()


def test_a_topic_made_anew_and_filled_further_is_not_gone_on_in(
    kafka_cluster: KafkaCluster, single: Settings
) -> None:
    """Reliability 45: it never ended before what was read of it, as far as anybody looked."""
    topic = new_topic(single)
    client = AdminClient({"bootstrap.servers": kafka_cluster.bootstrap})
    log = open_edge(single, topic)
    add(log, b"a", b"a", topic=topic)
    follower = KafkaFollower(single, [topic])
    reader = follower.reader()
    try:
        before = follower.identity(topic)
        proof = _read_to(reader, topic, 2).proof
        assert reader.read(topic, 0, 2, 0, proof).proof == proof
        log.close()
        client.delete_topics([topic])[topic].result(ANSWER_SECONDS)
        wait_until(lambda: topic not in client.list_topics(timeout=30).topics)
        _make_again(single, topic)
        log = open_edge(single, topic)
        add(log, b"a", b"a", b"a", topic=topic)
        wait_until(lambda: follower.identity(topic) != before)
        other = follower.reader()
        try:
            with pytest.raises(Disproved, match="other records"):
                _read_to(other, topic, 2, proof)
        finally:
            other.close()
    finally:
        reader.close()
        follower.close()
        log.close()


def test_what_retention_deleted_behind_a_position_disproves_nothing(
    kafka_cluster: KafkaCluster, single: Settings
) -> None:
    topic = new_topic(single)
    log = open_edge(single, topic)
    reader, late = log.reader(), log.reader()
    try:
        add(log, *(b"%d" % n for n in range(4)), topic=topic)
        proof = _read_to(reader, topic, 4).proof
        _delete_before(kafka_cluster, topic, 4)
        assert late.read(topic, 0, 4, 0, proof).next == 4
        add(log, b"4", topic=topic)
        batch = late.read(topic, 0, 4, 9, proof)
        assert (list(batch.payloads), batch.damages) == ([b"4"], ())
        with pytest.raises(Disproved, match="ends at 5"):
            log.reader().read(topic, 0, 9, 0, "")
    finally:
        reader.close()
        late.close()
        log.close()


def _read_to(reader: Reader, topic: str, end: int, proof: str = "") -> Batch:
    """What is read last before `end`; with a proof of `end`, that is asked for, until brokers that
    have not heard of the topic yet have.
    """
    found: list[Batch] = []

    def reached() -> bool:
        try:
            offset = end if proof else (found[-1].next if found else 0)
            found.append(reader.read(topic, 0, offset, end - offset, proof))
        except NotReady as error:
            if isinstance(error, Disproved):
                raise
            return False
        return found[-1].next == end

    wait_until(reached)
    return found[-1]


def _make_again(settings: Settings, topic: str) -> None:
    """Some broker may not have heard yet that it is gone."""
    wait_until(lambda: "made" in str(create_topics(settings, [topic])))


def _read_until_refused(reader: Reader, topic: str, offset: int) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        assert reader.read(topic, 0, offset, 10).payloads == []
