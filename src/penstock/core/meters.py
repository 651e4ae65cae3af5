"""Meters: what a scrape is told of the log, of the stores and of the disk below them.

A figure that cannot be had is missing, and no other is. What takes long is measured beforehand.
"""

import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.clock import Clock, careful
from penstock.core.errors import NotReady
from penstock.core.log import Follow, Log
from penstock.core.log.sqlite import SqliteLog
from penstock.core.poller import Poller
from penstock.core.projection import Table
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import Stores, TableSink
from penstock.core.telemetry import Samples
from penstock.core.timing import ahead_seconds

if TYPE_CHECKING:
    from penstock.core.database import Database

_MEASURE_SECONDS = 10.0
_MEASURED_SECONDS_MAX = 60.0
"""A size that is older says nothing any more."""
_FIRST_SECONDS = 1.0


class Meters:
    def __init__(
        self,
        folder: Path,
        follow: Follow,
        log: Log | None,
        stores: Stores | None,
        *,
        topics: Iterable[str],
        consumers: Collection[Consumer],
        clock: Clock,
        database: "Database | None" = None,
    ) -> None:
        self.sizes: Poller[dict[str, int | Exception]] = Poller(
            "sizes",
            self._measure,
            every_seconds=_MEASURE_SECONDS,
            first_seconds=_FIRST_SECONDS,
            clock=clock,
        )
        """How large each store is, or why that is unknown. Whoever has the meters starts it."""
        self.others: dict[str, Callable[[], int]] = {}
        """Stores that are measured besides."""
        self._folder = folder
        self._follow = follow
        self._log = log
        self._stores = stores
        self._database = database
        self._topics = tuple(topics)
        self._consumers = consumers
        self._clock = careful(clock)

    def sample(self, samples: Samples) -> None:
        for topic in self._topics:
            with samples.apart(f"account of {topic}"):
                self._sample_account(samples, topic)
            with samples.apart(f"ends of {topic}"):
                self._sample_ends(samples, topic)
        if self._log is not None:
            samples.counter("penstock_log_commits", self._log.commits)
            samples.gauge("penstock_log_spooled", self._log.spooled)
            with samples.apart("number of idempotency keys"):
                samples.gauge("penstock_idempotency_keys", self._log.idempotency_keys)
        with samples.apart("free space"):
            free = shutil.disk_usage(self._folder).free
            samples.gauge("penstock_disk_free_bytes", free)
        samples.gauge("penstock_clock_step_seconds", self._clock.step_seconds())
        self._sample_sizes(samples)
        for consumer in self._consumers:
            table, sink, of = consumer.projection, consumer.sink, consumer.projection.name
            if isinstance(table, Table) and isinstance(sink, TableSink):
                with samples.apart(f"gauges of {table.name}"):
                    for name, value in _gauges(table, sink).items():
                        samples.gauge("penstock_application", value, number=name)
                    if (ahead := ahead_seconds(consumer, self._clock)) is not None:
                        samples.gauge("penstock_projection_ahead_seconds", ahead, projection=of)

    def _sample_account(self, samples: Samples, topic: str) -> None:
        totals = self._follow.totals(topic)
        samples.counter("penstock_events_received", totals.received, topic=topic)
        samples.counter("penstock_events_stored", totals.stored, topic=topic)
        samples.counter("penstock_events_duplicate", totals.duplicate, topic=topic)
        samples.counter("penstock_events_rejected", totals.rejected, topic=topic)

    def _sample_ends(self, samples: Samples, topic: str) -> None:
        for partition in range(self._follow.partitions(topic)):
            of = {"topic": topic, "partition": str(partition)}
            samples.gauge("penstock_log_end_offset", self._follow.end(topic, partition), **of)
            extent = self._follow.extent(topic, partition)
            samples.gauge("penstock_log_start_offset", extent.start, **of)
            if isinstance(self._log, SqliteLog):
                samples.gauge("penstock_log_topic_bytes", extent.bytes, topic=topic)
                samples.counter("penstock_log_trimmed_records", extent.start, topic=topic)
                samples.counter("penstock_log_trimmed_bytes", extent.trimmed_bytes, topic=topic)

    def _sample_sizes(self, samples: Samples) -> None:
        measured = self.sizes.known()
        if measured is None:
            return
        age = self.sizes.age(measured)
        for store, size in measured.value.items():
            with samples.apart(f"size of {store}"):
                if isinstance(size, Exception):
                    raise size
                if age > _MEASURED_SECONDS_MAX:
                    raise NotReady(f"the stores were measured {age:.0f} seconds ago")
                samples.gauge("penstock_disk_bytes", size, store=store)

    def _measure(self) -> dict[str, int | Exception]:
        """Many files, or a server that is away: no scrape waits for it."""
        stores: dict[str, Callable[[], int]] = {"log": self._follow.bytes_on_disk, **self.others}
        if self._stores is not None:
            stores["state"] = self._stores.state.bytes_on_disk
            if self._stores.warehouse is not None:
                stores["warehouse"] = self._stores.warehouse.bytes_on_disk
        if self._database is not None:
            stores["database"] = self._database.bytes_on_disk
        sizes: dict[str, int | Exception] = {}
        for store, size in stores.items():
            try:
                sizes[store] = size()
            except Exception as error:  # noqa: BLE001 - raised at who samples it
                sizes[store] = error
        return sizes


def _gauges(table: Table[Any], sink: TableSink) -> dict[str, float]:
    """The largest that any partition of this process knows."""
    known = [table.gauges(carry) for carry in sink.carries]
    return {
        name: max(gauges[name] for gauges in known if name in gauges)
        for name in set().union(*known)
    }
