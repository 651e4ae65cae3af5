"""Several real processes on shared engines: edges, workers, and the one that owns the warehouse."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from confluent_kafka.admin import AdminClient

from services.kafka import KafkaCluster
from services.redis import RedisServer
from support.process import COMMAND, Connection, Process, clean

TOPIC = "audiences.tags"
PATIENCE_SECONDS = 180.0
PARTITIONS = 12


class Installation:
    def __init__(self, folder: Path, kafka: KafkaCluster, server: RedisServer) -> None:
        """Nothing is in the brokers or the state that another test left there."""
        self.folder = folder
        self._environment = {"PENSTOCK_LOG": kafka.url, "PENSTOCK_STATE": server.url}
        self._processes: list[Process] = []
        forget_topic(kafka.bootstrap)
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        self.penstock("migrate")
        self.main = self.start("main", "api", "work", PENSTOCK_PROJECTIONS="audiences_tags")
        """The process that owns the embedded warehouse, and answers all queries."""

    def start(self, name: str, *roles: str, **settings: str) -> Process:
        options = [word for role in roles for word in ("--role", role)]
        process = Process(self.folder / name, {**self._environment, **settings}, *options)
        self._processes.append(process)
        return process

    def edge(self, name: str, **settings: str) -> Process:
        return self.start(name, "edge", **settings)

    def worker(self, name: str) -> Process:
        """One that carries profiles only, and so needs no warehouse."""
        return self.start(name, "work", PENSTOCK_PROJECTIONS="audiences.profiles")

    def penstock(self, *arguments: str, **settings: str) -> str:
        """A command of the operator's, on the folder of the main process; what it said."""
        done = subprocess.run(
            [COMMAND, *arguments, "--data", str(self.folder / "main")],
            env=clean() | self._environment | settings,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def settle(self, edge: Process, *workers: Process) -> int:
        """Wait until every record of the log is in both views; how many there are."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            told = pipeline(edge)
            spooled: int = told["log"]["spooled"]
            end: int = told["topics"][0]["end"]
            tables = _positions([self.main])
            profiles = _positions(list(workers)) if workers else tables
            if not spooled and end and tables == profiles == end and self._answers():
                return end
            assert time.monotonic() < until, (told, tables, profiles)
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Whether the main process has seen it too."""
        return readiness(self.main)[0] == 200

    def end(self) -> None:
        for process in self._processes:
            process.end()


@contextmanager
def installed(folder: Path, kafka: KafkaCluster, server: RedisServer) -> Iterator[Installation]:
    installation = Installation(folder, kafka, server)
    try:
        yield installation
    finally:
        installation.end()


def pipeline(process: Process) -> dict[str, Any]:
    connection = Connection(process.url)
    try:
        told: dict[str, Any] = connection.json("GET", "/api/pipeline")
    finally:
        connection.close()
    return told


def readiness(process: Process) -> tuple[int, bytes]:
    connection = Connection(process.url)
    try:
        return connection.ask("GET", "/readyz")
    finally:
        connection.close()


def _positions(processes: list[Process]) -> int:
    stages = [stage for one in processes for stage in pipeline(one)["projections"]]
    return sum(stage["position"] for stage in stages if stage["state"] != "elsewhere")


def forget_topic(bootstrap: str) -> None:
    """Return when nobody knows of it any more."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if TOPIC in admin.list_topics(timeout=PATIENCE_SECONDS).topics:
        for future in admin.delete_topics([TOPIC]).values():
            future.result(PATIENCE_SECONDS)
        until = time.monotonic() + PATIENCE_SECONDS
        while TOPIC in admin.list_topics(timeout=PATIENCE_SECONDS).topics:
            assert time.monotonic() < until
            time.sleep(0.1)
