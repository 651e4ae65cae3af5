"""Shares of a group: who has which partitions of a topic on Kafka, and who takes over when."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from penstock.core.log import Append, Share, partition_of
from penstock.core.log.kafka.edge import KafkaLog
from penstock.core.log.kafka.follow import KafkaFollower
from penstock.core.settings import Settings
from services.kafka import Kafka
from support.kafka import kafka_settings, new_topic, open_edge
from support.logs import ANSWER_SECONDS, submit, wait_until

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


class Member:
    """Notes what is its own and when; giving up takes a moment."""

    def __init__(self, log: KafkaFollower | KafkaLog, group: str, topic: str) -> None:
        self.own: frozenset[int] = frozenset()
        self.taken: dict[int, float] = {}
        self.given: dict[int, float] = {}
        self._share: Share = log.share(group, topic, self._changed)

    def _changed(self, own: frozenset[int]) -> None:
        gone, new = self.own - own, own - self.own
        if gone:
            time.sleep(0.5)  # the work in hand
        self.given |= dict.fromkeys(gone, time.monotonic())
        self.taken |= dict.fromkeys(new, time.monotonic())
        self.own = own  # at last: who waits for it looks at the others then

    def commit(self, partition: int, following: int) -> None:
        self._share.commit(partition, following)

    def close(self) -> None:
        self._share.close()


def test_a_member_has_all_until_another_comes_and_gives_up_before_that_one_takes_over(
    log: KafkaLog, follower: KafkaFollower, topic: str
) -> None:
    every = frozenset(range(PARTITIONS))
    first = Member(log, topic, topic)
    wait_until(lambda: first.own == every)
    second = Member(follower, topic, topic)
    wait_until(lambda: len(second.own) == PARTITIONS // 2)
    assert first.own | second.own == every
    assert not first.own & second.own
    for partition, at in second.taken.items():
        assert at > first.given[partition]
    kept = first.own
    assert {p for p, at in first.taken.items() if p in kept} == kept  # they never changed hands
    assert first.given.keys().isdisjoint(kept)
    first.close()
    wait_until(lambda: second.own == every)
    second.close()


_MEMBER = """
import sys
from penstock.core.log.kafka.follow import KafkaFollower
from penstock.core.settings import Settings
url, folder, topic, partitions = sys.argv[1:]
settings = Settings(log=url, data=folder, kafka_partitions=int(partitions))
log = KafkaFollower(settings, [topic])
share = log.share(topic, topic, lambda own: print(*sorted(own), flush=True))
sys.stdin.read()
"""


def test_a_member_that_was_killed_gets_its_partitions_back_and_no_other_is_disturbed(
    settings: Settings, log: KafkaLog, topic: str, tmp_path: Path
) -> None:
    """It comes back under its name, so nothing is dealt anew (reliability 14)."""
    other = Member(log, topic, topic)
    wait_until(lambda: len(other.own) == PARTITIONS)

    def another() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", _MEMBER, settings.log_url, str(tmp_path / "killed"), topic,
             str(PARTITIONS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    owned = []
    for _ in range(2):
        process = another()
        assert process.stdout is not None
        while len(own := process.stdout.readline().split()) < PARTITIONS // 2:
            assert process.poll() is None
        owned.append(own)
        if len(owned) == 1:
            wait_until(lambda: len(other.own) == PARTITIONS // 2)
            taken, given = dict(other.taken), dict(other.given)
        process.kill()
        process.communicate()
    assert owned[0] == owned[1]
    assert (other.taken, other.given) == (taken, given)
    other.close()


def test_a_member_that_closes_is_not_called_any_more(log: KafkaLog, topic: str) -> None:
    member = Member(log, topic, topic)
    wait_until(lambda: len(member.own) == PARTITIONS)
    member.close()
    assert member.given == {}


def test_what_is_in_the_store_is_noted_for_kafka_s_own_tools(
    kafka: Kafka, log: KafkaLog, topic: str
) -> None:
    member = Member(log, topic, topic)
    wait_until(lambda: len(member.own) == PARTITIONS)
    submit(log, Append(topic, [b"a"] * 7, [b"k"] * 7))
    partition = partition_of(b"k", PARTITIONS)
    member.commit(partition, 5)
    member.close()
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic})
    [noted] = consumer.committed([TopicPartition(topic, partition)], ANSWER_SECONDS)
    consumer.close()
    assert noted.offset == 5


def test_a_member_whose_name_another_one_took_comes_back_when_that_one_is_gone(
    settings: Settings, topic: str
) -> None:
    """Its client is beyond help then, and so is that of one that brokers forgot when they died."""
    every = frozenset(range(PARTITIONS))
    logs = [KafkaFollower(settings, [topic]) for _ in range(2)]
    first = Member(logs[0], topic, topic)
    wait_until(lambda: first.own == every)
    second = Member(logs[1], topic, topic)
    wait_until(lambda: second.own == every)
    wait_until(lambda: not first.own)
    second.close()
    wait_until(lambda: first.own == every)
    first.close()
    for log in logs:
        log.close()
