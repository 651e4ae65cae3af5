"""Processes that carry a fold on three brokers and a Redis, killed by the kernel, round for round:
all that is decided, rung and returned is there once, and made again it is the same.

`make gate-kafka` does as many rounds as it is told to; see decision 35.
"""

import os
import random
import signal
import time
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from uuid import uuid4

import redis

from penstock.core.log.kafka.topics import create_topics
from penstock.core.projection.dead_letters import DeadLetters
from services.kafka import Kafka
from support import gate
from support.gate import PARTITIONS, Carrier, Kill
from support.kafka import kafka_settings, open_edge

ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
KINDS = {"before": 4, "behind": 4, "said": 5, "result": 4, "any": 900}
"""And the most times that it is passed by before it kills; milliseconds of the last."""
_PUTS_EACH = 4
_SECONDS = 120.0
_TOGETHER = 4
"""In each round of so many a second process carries the same, and believes that it is alone."""


def test_all_is_there_once_wherever_processes_are_killed(
    kafka: Kafka, redis_url: str, tmp_path: Path
) -> None:
    """Reliability 4, 6, 8 and 14."""
    redis.Redis.from_url(redis_url).flushdb()
    given = {"state": redis_url, "kafka_partitions": PARTITIONS, "kafka_replication": 3}
    settings, name = kafka_settings(kafka, tmp_path, **given), f"tests.{uuid4().hex}"
    folding = gate.fold(name)
    topics = (folding.topic.name, folding.emits[0].name)
    create_topics(settings, topics)
    context, draw = get_context("forkserver"), random.Random(35)
    context.set_forkserver_preload(["support.gate"])
    killed = dict.fromkeys(KINDS, 0)
    began = time.monotonic()
    with closing(open_edge(settings, *topics)) as edge:
        for number in range(ROUNDS):
            gate.put(edge, name, range(number * _PUTS_EACH, (number + 1) * _PUTS_EACH))
            kinds = [[*KINDS][number % len(KINDS)]]
            if number % _TOGETHER == _TOGETHER - 1:
                kinds.append(draw.choice([*KINDS]))
            children = []
            for kind in kinds:
                kill = Kill(kind, draw.randint(1, KINDS[kind]))
                to = {"log": kafka.url, "data": str(tmp_path), **given}
                child = context.Process(target=gate.carry, args=(to, name, kill, _SECONDS))
                child.start()
                children.append((kind, child))
            for kind, child in children:
                child.join(2 * _SECONDS)
                assert child.exitcode in (0, -signal.SIGKILL, -signal.SIGALRM)
                killed[kind] += child.exitcode != 0
    with closing(Carrier(settings, name, Kill("never", 0))) as last:
        assert last.carry(_SECONDS), last.left()
        told = gate.told(last.log, folding.emits[0])
        wanted = gate.wanted(ROUNDS * _PUTS_EACH)
        assert (told - wanted, wanted - told) == ({}, {})
        assert gate.differences(last) == []
        assert list(DeadLetters(last.state).letters(name, limit=1)) == []
        ends = sum(last.log.end(topic, p) for topic in topics for p in range(PARTITIONS))
    print(  # noqa: T201 - what `make gate-kafka` is run for
        f"{ROUNDS} rounds in {time.monotonic() - began:.0f} s, killed {killed}: "
        f"{wanted.total()} outputs once of {ends} records"
    )
