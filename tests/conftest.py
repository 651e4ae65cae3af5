"""Marks by place; Kafka, PostgreSQL, Redis and nginx for tests that ask for them by a fixture.

On continuous integration a missing one fails; elsewhere the test is left out, and the end says so.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from services import jars
from services.jars import SERVICES
from services.kafka import Kafka, KafkaCluster
from services.packages import Missing, program
from services.postgresql import PostgreSQL
from services.redis import RedisServer
from services.running import Services

# A busy machine is no failure; and each run draws other examples, so that few of them are enough.
# Not on continuous integration: there a change is judged, and not the luck of whoever made it.
settings.register_profile(
    "untimed",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")

MARKED_BY_PLACE = {"e2e", "faults", "hostile", "services"}
SERVED = {
    "fetched", "kafka", "kafka_cluster", "nginx", "postgresql", "postgresql_server", "redis_server",
    "redis_url",
}  # fmt: skip
LEFT_OUT = "left out: "


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Three brokers that everybody shares: take topics of names of your own, and kill none."""
    if running := Services(SERVICES).running():
        yield Kafka(running.bootstrap)
        return
    with _or_left_out(), KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kafka_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three brokers of the module's own, to be killed; each test leaves them running."""
    with _or_left_out(), KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty Redis of this run: one starts in milliseconds, and a test may clear it."""
    with _or_left_out(), RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the module's own, to be killed; each test leaves it running."""
    with _or_left_out(), RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """One PostgreSQL of this run: make databases of your own, and do not kill it."""
    with _or_left_out(), PostgreSQL(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(scope="module")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A PostgreSQL of the module's own, to be killed; each test leaves it running."""
    with _or_left_out(), PostgreSQL(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(scope="session")
def fetched() -> None:
    """What `make services` starts is there, for tests that run that."""
    with _or_left_out():
        program("java")
        if not jars.fetched():
            raise Missing("Kafka is not fetched; `make services` does that")


@pytest.fixture(scope="session")
def nginx() -> Iterator[str]:
    """The program; whoever asks for it starts it with a configuration of their own."""
    with _or_left_out():
        yield program("nginx")


@contextmanager
def _or_left_out() -> Iterator[None]:
    try:
        yield
    except Missing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(f"{LEFT_OUT}{missing}")


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in MARKED_BY_PLACE:
            item.add_marker(folder)
        if SERVED.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("services")


def pytest_collection_finish() -> None:
    """Thousands of tests were collected, and will not go; nobody need look through them."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [report.longrepr[2] for report in terminalreporter.getreports("skipped")
               if isinstance(report.longrepr, tuple)]  # fmt: skip
    left_out = [reason for reason in reasons if LEFT_OUT in reason]
    if left_out:
        terminalreporter.section("left out", yellow=True)
        terminalreporter.write_line(
            f"{len(left_out)} tests, for want of Kafka, PostgreSQL, Redis or nginx"
        )
        for reason in sorted(set(left_out)):
            terminalreporter.write_line(reason.partition(LEFT_OUT)[2])
