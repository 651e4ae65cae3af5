"""Logs of every engine, opened with the same promises."""

from pathlib import Path

from penstock.core.log import Log
from penstock.core.log.memory import MemoryLog
from penstock.core.log.sqlite import Limits, SqliteLog
from services.kafka import Kafka
from support.clock import MovedClock
from support.kafka import Apart, kafka_settings
from support.logs import TOPIC

HOURS = 24.0
TOPICS = (TOPIC, "tests.one", "tests.two", "tests.other", "tests.none")


def open_sqlite(folder: Path, clock: MovedClock) -> Log:
    return SqliteLog(folder / "log.db", clock, Limits(idempotency_hours=HOURS))


def open_memory(folder: Path, clock: MovedClock) -> Log:
    return MemoryLog(clock, idempotency_hours=HOURS)


def open_kafka(kafka: Kafka, folder: Path, clock: MovedClock) -> Log:
    settings = kafka_settings(
        kafka,
        folder,
        idempotency_hours=HOURS,
        kafka_partitions=1,  # so that offsets count what was accepted
        kafka_spool_after_seconds=60.0,  # nor does a slow machine hide them
    )
    return Apart(settings, clock, TOPICS)
