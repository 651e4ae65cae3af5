"""Apache Kafka in KRaft mode; every node is broker and controller, as in a small installation.

What production would have stays: three copies of everything, of which two must have a record before
it is acknowledged, and no topic that nobody made. What differs makes it small and quick to start.
"""

import base64
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from services import jars
from services.packages import Missing, program
from services.ports import free_ports
from services.process import PATIENCE_SECONDS, Server, Startable

_READY = "Kafka Server started"
_FORMATTED = jars.JARS / "formatted"
_CLASSES = jars.JARS / "classes.jsa"
_SHARED = f"-XX:SharedArchiveFile={_CLASSES}"
_LOGGED = {
    "logFile": "System.out",
    "showDateTime": "true",
    "dateTimeFormat": "HH:mm:ss.SSS",
    # A thousand lines that repeat the settings.
    "log.kafka.server.KafkaConfig": "warn",
    "log.org.apache.kafka.common.config.AbstractConfig": "warn",
}


class Kafka:
    """Where a cluster is."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.url = f"kafka://{bootstrap}"


class KafkaCluster(Kafka, Startable):
    """Brokers 0, 1, 2, each with its data and its log in the folder; they survive a restart."""

    def __init__(self, folder: Path, brokers: int = 3, *, lasting: bool = False) -> None:
        """Raise `Missing` when Java is not installed or Kafka is not fetched."""
        if not (jars.fetched() and _FORMATTED.exists()):
            raise Missing("Kafka is not fetched; `make services` does it")
        ports = free_ports(2 * brokers)
        super().__init__(",".join(f"127.0.0.1:{port}" for port in ports[:brokers]))
        java = _java(lasting=lasting)
        cluster = _identifier()
        self.brokers = []
        for node in range(brokers):
            home = folder / f"kafka-{node}"
            _format(home, node, cluster)
            _configure(home, node, ports)
            self.brokers.append(
                Server(
                    [*java, "kafka.Kafka", str(home / "server.properties")],
                    folder / "log" / f"kafka-{node}.log",
                    ready=_READY,
                    lasting=lasting,
                )
            )

    def launch(self) -> None:
        for broker in self.brokers:
            broker.launch()

    def await_ready(self) -> None:
        for broker in self.brokers:
            broker.await_ready()

    def start(self) -> None:
        """All at once: one alone has no majority, and is never ready."""
        self.launch()
        self.await_ready()

    def kill(self, node: int) -> None:
        self.brokers[node].kill()

    def stop(self, node: int) -> None:
        """It hands over what it leads, and ends."""
        self.brokers[node].stop()

    def pause(self, node: int) -> None:
        """It holds its connections and answers nothing, like a machine that hangs."""
        self.brokers[node].pause()

    def resume(self, node: int) -> None:
        self.brokers[node].resume()

    def restart(self, node: int) -> None:
        """With the same data, at the same address."""
        self.brokers[node].restart()

    def close(self) -> None:
        """Kill all: of those that are only asked, the last waits for a majority, for minutes."""
        for broker in self.brokers:
            broker.close()


def prepare() -> None:
    """Make once what every cluster begins with: both take seconds, and a JVM of their own."""
    for made, make in ((_FORMATTED, _format_once), (_CLASSES, _archive_classes)):
        if not made.exists():
            with TemporaryDirectory() as folder:
                make(Path(folder))


def _format_once(folder: Path) -> None:
    _configure(folder, 0, free_ports(2))
    command = [
        *_java(lasting=False), "kafka.tools.StorageTool", "format",
        "--cluster-id", _identifier(), "--config", str(folder / "server.properties"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"Kafka could not format its storage:\n{done.stdout}{done.stderr}")
    shutil.copytree(folder / "data", _FORMATTED)


def _archive_classes(folder: Path) -> None:
    """As the JVM of a broker had them in memory: a third less work for each that starts later."""
    cluster = KafkaCluster(folder, brokers=1)
    (broker,) = cluster.brokers
    broker.command = [f"-XX:ArchiveClassesAtExit={_CLASSES}" if word == _SHARED else word
                      for word in broker.command]  # fmt: skip
    with cluster:
        broker.stop(PATIENCE_SECONDS)


def _java(*, lasting: bool) -> list[str]:
    """A JVM that starts with 1.7 s of work; one that lasts takes 2.8, and is faster later on."""
    quick = [] if lasting else ["-XX:TieredStopAtLevel=1"]
    return [
        program("java"), "-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:-UsePerfData", *quick,
        "-Xshare:auto", _SHARED,
        *(f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in _LOGGED.items()),
        "-cp", jars.classpath(),
    ]  # fmt: skip


def _format(home: Path, node: int, cluster: str) -> None:
    data = home / "data"
    if data.exists():
        return
    shutil.copytree(_FORMATTED, data)
    _write(
        data / "meta.properties",
        {
            "version": "1",
            "cluster.id": cluster,
            "node.id": str(node),
            "directory.id": _identifier(),
        },
    )


def _configure(home: Path, node: int, ports: Sequence[int]) -> None:
    half = len(ports) // 2
    own, controllers = ports[node], ports[half:]
    copies, enough = min(half, 3), min(half, 2)
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "listeners": f"BROKER://127.0.0.1:{own},CONTROLLER://127.0.0.1:{controllers[node]}",
        "advertised.listeners": f"BROKER://127.0.0.1:{own}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(
            f"{n}@127.0.0.1:{port}" for n, port in enumerate(controllers)
        ),
        "log.dirs": str(home / "data"),
        # As in production.
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(enough),
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(enough),
        # Small and quick.
        "offsets.topic.num.partitions": "3",
        "transaction.state.log.num.partitions": "3",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "log.cleaner.dedupe.buffer.size": str(4 << 20),
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed is missed, and may come back, after this instead of nine seconds.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }
    home.mkdir(parents=True, exist_ok=True)
    _write(home / "server.properties", settings)


def _write(path: Path, properties: dict[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def _identifier() -> str:
    """As Kafka writes them: sixteen bytes in letters and digits."""
    return base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
