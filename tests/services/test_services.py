"""The servers that other tests stand on: they start, are killed, come back, and leave nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from redis import Redis

from services import packages
from services.kafka import Kafka, KafkaCluster
from services.ports import free_ports
from services.postgresql import PostgreSQL
from services.process import NotStarted, Server
from services.redis import RedisServer
from services.running import Record, Recorded, Services

TESTS = Path(__file__).parents[1]
PATIENCE_SECONDS = 180.0


def make_topic(bootstrap: str) -> str:
    name = f"services.{uuid4().hex}"
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(name, 1)])[name].result(PATIENCE_SECONDS)
    return name


def store(bootstrap: str, topic: str, value: bytes) -> None:
    """Return when enough brokers have it."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(PATIENCE_SECONDS) == 0
    assert failures == [None]


def stored(bootstrap: str, topic: str, number: int) -> list[bytes]:
    settings = {"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "enable.auto.commit": False})
    consumer.subscribe([topic])
    try:
        found = consumer.consume(number, PATIENCE_SECONDS)
        return [message.value() or b"" for message in found]
    finally:
        consumer.close()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


# -- Kafka --------------------------------------------------------------------------------------


def copies(bootstrap: str, topic: str) -> tuple[int, list[int]]:
    """Its leader, and the brokers that have everything."""
    client, deadline = AdminClient({"bootstrap.servers": bootstrap}), time.monotonic()
    deadline += PATIENCE_SECONDS
    while True:  # some broker may not have heard of it yet
        partitions = client.list_topics(topic, PATIENCE_SECONDS).topics[topic].partitions
        if 0 in partitions and partitions[0].leader != -1:
            return partitions[0].leader, sorted(partitions[0].isrs)
        assert time.monotonic() < deadline


def test_a_record_that_the_shared_cluster_took_is_read_back(kafka: Kafka) -> None:
    topic = make_topic(kafka.bootstrap)

    store(kafka.bootstrap, topic, b"one")

    assert stored(kafka.bootstrap, topic, 1) == [b"one"]


def test_a_broker_that_was_killed_comes_back_and_has_what_it_missed(
    kafka_cluster: KafkaCluster,
) -> None:
    bootstrap = kafka_cluster.bootstrap
    topic = make_topic(bootstrap)
    store(bootstrap, topic, b"before")
    leader, _ = copies(bootstrap, topic)

    kafka_cluster.kill(leader)
    store(bootstrap, topic, b"meanwhile")
    kafka_cluster.restart(leader)

    eventually(lambda: copies(bootstrap, topic)[1] == [0, 1, 2])
    assert stored(bootstrap, topic, 2) == [b"before", b"meanwhile"]


def test_a_broker_may_hang_and_go_on(kafka_cluster: KafkaCluster) -> None:
    bootstrap = kafka_cluster.bootstrap
    topic = make_topic(bootstrap)
    leader, _ = copies(bootstrap, topic)

    kafka_cluster.pause(leader)
    store(bootstrap, topic, b"meanwhile")
    eventually(lambda: leader not in copies(bootstrap, topic)[1])
    kafka_cluster.resume(leader)

    eventually(lambda: copies(bootstrap, topic)[1] == [0, 1, 2])


# -- Redis --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [RedisServer.kill, RedisServer.stop])
def test_a_redis_that_ended_comes_back_with_its_data(
    redis_server: RedisServer, end: Callable[[RedisServer], None]
) -> None:
    key = uuid4().hex
    with Redis.from_url(redis_server.url) as client:
        client.set(key, "kept")

    end(redis_server)
    redis_server.restart()

    with Redis.from_url(redis_server.url) as client:
        assert client.get(key) == b"kept"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_the_redis_of_the_run_answers(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        assert client.ping()


# -- PostgreSQL ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [PostgreSQL.kill, PostgreSQL.stop])
def test_a_postgresql_that_ended_comes_back_with_its_data(
    postgresql_server: PostgreSQL, end: Callable[[PostgreSQL], None]
) -> None:
    name = f"kept_{uuid4().hex}"
    with psycopg.connect(postgresql_server.url) as client:
        client.execute(f"CREATE TABLE {name} ()".encode())

    end(postgresql_server)
    postgresql_server.restart()

    with psycopg.connect(postgresql_server.url) as client:
        assert client.execute(f"SELECT count(*) FROM {name}".encode()).fetchall() == [(0,)]


# -- any server ---------------------------------------------------------------------------------


def test_a_server_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    server = Server(["sh", "-c", "echo no room; exit 3"], tmp_path / "it.log", ready="ready")

    with pytest.raises(NotStarted, match=r"it: ended with status 3(?s:.*)no room"), server:
        pass


def test_only_what_was_said_since_the_start_counts(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    log.write_text("ready\n")

    with pytest.raises(NotStarted), Server(["true"], log, ready="ready"):
        pass


STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from services.process import Server

server = Server(["sh", "-c", "echo ready; exec sleep 60"], Path(sys.argv[1]), ready="ready")
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS, str(tmp_path / "it.log")],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
    )
    with starter:
        assert starter.stdout is not None
        server = int(starter.stdout.readline())
        starter.kill()

    eventually(lambda: not psutil.pid_exists(server))


def test_free_ports_differ(tmp_path: Path) -> None:
    assert len(set(free_ports(50))) == 50


# -- make services ------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "services"
    command("stop", tmp_path / "services")


def command(verb: str, folder: Path) -> str:
    """As `make` runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "services", "--folder", str(folder), verb],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures(
    "kafka_cluster", "redis_server", "postgresql_server"
)  # left out where they cannot be had
def test_services_start_once_outlive_the_command_and_leave_nothing(folder: Path) -> None:
    said = command("start", folder)
    record = Services(folder).running()

    assert record is not None
    assert command("start", folder) == said
    assert Services(folder).running() == record
    assert sourced(folder) == [f"kafka://{record.bootstrap}", record.redis, record.postgresql]
    topic = make_topic(record.bootstrap)

    command("stop", folder)
    assert Services(folder).running() is None
    assert not [server for server in record.servers if psutil.pid_exists(server.pid)]

    command("start", folder)
    again = Services(folder).running()
    assert again is not None
    assert stored_topics(again) == {topic}


def stored_topics(record: Record) -> set[str]:
    client = AdminClient({"bootstrap.servers": record.bootstrap})
    return {
        name for name in client.list_topics(timeout=PATIENCE_SECONDS).topics if name[:2] != "__"
    }


def sourced(folder: Path) -> list[str]:
    shown = subprocess.check_output(
        ["sh", "-c", f". {folder}/env && printenv PENSTOCK_LOG PENSTOCK_STATE PENSTOCK_DATABASE"],
        text=True,
    )
    return shown.split()


def test_a_process_that_only_has_the_number_of_a_server_is_let_live(folder: Path) -> None:
    folder.mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        record = Record("", "", "", [Recorded(other.pid, ["redis-server"])])
        (folder / "running.json").write_bytes(msgspec.json.encode(record))

        assert Services(folder).running() is None
        command("stop", folder)

        assert other.poll() is None
        other.send_signal(signal.SIGKILL)
    assert not (folder / "running.json").exists()


# -- where they cannot be had -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ci", "status", "said"),
    [
        ("", 0, "1 tests, for want of Kafka, PostgreSQL, Redis or nginx"),
        ("true", 1, "redis-server is not installed"),
    ],
)
def test_without_redis_a_test_is_left_out_but_fails_on_continuous_integration(
    tmp_path: Path, ci: str, status: int, said: str
) -> None:
    test = f"{__file__}::{test_the_redis_of_the_run_answers.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        env={**os.environ, "CI": ci, "PATH": str(tmp_path)},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status, done.stdout
    assert said in done.stdout


def test_who_is_not_root_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(packages.Missing, match=r"sudo apt-get install .* maven redis-server$"):
        packages.install(["mvn", "redis-server"])


def test_debian_starts_no_service_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "_POLICY", policy)

    with packages._no_service_starts():
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
