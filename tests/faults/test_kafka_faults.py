"""Brokers that are killed, hang, change their leaders or are all away; edges that are killed
(reliability 14).

Whatever happens: what was acknowledged is in the topic, once, and in the order of its key.
"""

import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from penstock.core.errors import NotReady
from penstock.core.log import SPOOLED, Append, Follow
from penstock.core.log.kafka import cluster
from penstock.core.log.kafka.edge import KafkaLog
from penstock.core.settings import Settings
from services.kafka import KafkaCluster
from support.kafka import all_in_sync, kafka_settings, leader, new_topic, open_edge
from support.logs import ANSWER_SECONDS, account, add, balanced, begin, submit, wait_until

TESTS = Path(__file__).parents[1]
ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
AWAY_SECONDS = 60.0 if "KILL_ROUNDS" in os.environ else 2.0
BROKERS = (0, 1, 2)
WRITERS = 8
SPOOL_AFTER_SECONDS = 0.5


@pytest.fixture
def settings(kafka_cluster: KafkaCluster, tmp_path: Path) -> Settings:
    return kafka_settings(
        kafka_cluster, tmp_path, kafka_partitions=3, kafka_spool_after_seconds=SPOOL_AFTER_SECONDS
    )


@pytest.fixture
def topic(settings: Settings) -> str:
    return new_topic(settings)


@pytest.fixture
def log(settings: Settings, topic: str) -> Iterator[KafkaLog]:
    opened = open_edge(settings, topic)
    yield opened
    opened.close()


class Writers:
    """Clients that wait for each answer before they send on; one key each."""

    def __init__(self, log: KafkaLog, topic: str, number: int = WRITERS) -> None:
        self.acknowledged: list[bytes] = []
        self.refused: list[Exception] = []
        self._log, self._topic = log, topic
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_nobody(self) -> bool:
        """Who waited for the brokers each time would have one answer at most in such a moment."""
        began, known = time.monotonic(), len(self.acknowledged)
        time.sleep(SPOOL_AFTER_SECONDS / 2)
        found = len(self.acknowledged) - known
        return found > len(self._threads) and time.monotonic() - began < SPOOL_AFTER_SECONDS

    def _write(self, writer: int) -> None:
        number = 0
        while not self._stop.is_set():
            event = b"%d/%d" % (writer, number)
            key = event.decode() if number % 4 == 3 else ""
            try:
                submit(self._log, Append(self._topic, [event], [b"%d" % writer], key))
                self.acknowledged.append(event)
            except Exception as error:  # noqa: BLE001 - the test shows whatever it was
                self.refused.append(error)
            number += 1


def everything(log: Follow, topic: str) -> list[bytes]:
    """Partition by partition, each in its order."""
    found: list[bytes] = []
    reader = log.reader()
    for partition in range(log.partitions(topic)):
        position, end = 0, log.end(topic, partition)
        while position < end:
            batch = reader.read(topic, partition, position, 10_000)
            found += batch.payloads
            position = batch.next
    reader.close()
    return found


def check(found: list[bytes], acknowledged: list[bytes]) -> None:
    """Nothing lost, nothing twice, every key in its order."""
    counts = Counter(found)
    assert set(acknowledged) - counts.keys() == set()
    assert [event for event, count in counts.items() if count > 1] == []
    last: dict[bytes, int] = {}
    for event in found:
        key, _, number = event.partition(b"/")
        assert int(number) > last.get(key, -1)
        last[key] = int(number)


def warm_up(log: KafkaLog, topic: str) -> None:
    """The first record waits until everybody has met."""
    with suppress(NotReady):
        begin(log, Append(topic, [b"warm/0"])).result(ANSWER_SECONDS)
    wait_until(lambda: not log._traffic.spooling)


def taken_by_brokers(log: KafkaLog, topic: str, event: bytes) -> int:
    """How often it was added until it was not spooled: brokers that are back may still be slow."""
    tries = itertools.count(1)

    def taken() -> bool:
        next(tries)
        with suppress(NotReady):
            return add(log, event, topic=topic) != SPOOLED
        return False

    wait_until(taken)
    return next(tries) - 1


# -- brokers --------------------------------------------------------------------------------------


def killed(cluster: KafkaCluster, node: int) -> None:
    cluster.kill(node)


