"""The platform: settings become stores, manifests become endpoints and consumers.

`Platform(...)` opens the stores that its roles need; `start` sets the consumers going; `close` ends
everything in the order that loses nothing.
"""

import asyncio
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from penstock.core.clock import Clock
from penstock.core.edge import Received, Response
from penstock.core.edge.asgi import Edge
from penstock.core.edge.endpoints import AnswerEndpoint, IngestEndpoint
from penstock.core.errors import Misconfigured, NotReady
from penstock.core.folder import FolderLock
from penstock.core.ids import Ids
from penstock.core.log import Follow, Log
from penstock.core.log.follower import SqliteFollower
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.manifest import Ingest, Manifest, Route
from penstock.core.projection import Table
from penstock.core.projection.parking import SPACE as DEAD_LETTERS
from penstock.core.projection.parking import Parking
from penstock.core.projection.retention import Retention
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import Stores, TableSink, sink
from penstock.core.settings import Settings
from penstock.core.state.rocksdb import RocksState
from penstock.core.telemetry import Logger, Registry, Samples, Throttle
from penstock.core.warehouse import Row, Value, Warehouse, sql

ROLES = ("edge", "api", "work")
_QUERY_THREADS = 4
_WARNINGS_PER_SECOND = 10


class Platform:
    def __init__(
        self,
        settings: Settings,
        applications: Mapping[str, msgspec.Struct],
        manifests: Sequence[Manifest],
        *,
        clock: Clock,
        logger: Logger,
        roles: Sequence[str] = ROLES,
    ) -> None:
        """Raise `Misconfigured`, with nothing left open, when a store cannot be opened."""
        self.settings = settings
        self.manifests = tuple(manifests)
        self.roles = frozenset(roles)
        self.clock = clock
        self.logger = logger
        self.registry = Registry()
        self._applications = applications
        with ExitStack() as opened:
            self.follow = self._open_log(opened)
            self.log: Log | None = self.follow if isinstance(self.follow, SqliteLog) else None
            self.stores = self._open_stores(opened) if self.roles & {"api", "work"} else None
            self.edge = Edge(
                settings,
                log=self.log,
                clock=clock,
                ids=Ids(clock),
                logger=logger,
                registry=self.registry,
            )
            self._closing = opened.pop_all()
        self.consumers: dict[str, Consumer] = {}
        self.retention: Retention | None = None
        if self.stores is not None:
            self.consumers = self._consumers(self.stores)
            self.retention = Retention(self.stores.warehouse, self.logger)
        self.registry.sources.extend([self.edge, *self.consumers.values(), self])
        self._jobs: list[threading.Thread] = []
        self._pool = ThreadPoolExecutor(_QUERY_THREADS, thread_name_prefix="penstock-query")
        self._offer()

    # -- opening --------------------------------------------------------------------------------

    def _open_log(self, opened: ExitStack) -> Follow:
        settings = self.settings
        path = _path(settings.log_url, "log", "sqlite")
        if self.roles & {"edge"}:
            opened.callback(FolderLock(settings.folder, "edge").release)
            limits = Limits(
                settings.queue_records_max,
                settings.queue_bytes_max,
                settings.disk_free_bytes_min,
                settings.idempotency_hours,
            )
            log: Follow = SqliteLog(path, self.clock, limits)
        else:
            log = SqliteFollower(path)
        opened.callback(log.close)
        return log

    def _open_stores(self, opened: ExitStack) -> Stores:
        from penstock.core.warehouse.clickhouse import ClickHouse  # noqa: PLC0415 - heavy to import

        settings = self.settings
        opened.callback(FolderLock(settings.folder, "work").release)
        state = RocksState(_path(settings.state_url, "state", "rocksdb"))
        opened.callback(state.close)
        warehouse = ClickHouse(settings)
        opened.callback(warehouse.close)
        for manifest in self.manifests:
            warehouse.create(sql.schema(manifest.package))
        return Stores(warehouse, state, Parking(state), self.clock)

    def _consumers(self, stores: Stores) -> dict[str, Consumer]:
        return {
            projection.name: Consumer(
                projection, sink(projection, stores), self.follow, self.clock, self.logger
            )
            for manifest in self.manifests
            for projection in manifest.projections
        }

    def _offer(self) -> None:
        for manifest in self.manifests:
            settings = self._applications[manifest.name]
            if self.log is not None:
                for offer in manifest.ingest:
                    self.edge.add(offer.method, offer.path, _ingest_endpoint(offer, settings))
            if self.stores is not None:
                context = ApplicationContext(self, settings, manifest.counters)
                self.registry.sources.append(context)
                for route in manifest.routes:
                    self.route(route, context)

    def route(self, route: Route, context: "ApplicationContext") -> None:
        async def answer(received: Received) -> Response:
            return await route.handle(received, context)

        endpoint = AnswerEndpoint(
            operation=route.operation, body_bytes_max=route.body_bytes_max, answer=answer
        )
        self.edge.add(route.method, route.path, endpoint)

    # -- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Raise `Misconfigured` when a table is not what this version writes."""
        if self.stores is not None:
            for manifest in self.manifests:
                _check_columns(self.stores.warehouse, manifest)
        if "work" in self.roles:
            for consumer in self.consumers.values():
                consumer.start()
            if self.retention is not None:
                self.retention.start(
                    [c for c in self.consumers.values() if isinstance(c.projection, Table)]
                )

    def close(self) -> None:
        """Consumers finish their batch, the log commits what it has, the stores close."""
        if self.retention is not None:
            self.retention.stop()
        for consumer in self.consumers.values():
            consumer.stop()
        for job in self._jobs:
            job.join()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._closing.close()

    def reset(self) -> None:
        """Forget every event and every view. Blocks; events that arrive meanwhile may go too."""
        stores = self.require_stores()
        if not isinstance(self.follow, SqliteLog):
            raise NotReady("only a process with all roles can be reset")
        for consumer in self.consumers.values():
            consumer.stop()
        self.follow.clear()
        for manifest in self.manifests:
            for projection in manifest.projections:
                if isinstance(projection, Table):
                    stores.warehouse.drop(projection.table)
                else:
                    stores.state.drop(projection.space)
            stores.warehouse.create(sql.schema(manifest.package))
        stores.state.drop(DEAD_LETTERS)
        for consumer in self.consumers.values():
            consumer.start()

    async def run(self, work: "partial[Any]") -> Any:
        """Blocking work, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def spawn(self, work: "partial[None]") -> None:
        """Long blocking work, on a thread of its own that `close` waits for."""
        thread = threading.Thread(target=work, name="penstock-job")
        self._jobs = [job for job in self._jobs if job.is_alive()] + [thread]
        thread.start()

    def require_stores(self) -> Stores:
        if self.stores is None:
            raise NotReady("this process has the edge role only; ask one with the role api")
        return self.stores

    def sample(self, samples: Samples) -> None:
        for manifest in self.manifests:
            for topic in manifest.topics:
                totals = [0, 0, 0, 0]
                for minute in self.follow.ledger(topic.name, 0):
                    totals = [a + b for a, b in zip(totals, minute[1:], strict=True)]
                kinds = ("received", "stored", "duplicate", "rejected")
                for kind, total in zip(kinds, totals, strict=True):
                    samples.counter(f"penstock_events_{kind}", total, topic=topic.name)
                end = self.follow.end(topic.name, 0)
                samples.gauge("penstock_log_end_offset", end, topic=topic.name)
        if self.log is not None:
            samples.counter("penstock_log_commits", self.log.commits)
        free = shutil.disk_usage(self.settings.folder).free
        samples.gauge("penstock_disk_free_bytes", free)
        samples.gauge("penstock_disk_bytes", self.follow.bytes_on_disk(), store="log")
        if self.stores is not None:
            state, warehouse = self.stores.state, self.stores.warehouse
            samples.gauge("penstock_disk_bytes", state.bytes_on_disk(), store="state")
            samples.gauge("penstock_disk_bytes", warehouse.bytes_on_disk(), store="warehouse")
        for consumer in self.consumers.values():
            if isinstance(consumer.projection, Table) and isinstance(consumer.sink, TableSink):
                for name, value in consumer.projection.gauges(consumer.sink.carry).items():
                    samples.gauge("penstock_application", value, number=name)


class ApplicationContext:
    """What an application's routes reach; see `core.manifest.Context`."""

    def __init__(self, platform: Platform, settings: Any, counters: Iterable[str]) -> None:
        self.settings = settings
        self.clock = platform.clock
        self._platform = platform
        self._stores = platform.require_stores()
        self._throttle = Throttle(platform.clock, lines_per_second=_WARNINGS_PER_SECOND)
        self._counts = dict.fromkeys(counters, 0)

    async def query(self, statement: str, parameters: Mapping[str, Value]) -> list[Row]:
        rows: list[Row] = await self._platform.run(
            partial(self._stores.warehouse.query, statement, parameters)
        )
        return rows

    def first(self, space: str, groups: Sequence[bytes], limit: int) -> list[list[bytes]]:
        return self._stores.state.first(space, groups, limit)

    async def caught_up(self, projection: str, timeout_seconds: float) -> bool:
        consumer = self._platform.consumers[projection]
        end = self._platform.follow.end(consumer.projection.topic.name, consumer.partition)
        return await consumer.reach(end, timeout_seconds)

    def count(self, name: str, by: int = 1) -> None:
        self._counts[name] += by

    def warn(self, event: str, **fields: object) -> None:
        if self._throttle.admits():
            suppressed = self._throttle.take_suppressed()
            self._platform.logger.warning(event, suppressed=suppressed, **fields)

    def sample(self, samples: Samples) -> None:
        for name, value in self._counts.items():
            samples.gauge("penstock_application", value, number=name)


def _ingest_endpoint(offer: Ingest, settings: Any) -> IngestEndpoint:
    handle = offer.handle
    return IngestEndpoint(
        operation=offer.operation,
        body_bytes_max=offer.body_bytes_max,
        topic=offer.topic.name,
        encode=offer.topic.codec().encode,
        ingest=lambda received: handle(received, settings),
        respond_first=offer.respond_first,
    )


def _check_columns(warehouse: Warehouse, manifest: Manifest) -> None:
    """A column is written down twice, in `tables.sql` and in the row; here the two are tied."""
    for projection in manifest.projections:
        if isinstance(projection, Table):
            declared = [field.name for field in msgspec.structs.fields(projection.row)]
            found = warehouse.columns(projection.table)
            if declared != found:
                raise Misconfigured(
                    f"the table {projection.table} has the columns {', '.join(found)}; this "
                    f"version writes {', '.join(declared)}. Run "
                    f"`penstock rebuild {projection.table} --from-scratch`"
                )


def _path(url: str, setting: str, scheme: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != scheme:
        raise Misconfigured(
            f"PENSTOCK_{setting.upper()}: this version has the engine {scheme}:///path, "
            f"not {parts.scheme or 'a bare path'}"
        )
    return Path(parts.path)
