"""From one machine to shared engines: the log copied, the read models rebuilt, answers the same."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kafka import KafkaCluster
from services.redis import RedisServer
from support.history import History
from support.installation import Installation, installed
from support.process import COMMAND, Process, caught_up, clean

TAGS = 3_000
PATIENCE_SECONDS = 120


@pytest.fixture
def shared(
    tmp_path: Path, kafka_cluster: KafkaCluster, redis_server: RedisServer
) -> Iterator[Installation]:
    with installed(tmp_path, kafka_cluster, redis_server) as made:
        yield made


def copy(folder: Path, source: str, target: str) -> tuple[int, str]:
    """From beside the folder, which the URL names in another way than the option."""
    done = subprocess.run(
        [COMMAND, "copy", "--from", source, "--to", target, "--data", folder.name],
        env=clean(), cwd=folder.parent,
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_log_moves_to_kafka_and_everything_rebuilt_there_is_equal(
    tmp_path: Path, shared: Installation, kafka_cluster: KafkaCluster
) -> None:
    history, folder = History(), tmp_path / "embedded"
    process = Process(folder)
    history.send(process.url, "moved", TAGS)
    caught_up(process.url)
    assert shared.main.url
    assert shared.main.stop() == 0
    source = f"sqlite://{folder}/log.db"

    status, said = copy(folder, source, kafka_cluster.url)
    assert status == 2, "while its process runs it cannot be read whole"
    assert "is in use by process" in said
    assert process.stop() == 0

    status, said = copy(folder, source, kafka_cluster.url)
    assert status == 0, said
    assert "audiences.tags: equal" in said
    assert said.count(f"{TAGS} records, checksum ") == 2
    status, said = copy(folder, source, kafka_cluster.url)
    assert status == 2
    assert f"holds {TAGS} records already" in said

    for projection in ("audiences.profiles", "audiences_tags"):
        told = shared.penstock("rebuild", projection, "--from-scratch")
        assert f"{projection}: {TAGS} records, swapped in" in told
        told = shared.penstock("rebuild", projection)
        assert told.splitlines()[-1] == "equal"
    edge, worker = shared.edge("edge"), shared.worker("work")
    shared.main = shared.start("main", "api", "work", PENSTOCK_PROJECTIONS="audiences_tags")
    history.send(edge.url, "later", 100)
    assert shared.settle(edge, worker) == TAGS + 100
    assert len(history.check(shared.main.url, {"moved", "later"})) == TAGS + 100
