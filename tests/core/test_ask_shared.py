"""Operations that ask a fold of another process: an edge asks the state that all share."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from core.test_ask import ASK, OPERATION, PAYMENTS, Told, purses
from penstock.core.log.kafka.topics import create_topics
from penstock.core.manifest import Manifest
from penstock.core.platform import Platform
from penstock.main import build
from services.kafka import Kafka
from support.kafka import kafka_settings
from support.pipes import asked
from support.purses import Settings


def named_anew() -> Manifest:
    """With topics and a space of its own on brokers that others use."""
    name = uuid4().hex
    payments = replace(PAYMENTS, name=f"tests.{name}.paid")
    fold = replace(purses, space=f"tests.{name}", topic=payments)
    operation = replace(OPERATION, emits=(payments,), ask=replace(ASK, fold=fold))
    return Manifest(
        name="tests",
        summary="Payments.",
        settings=Settings,
        topics=(payments,),
        ingest=(operation,),
        projections=(fold,),
        package="support.purses",
    )


@pytest.fixture
def opening(
    kafka: Kafka, redis_url: str, tmp_path: Path
) -> Iterator[Callable[[str, Manifest], Platform]]:
    redis.Redis.from_url(redis_url).flushdb()
    with ExitStack() as opened:

        def platform(role: str, manifest: Manifest) -> Platform:
            given = {"state": redis_url, "kafka_replication": 3, "kafka_partitions": 2}
            settings = kafka_settings(kafka, tmp_path / role, **given)
            create_topics(settings, [topic.name for topic in manifest.topics])
            environment = {
                "PENSTOCK_LOG": kafka.url,
                "PENSTOCK_STATE": redis_url,
                "PENSTOCK_KAFKA_PARTITIONS": "2",
                "PENSTOCK_DISK_FREE_BYTES_MIN": "0",
            }
            given = {"data": str(tmp_path / role)}
            made = build(environment, given, roles=(role,), others=(manifest,))
            opened.callback(made.close)
            made.start()
            return made

        yield platform


def test_an_edge_answers_what_a_worker_has_decided(
    opening: Callable[[str, Manifest], Platform],
) -> None:
    """Of equal requests at once too."""
    manifest = named_anew()
    edge = opening("edge", manifest)

    async def pay(payment: str, cents: int, purse: str = "a") -> Told:
        body = f"{purse} {payment} {cents}".encode()
        head = f"POST /pay HTTP/1.1\r\nHost: tests\r\nContent-Length: {len(body)}\r\n\r\n"
        return Told(*await asked(edge.edge, "POST", [head.encode() + body]))

    with asyncio.Runner() as runner:

        async def attach() -> None:
            edge.edge.attach(asyncio.get_running_loop())

        async def many() -> list[Told]:
            equal = [pay("p", 60) for _ in range(50)]
            return await asyncio.gather(*equal, pay("q", 60), pay("r", 0, "b"), pay("s", 101, "c"))

        runner.run(attach())
        opening("work", manifest)
        *equal, other, nothing, too_much = runner.run(many())
        assert {(told.status, told.paid) for told in equal} in ({(200, True)}, {(402, False)})
        assert other.paid is not equal[0].paid, "there is enough for one of them"
        assert (nothing.paid, too_much.paid) == (True, False)
