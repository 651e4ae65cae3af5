"""The platform: settings become stores, manifests become endpoints and consumers.

`Platform(...)` opens the stores that its roles need; `start` sets the consumers going; `close` ends
everything in the order that loses nothing. What users ask runs on threads of its own, and so does
what operators ask, so that neither waits for the other.
"""

import asyncio
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from penstock.core import engines
from penstock.core.beginning import check_may_begin
from penstock.core.clock import Clock, careful
from penstock.core.edge import Received, Response
from penstock.core.edge.desk import Edge
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.edge.origins import Origins
from penstock.core.edge.proxies import Proxies
from penstock.core.errors import Misconfigured, NotReady
from penstock.core.folder import FolderLock
from penstock.core.ids import Ids
from penstock.core.ingesting import ingest_endpoints
from penstock.core.log import Follow, Log
from penstock.core.log.disk import FATAL
from penstock.core.lookout import Lookout
from penstock.core.manifest import Manifest, Route, check_columns
from penstock.core.meters import Meters
from penstock.core.projection import Projection, Table, retention
from penstock.core.projection.parking import Parking
from penstock.core.projection.rebuild import Turn, clean_up
from penstock.core.projection.runner import Consumer
from penstock.core.projection.schedule import Schedule
from penstock.core.projection.sinks import Stores, sink
from penstock.core.settings import Settings
from penstock.core.state import History
from penstock.core.telemetry import Logger, Registry, Samples
from penstock.core.threads import Threads
from penstock.core.warehouse import Row, Value, sql
from penstock.core.watch import Watch
from penstock.core.worker import Worker

ROLES = ("edge", "api", "work")
_QUERY_THREADS = 4
_OPERATOR_THREADS = 4
_GRACE_SECONDS = 0.5
"""So much later than the engine is to do askers give up, for it may not hear of its limit."""
_ELSEWHERE_POLL_SECONDS = 0.01