def stopped(cluster: KafkaCluster, node: int) -> None:
    """It hands its leadership over first."""
    cluster.stop(node)


def hung(cluster: KafkaCluster, node: int) -> None:
    cluster.pause(node)


@pytest.mark.parametrize("way", [killed, stopped, hung])
def test_one_broker_less_costs_nothing_and_nobody_is_refused(
    kafka_cluster: KafkaCluster,
    topic: str,
    log: KafkaLog,
    way: Callable[[KafkaCluster, int], None],
) -> None:
    wait_until(lambda: leader(kafka_cluster, topic) != -1)
    node = leader(kafka_cluster, topic)
    with Writers(log, topic) as writers:
        time.sleep(1)
        way(kafka_cluster, node)
        wait_until(lambda: leader(kafka_cluster, topic) not in (node, -1))
        time.sleep(1)
        if way is hung:
            kafka_cluster.resume(node)
        else:
            kafka_cluster.restart(node)
        wait_until(lambda: all_in_sync(kafka_cluster, topic))
        time.sleep(1)
    wait_until(lambda: log.spooled == 0)
    assert writers.refused == []
    check(everything(log, topic), writers.acknowledged)
    assert account(log, topic).stored == len(writers.acknowledged)
    assert balanced(account(log, topic))


def test_while_all_brokers_are_away_ingest_goes_on_and_then_everything_is_sent(
    kafka_cluster: KafkaCluster, topic: str, log: KafkaLog
) -> None:
    with Writers(log, topic) as writers:
        wait_until(lambda: len(writers.acknowledged) > 100)
        for node in BROKERS:
            kafka_cluster.kill(node)
        wait_until(lambda: log.spooled > 100)
        time.sleep(AWAY_SECONDS)
        wait_until(writers.wait_for_nobody)
        assert log.failure() == ""
        kafka_cluster.start()
        wait_until(lambda: log.spooled == 0)
        last = taken_by_brokers(log, topic, b"last")
    wait_until(lambda: log.spooled == 0)
    assert writers.refused == []
    check([e for e in everything(log, topic) if e != b"last"], writers.acknowledged)
    assert account(log, topic).stored == len(writers.acknowledged) + last
    assert balanced(account(log, topic))


def test_the_disk_gets_back_what_the_spool_took(
    kafka_cluster: KafkaCluster, topic: str, log: KafkaLog, tmp_path: Path
) -> None:
    noise = random.Random(7)
    for node in BROKERS:
        kafka_cluster.pause(node)
    records = 3_000
    for _ in range(records // 100):
        begin(log, Append(topic, [noise.randbytes(20_000) for _ in range(100)]))
    wait_until(lambda: log.spooled == records)
    largest = log.bytes_on_disk()
    assert largest > records * 20_000
    for node in BROKERS:
        kafka_cluster.resume(node)
    wait_until(lambda: log.spooled == 0)
    wait_until(lambda: (tmp_path / "spool.db").stat().st_size < largest / 3)
    assert len(everything(log, topic)) == records


def test_answers_that_come_too_late_double_nothing(
    kafka_cluster: KafkaCluster, settings: Settings, topic: str
) -> None:
    """Requests time out and are repeated; then both reach brokers that only hung."""
    impatient = f"{settings.log}?socket.timeout.ms=1000"
    log = open_edge(
        kafka_settings(kafka_cluster, settings.folder, log=impatient, kafka_partitions=3), topic
    )
    try:
        with Writers(log, topic) as writers:
            for _ in range(2):
                time.sleep(0.5)
                for node in BROKERS:
                    kafka_cluster.pause(node)
                time.sleep(2.5)
                for node in BROKERS:
                    kafka_cluster.resume(node)
        wait_until(lambda: log.spooled == 0)
        assert writers.refused == []
        check(everything(log, topic), writers.acknowledged)
    finally:
        log.close()


# -- the edge -------------------------------------------------------------------------------------


class EdgeProcess:
    """`support.edge_process`, with what it acknowledged so far."""

    def __init__(self, settings: Settings, topic: str, run: str, *options: str) -> None:
        self.acknowledged: list[bytes] = []
        self.said: list[str] = []
        bootstrap = settings.log.removeprefix("kafka://")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.edge_process", bootstrap, settings.data, topic, run,
             *options],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._threads = [threading.Thread(target=of) for of in (self._listen, self._read)]
        for thread in self._threads:
            thread.start()

    @property
    def spooled(self) -> int:
        return next((int(s[8:]) for s in reversed(self.said) if s.startswith("spooled ")), 0)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            self.acknowledged.extend(line[:-1] for line in lines if line.endswith(b"\n"))

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self.said.extend(line.decode().strip() for line in lines)


