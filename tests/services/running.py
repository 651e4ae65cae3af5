"""The servers of `make services`: they outlive the command, and a record finds them again."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import psutil

from services.kafka import KafkaCluster
from services.postgresql import PostgreSQL
from services.redis import RedisServer

_GRACE_SECONDS = 3.0
"""The last broker would use as many minutes, for want of a majority to sign off at."""


class Recorded(msgspec.Struct, frozen=True):
    pid: int
    command: list[str]

    @property
    def process(self) -> psutil.Process | None:
        """Nothing when it has ended, even if another process has its number by now."""
        try:
            process = psutil.Process(self.pid)
            return process if process.cmdline() == self.command else None
        except psutil.Error:
            return None


class Record(msgspec.Struct, frozen=True):
    bootstrap: str
    redis: str
    postgresql: str
    servers: list[Recorded]


class Services:
    """One cluster, one Redis and one PostgreSQL, with their data, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = folder / "running.json"
        self._environment = folder / "env"

    def running(self) -> Record | None:
        """Only when all of them are alive."""
        record = self._recorded()
        return record if record and all(server.process for server in record.servers) else None

    def start(self) -> Record:
        """Raise `Missing` or `NotStarted`; then none of them is left. Idempotent."""
        if record := self.running():
            return record
        self.stop()
        with ExitStack() as started:
            redis = started.enter_context(RedisServer(self._folder, lasting=True))
            postgresql = started.enter_context(PostgreSQL(self._folder, lasting=True))
            cluster = KafkaCluster(self._folder, lasting=True)
            started.callback(cluster.close)
            cluster.launch()
            record = self._keep(
                cluster, redis, postgresql
            )  # before the wait, which somebody may cut short
            cluster.await_ready()
            started.pop_all()
        return record

    def stop(self) -> None:
        """Their data stays. Idempotent."""
        record = self._recorded()
        processes = [server.process for server in record.servers] if record else []
        end([process for process in processes if process])
        self._record.unlink(missing_ok=True)
        self._environment.unlink(missing_ok=True)

    def _recorded(self) -> Record | None:
        if not self._record.exists():
            return None
        return msgspec.json.decode(self._record.read_bytes(), type=Record)

    def _keep(self, cluster: KafkaCluster, redis: RedisServer, postgresql: PostgreSQL) -> Record:
        started = (*cluster.brokers, redis, postgresql)
        servers = [Recorded(server.pid, server.command) for server in started]
        record = Record(cluster.bootstrap, redis.url, postgresql.url, servers)
        self._record.write_bytes(msgspec.json.encode(record))
        self._environment.write_text(
            f"export PENSTOCK_LOG={cluster.url}\nexport PENSTOCK_STATE={redis.url}\n"
            f"export PENSTOCK_DATABASE={postgresql.url}\n"
            # What is embedded goes with these servers, and not with those of another log.
            f"export PENSTOCK_DATA={self._folder.resolve()}/penstock\n"
        )
        return record


def end(processes: Sequence[psutil.Process]) -> None:
    """Ask them, and kill those that do not end."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(processes, _GRACE_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left)