T = TypeVar("T")


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
        judge: Worker | None = None,
    ) -> None:
        """Raise `Misconfigured`, with nothing left open, when a store cannot be opened.

        `judge` answers for the `ingest_endpoints` of the same settings and manifests.
        """
        self.settings = settings
        self.manifests = tuple(manifests)
        self.roles = frozenset(roles)
        self.clock = careful(clock)
        self.logger = logger
        self.registry = Registry(logger)
        self._applications = applications
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._topics = [topic.name for manifest in manifests for topic in manifest.topics]
        self._check()
        with ExitStack() as opened:
            self.follow, self.log = self._open_log(opened)
            self.stores = self._open_stores(opened) if self.roles & {"api", "work"} else None
            self.edge = Edge(
                settings,
                log=self.log,
                clock=self.clock,
                ids=Ids(self.clock),
                logger=logger,
                registry=self.registry,
                judge=judge,
            )
            self._closing = opened.pop_all()
        self.leaving = threading.Event()
        """Set when the end begins: long work is to be given up."""
        self.consumers: dict[str, Consumer] = {}
        self.schedules: list[Schedule] = []
        if self.stores is not None:
            self.leases = engines.open_leases(settings, self.stores.state, clock)
            self.consumers = self._consumers(self.stores)
            if any(isinstance(c.projection, Table) for c in self.carried):
                self.schedules.append(self._retention(self.stores))
        meters = self._meters()
        self.watch = self._watch()
        self.registry.sources.extend([self.edge, *self.consumers.values(), meters])
        if "api" in self.roles:
            self.registry.sources.append(self.watch)
        self.lookouts: list[Lookout[Any]] = [meters.sizes, self.watch.lookout]
        """They look while the platform runs."""
        self.dead = ""
        """What of this process has ended that was to go on, since the first did."""
        self._jobs: list[threading.Thread] = []
        self._users = Threads("query", _QUERY_THREADS)
        self._operators = Threads("ops", _OPERATOR_THREADS)
        self._offer()

    # -- opening --------------------------------------------------------------------------------

    def _check(self) -> None:
        """Whatever settings alone can get wrong, before anything is made. Raise `Misconfigured`."""
        settings = self.settings
        Proxies(settings.trusted_proxies)
        Origins(settings.origins)
        self._chosen()
        engines.check_known(settings)

    def _open_log(self, opened: ExitStack) -> tuple[Follow, Log | None]:
        settings = self.settings
        if "edge" not in self.roles:
            follow = engines.follow_log(settings, self._topics)
            opened.callback(follow.close)
            return follow, None
        opened.callback(FolderLock(settings.folder, "edge").release)
        check_may_begin(settings, (p for m in self.manifests for p in m.projections))
        log = engines.open_log(settings, self.clock, self._topics)
        opened.callback(log.close)
        return log, log

    def _open_stores(self, opened: ExitStack) -> Stores:
        settings = self.settings
        tables = "api" in self.roles or any(isinstance(p, Table) for p in self._chosen())
        opened.callback(FolderLock(settings.folder, "work").release)
        state = engines.open_state(settings)
        opened.callback(state.close)
        warehouse = engines.open_warehouse(settings) if tables else None
        if warehouse is not None:
            opened.callback(warehouse.close)
            if engines.is_embedded(settings.warehouse_url):
                for manifest in self.manifests:
                    warehouse.create(sql.schema(manifest.package))
        codec = partial(engines.codec_of, settings)
        return Stores(warehouse, state, Parking(state), self.clock, codec)

    def _chosen(self) -> list[Projection]:
        """Projections that this process carries, or would if it had the role work."""
        known = {p.name: p for manifest in self.manifests for p in manifest.projections}
        wanted = [name.strip() for name in self.settings.projections.split(",") if name.strip()]
        if unknown := [name for name in wanted if name not in known]:
            raise Misconfigured(
                f"PENSTOCK_PROJECTIONS: there is no projection {', '.join(unknown)}; "
                f"there are {', '.join(sorted(known))}"
            )
        return [known[name] for name in wanted or known]

    def _consumers(self, stores: Stores) -> dict[str, Consumer]:
        """Of every projection where queries are answered, since they ask how far it has come."""
        known = [p for manifest in self.manifests for p in manifest.projections]
        return {
            projection.name: Consumer(
                projection, sink(projection, stores), self.follow, self.clock, self.logger
            )
            for projection in (known if "api" in self.roles else self._chosen())
        }

    def _retention(self, stores: Stores) -> Schedule:
        """On a thread of its own, so that expiry never stands in the way of a projection."""

        def work(token: int) -> None:
            del token
            for consumer in self.carried:
                retention.expire(consumer, stores.tables)

        return Schedule(
            "retention",
            work,
            seconds=retention.INTERVAL_SECONDS,
            leases=self.leases,
            owner=self._owner,
            logger=self.logger,
        )

    def _meters(self) -> Meters:
        return Meters(
            self.settings.folder,
            self.follow,
            self.log,
            self.stores,
            topics=self._topics,
            consumers=self.consumers.values(),
            clock=self.clock,
        )

    def _watch(self) -> Watch:
        warehouse = None if self.stores is None else self.stores.warehouse
        return Watch(self.consumers, self.follow, warehouse, clock=self.clock, logger=self.logger)

    def turn(self, consumer: Consumer) -> Turn:
        """To rebuild its read model."""
        return Turn(consumer.projection, self.leases, self._owner, self.clock)

    def _offer(self) -> None:
        if self.log is not None:
            paths = ((o.method, o.path) for m in self.manifests for o in m.ingest)
            endpoints = ingest_endpoints(self.settings, self._applications, self.manifests)
            for (method, path), endpoint in zip(paths, endpoints, strict=True):
                self.edge.add(method, path, endpoint)
        for manifest in self.manifests:
            settings = self._applications[manifest.name]
            if self.stores is not None and "api" in self.roles:
                context = ApplicationContext(self, settings, manifest.counters)
                self.registry.sources.append(context)
                for route in manifest.routes:
                    self.route(route, context, reads_body=route.reads_body(settings))

    def route(self, route: Route, context: "ApplicationContext", *, reads_body: bool) -> None:
        async def answer(received: Received) -> Response:
            return await route.handle(received, context)

        endpoint = AnswerEndpoint(
            operation=route.operation,
            body_bytes_max=route.body_bytes_max,
            answer=answer,
            reads_body=reads_body,
        )
        self.edge.add(route.method, route.path, endpoint)

    # -- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Raise `Misconfigured` when a table is not what this version writes."""
        if self.stores is not None and self.stores.warehouse is not None:
            for manifest in self.manifests:
                check_columns(self.stores.warehouse, manifest)
        self.watch.begin()
        for consumer in self.carried:
            clean_up(consumer, self.require_stores(), self.turn(consumer), self.logger)
            consumer.start()
        for consumer in self.carried:
            consumer.looked()
        for schedule in self.schedules:
            schedule.start()
        for lookout in self.lookouts:
            lookout.start()
        self.watch.settle()

    def bury(self, name: str) -> None:
        """A thread or a task is dead that nobody restarts; on any thread."""
        self.dead = self.dead or f"{name} has died; restart"

    def doom(self) -> str:
        """Why only a new process can do what this one is for, or nothing."""
        failure = "" if self.log is None else self.log.failure()
        return failure if failure.startswith(FATAL) else self.dead

    @property
    def carried(self) -> list[Consumer]:
        """The consumers that this process runs."""
        if "work" not in self.roles:
            return []
        return [self.consumers[projection.name] for projection in self._chosen()]

    def close(self) -> None:
        """Consumers finish their batch, the log commits what it has, the stores close."""
        self.leaving.set()
        for schedule in self.schedules:
            schedule.stop()
        for consumer in self.consumers.values():
            consumer.stop()
        for job in self._jobs:
            job.join()
        for lookout in self.lookouts:
            lookout.close()
        for pool in (self._users, self._operators):
            pool.close()
        self.edge.close()
        self._closing.close()

    def position(self, consumer: Consumer, partition: int) -> int:
        """How far a projection has come, whichever process carries it. Blocks."""
        cursor = consumer.cursors.get(partition)
        if cursor is not None and cursor.state == "running":
            return cursor.position
        return consumer.sink.position(partition)

    async def caught_up(self, projection: str, timeout_seconds: float) -> bool:
        """Wait until the projection has everything that the log has now, whoever carries it."""
        consumer = self.consumers[projection]
        topic = consumer.projection.topic.name
        deadline = self.clock.monotonic() + timeout_seconds
        for partition in range(self.follow.partitions(topic)):
            end = self.follow.end(topic, partition)
            cursor = consumer.cursors.get(partition)
            if cursor is not None:
                reached = await cursor.reach(end, deadline - self.clock.monotonic())
            else:
                reached = await self._reached_elsewhere(consumer, partition, end, deadline)
            if not reached:
                return False
        return True

    async def _reached_elsewhere(
        self, consumer: Consumer, partition: int, end: int, deadline: float
    ) -> bool:
        while await self.run(partial(consumer.sink.position, partition)) < end:
            if self.clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(_ELSEWHERE_POLL_SECONDS)
        return True

    async def run(self, work: Callable[[], T]) -> T:
        """Blocking work for a user, off the event loop. Raise `NotReady` when it takes too long."""
        seconds = self.settings.query_seconds_max
        return await self._users.run(work, seconds + _GRACE_SECONDS if seconds else None)

    async def operate(self, work: Callable[[], T]) -> T:
        """Blocking work for an operator, which waits for no user's."""
        return await self._operators.run(work)

    def spawn(self, work: "partial[None]") -> None:
        """Long blocking work, on a thread of its own that `close` waits for."""
        thread = threading.Thread(target=work, name="penstock-job")
        self._jobs = [job for job in self._jobs if job.is_alive()] + [thread]
        thread.start()

    def require_stores(self) -> Stores:
        if self.stores is None:
            raise NotReady("this process has the edge role only; ask one with the role api")
        return self.stores


