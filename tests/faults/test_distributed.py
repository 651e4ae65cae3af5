"""Several real processes on real brokers and a real Redis; some end, others go on (reliability 14).

The warehouse is the embedded one, which the main process owns. Everything acknowledged by any edge
is in both views exactly once, whoever ended meanwhile.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kafka import KafkaCluster
from services.redis import RedisServer
from support.history import History
from support.installation import PARTITIONS, Installation, installed, pipeline, readiness
from support.logs import wait_until
from support.process import Process

AWAY_SECONDS = float(os.environ.get("AWAY_SECONDS", "5"))
"""How long engines are away; `make faults` takes the 60 seconds of the catalogue."""


@pytest.fixture
def installation(
    tmp_path: Path, kafka_cluster: KafkaCluster, redis_server: RedisServer
) -> Iterator[Installation]:
    with installed(tmp_path, kafka_cluster, redis_server) as made:
        yield made


def partitions(worker: Process) -> set[int]:
    """Of which it carries the profiles."""
    stages = pipeline(worker)["projections"]
    return {stage["partition"] for stage in stages if stage["state"] != "elsewhere"}


def test_edges_and_workers_share_the_work_and_answers_are_exact(
    installation: Installation,
) -> None:
    edges = [installation.edge(f"edge-{n}") for n in range(2)]
    workers = [installation.worker(f"work-{n}") for n in range(2)]
    history, url = History(), installation.main.url
    with (
        history.load(edges[0].url, "one", queries=url),
        history.load(edges[1].url, "two", queries=url),
    ):
        time.sleep(3.0)
    wait_until(lambda: all(map(partitions, workers)))  # one may have begun after all was done
    end = installation.settle(edges[0], *workers)
    assert len(history.check(url, {"one", "two"})) == end
    assert not history.unsettled
    shares = [partitions(worker) for worker in workers]
    assert all(shares)
    assert shares[0] | shares[1] == set(range(PARTITIONS))
    assert not shares[0] & shares[1]
    assert installation.main.stop() == 0
    assert [process.stop() for process in (*edges, *workers)] == [0, 0, 0, 0]


def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(
    installation: Installation,
) -> None:
    edge = installation.edge("edge")
    workers = [installation.worker(f"work-{n}") for n in range(2)]
    history, url = History(), installation.main.url
    with history.load(edge.url, "one", queries=url):
        time.sleep(2.0)
        workers[0].kill()
        time.sleep(2.0)
        installation.main.kill()
        installation.main = installation.start(
            "main", "api", "work", PENSTOCK_PROJECTIONS="audiences_tags"
        )
        assert installation.main.url
    end = installation.settle(edge, workers[1])
    assert len(history.check(installation.main.url, {"one"})) == end


def test_an_edge_killed_loses_nothing_that_it_acknowledged(installation: Installation) -> None:
    worker, history = installation.worker("work"), History()
    for turn in range(3):
        edge = installation.edge("edge")
        with history.load(edge.url, f"turn {turn}", queries=installation.main.url):
            time.sleep(1.0)
            edge.kill()
    edge = installation.edge("edge")
    end = installation.settle(edge, worker)
    origins = {f"turn {turn}" for turn in range(3)}
    assert len(history.check(installation.main.url, origins, torn=True)) == end


def test_ingest_goes_on_while_all_brokers_are_away(
    installation: Installation, kafka_cluster: KafkaCluster
) -> None:
    edge, worker, history = installation.edge("edge"), installation.worker("work"), History()
    with history.load(edge.url, "one", queries=installation.main.url):
        time.sleep(1.0)
        for node in range(3):
            kafka_cluster.kill(node)
        time.sleep(AWAY_SECONDS)
        known = len(history.acknowledged)
        wait_until(lambda: len(history.acknowledged) > known)
        wait_until(lambda: pipeline(edge)["log"]["spooled"] > 0)
        wait_until(lambda: readiness(edge)[0] == 200)
    for node in range(3):
        kafka_cluster.brokers[node].launch()
    kafka_cluster.await_ready()
    end = installation.settle(edge, worker)
    assert not history.unsettled
    assert len(history.check(installation.main.url, {"one"})) == end


def test_redis_restarted_holds_up_profiles_only(
    installation: Installation, redis_server: RedisServer
) -> None:
    edge, worker, history = installation.edge("edge"), installation.worker("work"), History()
    assert worker.url
    with history.load(edge.url, "one", queries=""):
        time.sleep(1.0)
        redis_server.kill()
        wait_until(lambda: b"state" in readiness(worker)[1])
        assert readiness(worker)[0] == 503
        known = len(history.acknowledged)
        wait_until(lambda: len(history.acknowledged) > known)
        redis_server.restart()
    end = installation.settle(edge, worker)
    assert len(history.check(installation.main.url, {"one"})) == end
    wait_until(lambda: readiness(worker)[0] == 200)