@pytest.mark.parametrize("options", [(), ("unmarked",)], ids=["", "marks never written"])
def test_an_edge_killed_at_any_moment_loses_and_doubles_nothing(
    kafka_cluster: KafkaCluster, settings: Settings, topic: str, options: tuple[str, ...]
) -> None:
    acknowledged: list[bytes] = []
    for number in range(ROUNDS):
        edge = EdgeProcess(settings, topic, str(number), *options)
        try:
            _live_through(kafka_cluster, edge, number % 3)
        finally:
            edge.kill()
            for node in BROKERS:
                kafka_cluster.resume(node)
        acknowledged += edge.acknowledged
    log = open_edge(settings, topic)
    try:
        wait_until(lambda: log.spooled == 0)
        check(everything(log, topic), acknowledged)
        assert balanced(account(log, topic))
    finally:
        log.close()


def _live_through(cluster: KafkaCluster, edge: EdgeProcess, part: int) -> None:
    """Until some moment while all is well, while it spools, or while it drains."""
    wait_until(lambda: len(edge.acknowledged) > 50)
    if part > 0:
        for node in BROKERS:
            cluster.pause(node)
        wait_until(lambda: edge.spooled > 200)
    if part > 1:
        for node in BROKERS:
            cluster.resume(node)
    time.sleep(random.uniform(0.0, 0.6))


def test_an_edge_that_starts_while_the_brokers_are_away_spools_what_it_knows_topics_for(
    kafka_cluster: KafkaCluster, settings: Settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_edge(settings, topic).close()
    monkeypatch.setattr(cluster, "_ASK_SECONDS", 0.5)
    for node in BROKERS:
        kafka_cluster.kill(node)
    log = open_edge(settings, topic)
    try:
        assert add(log, b"a/0", topic=topic) == SPOOLED
        assert add(log, b"a/1", topic=topic, key="k") == SPOOLED
        kafka_cluster.start()
        wait_until(lambda: log.spooled == 0)
        check(everything(log, topic), [b"a/0", b"a/1"])
    finally:
        log.close()


def test_a_producer_that_fails_is_replaced_and_loses_nothing(topic: str, log: KafkaLog) -> None:
    """As librdkafka fails for good when brokers lost what it built on."""
    with Writers(log, topic) as writers:
        for _ in range(3):
            time.sleep(0.5)
            log._traffic.session._fail("said the test")
            wait_until(lambda: not log._spooler._recovering and not log._traffic.spooling)
    wait_until(lambda: log.spooled == 0)
    assert writers.refused == []
    check(everything(log, topic), writers.acknowledged)
    assert account(log, topic).stored == len(writers.acknowledged)


# -- the disk of the spool ------------------------------------------------------------------------


def test_without_brokers_and_without_a_disk_events_are_refused_and_the_setting_is_named(
    kafka_cluster: KafkaCluster, settings: Settings, topic: str
) -> None:
    full = kafka_settings(
        kafka_cluster, settings.folder, kafka_partitions=3, disk_free_bytes_min=1 << 62,
        kafka_spool_after_seconds=0.2,
    )  # fmt: skip
    log = open_edge(full, topic)
    try:
        warm_up(log, topic)
        for node in BROKERS:
            kafka_cluster.pause(node)
        for key in ("", "k"):
            with pytest.raises(NotReady, match="lower PENSTOCK_DISK_FREE_BYTES_MIN"):
                add(log, b"a/1", topic=topic, key=key)
        assert "are free" in log.failure()
        for node in BROKERS:
            kafka_cluster.resume(node)
        wait_until(lambda: log.failure() == "")
        taken_by_brokers(log, topic, b"a/2")
        assert b"a/2" in everything(log, topic)
        assert balanced(account(log, topic))
    finally:
        log.close()