class ApplicationContext:
    """What an application's routes reach; see `core.manifest.Context`."""

    def __init__(self, platform: Platform, settings: Any, counters: Iterable[str]) -> None:
        self.settings = settings
        self.clock = platform.clock
        self._platform = platform
        self._stores = platform.require_stores()
        self._state_is_near = engines.is_embedded(platform.settings.state_url)
        """A matter of microseconds then: a thread of its own would cost more than the read."""
        self._counts = dict.fromkeys(counters, 0)
        self._tables_of: dict[str, list[str]] = {}

    async def query(self, statement: str, parameters: Mapping[str, Value]) -> list[Row]:
        for table in self._tables(statement):
            self._platform.watch.vouch(table)
        rows: list[Row] = await self._platform.run(
            partial(self._stores.tables.query, statement, parameters)
        )
        return rows

    def _tables(self, statement: str) -> list[str]:
        """Those that a statement speaks of."""
        known = self._tables_of.get(statement)
        if known is None:
            words = set(re.findall(r"\w+", statement))
            known = self._tables_of[statement] = sorted(words & self._platform.consumers.keys())
        return known

    async def first(self, space: str, groups: Sequence[bytes], limit: int) -> list[History]:
        self._platform.watch.vouch(space)
        if self._state_is_near:
            return self._stores.state.first(space, groups, limit)
        found: list[History] = await self._platform.run(
            partial(self._stores.state.first, space, groups, limit)
        )
        return found

    async def run(self, work: Callable[[], T]) -> T:
        return await self._platform.run(work)

    async def caught_up(self, projection: str, timeout_seconds: float) -> bool:
        self._platform.watch.vouch_sound(projection)
        return await self._platform.caught_up(projection, timeout_seconds)

    def count(self, name: str, by: int = 1) -> None:
        self._counts[name] += by

    def warn(self, event: str, **fields: object) -> None:
        self._platform.logger.warning(event, **fields)

    def sample(self, samples: Samples) -> None:
        for name, value in self._counts.items():
            samples.gauge("penstock_application", value, number=name)
