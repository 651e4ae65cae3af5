"""Brokers, a Redis and several Penstock processes on one machine: the distributed engines."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.clients import closed
from bench.requests import framed
from bench.servers import Server, free_port, penstock, running, scratch

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from services.kafka import KafkaCluster
from services.redis import RedisServer
from support.installation import forget_topic

_MIGRATE_SECONDS_MAX = 120
_WARM_UP_CONNECTIONS = 256


class Cluster:
    """Everything that the processes of one installation share."""

    def __init__(self, folder: Path, kafka: KafkaCluster, redis: RedisServer) -> None:
        self.folder = folder
        self.kafka = kafka
        self.redis = redis
        self._urls = {"PENSTOCK_LOG": kafka.url, "PENSTOCK_STATE": redis.url}

    def migrate(self, name: str = "main") -> None:
        """Create the topics, and the tables of the process of that name."""
        command = penstock("migrate", "--data", str(self.folder / name))
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, timeout=_MIGRATE_SECONDS_MAX,
            env=os.environ | self._urls,
        )  # fmt: skip

    def warm_up(self, seconds: float) -> None:
        """Load the brokers until their code is compiled, and leave nothing behind.

        In its first ten seconds a broker takes a sixth of what it takes a minute later.
        """
        with framed("single") as requests, self.serving("warm-up", "edge") as edge:
            closed(edge.port, requests, seconds, _WARM_UP_CONNECTIONS)
        forget_topic(self.kafka.bootstrap)
        self.migrate()

    @contextmanager
    def serving(self, name: str, *roles: str, projections: str = "") -> Iterator[Server]:
        """A process with a data folder of its name."""
        port, folder = free_port(), self.folder / name
        folder.mkdir(exist_ok=True)
        options = [word for role in roles for word in ("--role", role)]
        command = penstock("serve", "--data", str(folder), "--port", str(port), *options)
        environment = self._urls | {"PENSTOCK_PROJECTIONS": projections}
        with running(command, port, folder, ready="/readyz", environment=environment) as server:
            yield server


@contextmanager
def clustered() -> Iterator[Cluster]:
    """Three brokers and a Redis, with nothing in them but what `migrate` makes."""
    with ExitStack() as opened:
        folder = opened.enter_context(scratch())
        kafka = opened.enter_context(KafkaCluster(folder / "kafka", lasting=True))
        redis = opened.enter_context(RedisServer(folder / "redis", lasting=True))
        cluster = Cluster(folder, kafka, redis)
        cluster.migrate()
        yield cluster
