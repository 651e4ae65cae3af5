"""The platform: settings become stores, manifests become endpoints and consumers.

`Platform(...)` opens the stores that its roles need; `start` sets the consumers going; `close` ends
everything in the order that loses nothing. Each of its concerns is a module beside this one; here
is what there is of them, and in which order they begin and end.
"""

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from penstock.core import engines
from penstock.core.clock import Clock, careful
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.errors import NotReady
from penstock.core.ids import Ids
from penstock.core.log.disk import FATAL
from penstock.core.log.forgetting import Forgetting
from penstock.core.manifest import Manifest, check_columns
from penstock.core.platform.answering import ApplicationContext, Sources
from penstock.core.platform.asking import Asked, AskedElsewhere, Later
from penstock.core.platform.checking import check
from penstock.core.platform.choosing import chosen
from penstock.core.platform.consumers import Consumers
from penstock.core.platform.nearing import Nearing
from penstock.core.platform.observing import Observing
from penstock.core.platform.offering import offer_ingest, offer_routes
from penstock.core.platform.opening import Opened
from penstock.core.platform.pools import Pools
from penstock.core.platform.positions import Positions
from penstock.core.platform.scheduling import own, scheduler
from penstock.core.platform.trimming import forgetting, telling
from penstock.core.platform.unserved import remedy, unserved
from penstock.core.projection.sinks import Stores
from penstock.core.projection.workers import Workers
from penstock.core.reach import Reach
from penstock.core.reach.http import Client
from penstock.core.schedules.scheduler import Scheduler
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, Registry
from penstock.core.worker import Worker

if TYPE_CHECKING:
    from penstock.core.editing.serving import Editing

ROLES = ("edge", "api", "work")


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
        self._applications = applications
        self.manifests = tuple(manifests)
        self.roles = frozenset(roles)
        self.clock = careful(clock)
        self.logger = logger
        self.registry = Registry(logger)
        self.leaving = threading.Event()
        """Set when the end begins: long work is to be given up."""
        self.dead = ""
        """What of this process has ended that was to go on, since the first did."""
        check(settings, self.manifests, self.roles)
        with ExitStack() as opening:
            self._workers = Workers(logger)
            self._opened = Opened(settings, self.manifests, self.roles, self.clock, self._workers)
            opening.callback(self._opened.close)
            self.follow, self.log = self._opened.follow, self._opened.log
            self.stores = self._opened.stores
            for added in self._opened.added:
                logger.info("warehouse.column_added", added=added)
            if self._opened.away:
                logger.warning("database.away", error=self._opened.away)
            self.edge = Dispatcher(
                settings,
                log=self.log,
                clock=self.clock,
                ids=Ids(self.clock),
                logger=logger,
                registry=self.registry,
                judge=judge,
            )
            owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
            self.consumers = self._consumers(owner)
            self.pools = Pools(settings.query_seconds_max)
            self.positions = Positions(self.consumers, self.follow, self.pools, self.clock)
            self.reach = self._open_reach(opening)
            """What schedules and jobs have of the world outside."""
            self._observing = self._observe()
            self.pollers, self.watch = self._observing.pollers, self._observing.watch
            self.editing = self._edit()
            self.near = self._know(opening)
            self.kept, self.forgetting = self._opened.kept, self._forget()
            self._contexts = self._reached(applications)
            self._offer(applications, self._asked(opening))
            self.scheduler = self._schedule(owner)
            self._closing = opening.pop_all()

    # -- opening --------------------------------------------------------------------------------

    def _consumers(self, owner: str) -> Consumers:
        """Of every projection where queries are answered, since they ask how far it has come."""
        carried = chosen(self.settings, self.manifests) if self.stores is not None else []
        known = [p for manifest in self.manifests for p in manifest.projections]
        return Consumers(
            known if "api" in self.roles else carried,
            self._opened,
            carried=[p.name for p in carried] if "work" in self.roles else [],
            owner=owner,
            clock=self.clock,
            logger=self.logger,
        )

    def _open_reach(self, opening: ExitStack) -> Reach:
        client = Client(self.settings, self.clock)
        opening.callback(client.close)
        self.registry.sources.append(client)
        return Reach(client)

    def _forget(self) -> Forgetting | None:
        """Who has the log trimmed, if this process is to."""
        return forgetting(
            self.settings,
            self.manifests,
            self._opened,
            self.consumers,
            self.near.copies,
            clock=self.clock,
            logger=self.logger,
        )

    def _observe(self) -> Observing:
        observing = Observing(
            self.settings.folder,
            self._opened,
            self.consumers,
            topics=[topic.name for manifest in self.manifests for topic in manifest.topics],
            clock=self.clock,
            logger=self.logger,
        )
        self.registry.sources.extend([self.edge, *self.consumers.values(), observing.meters])
        self.registry.sources.append(self._workers)
        if "api" in self.roles:
            self.registry.sources.append(observing.watch)
        return observing

    def _know(self, opening: ExitStack) -> Nearing:
        """What handlers may ask of folds."""
        near = Nearing(
            self.settings,
            self.manifests,
            self._opened,
            self.consumers,
            self.watch,
            clock=self.clock,
            logger=self.logger,
        )
        opening.callback(near.close)
        self.registry.sources.append(near)
        self.pollers += near.pollers
        if near.copies:
            self._observing.meters.others["near"] = near.bytes_on_disk
        return near

    def _reached(self, applications: Mapping[str, msgspec.Struct]) -> dict[str, ApplicationContext]:
        """What each application's routes and schedules reach."""
        if self.stores is None:
            return {}
        sources = self.sources
        contexts = {
            manifest.name: ApplicationContext(
                sources, applications[manifest.name], manifest.counters, manifest.name
            )
            for manifest in self.manifests
        }
        self.registry.sources.extend(contexts.values())
        return contexts

    def _edit(self) -> "Editing | None":
        """What people edit, where they do that here."""
        if self._opened.database is None:
            return None
        from penstock.core.editing.serving import Editing  # noqa: PLC0415 - only for entities

        editing = Editing(
            self._opened.database,
            self.log,
            partial(engines.codec_of, self.settings),
            [manifest.name for manifest in self.manifests if manifest.entities],
            clock=self.clock,
            logger=self.logger,
        )
        if editing.relay is not None:
            self.registry.sources.append(editing.relay)
        return editing

    def _schedule(self, owner: str) -> Scheduler:
        """Those of the applications where the role work is, and what the process does for itself:
        it has the log trimmed, or tells whoever trims it what is needed yet.
        """
        works = {
            "trimming": None if self.forgetting is None else self.forgetting.turn,
            "needs": telling(self.settings, self._opened, self.consumers),
        }
        self.ours = own(self.consumers, self._opened, works)
        """What the process does for itself."""
        made = scheduler(
            self.manifests if "work" in self.roles else (),
            self._contexts,
            self.ours,
            self._opened,
            self.reach,
            owner=owner,
            clock=self.clock,
            logger=self.logger,
        )
        self.registry.sources.append(made)
        return made

    def _asked(self, opening: ExitStack) -> Mapping[str, Asked]:
        """Who answers what operations ask of folds, by application: of an edge alone the state, if
        it is one that processes share.
        """
        asks = any(offer.ask for manifest in self.manifests for offer in manifest.ingest)
        if self.stores is not None or not asks or engines.is_embedded(self.settings.state_url):
            return self._contexts
        state = Later(partial(engines.open_state, self.settings), self.clock)
        opening.callback(state.close)
        asked = AskedElsewhere(state, self.follow, self.pools, clock=self.clock, logger=self.logger)
        return {manifest.name: asked for manifest in self.manifests}

    def _offer(
        self, applications: Mapping[str, msgspec.Struct], asked: Mapping[str, Asked]
    ) -> None:
        if self.log is not None:
            offer_ingest(
                self.edge,
                self.settings,
                applications,
                self.manifests,
                asked,
                nears=self.near.nears,
            )
        if "api" in self.roles:
            for manifest in self.manifests:
                name = manifest.name
                offer_routes(self.edge, manifest, self._contexts[name], self.near.nears.get(name))

    @property
    def sources(self) -> Sources:
        """What applications answer from. Raise `NotReady` in a process without stores."""
        return Sources(
            stores=self.require_stores(),
            views=[
                name
                for consumer in self.consumers.values()
                for name in (consumer.projection.name, *consumer.projection.tables)
            ],
            partitions=self.follow.partitions,
            watch=self.watch,
            positions=self.positions,
            pools=self.pools,
            clock=self.clock,
            logger=self.logger,
            editing=self.editing,
            state_is_near=engines.is_embedded(self.settings.state_url),
        )

    # -- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Raise `Misconfigured` when a table is not what this version writes."""
        if self.stores is not None and self.stores.warehouse is not None:
            for manifest in self.manifests:
                check_columns(self.stores.warehouse, manifest)
        if lost := unserved(self.settings, self._opened.kept):
            self.logger.warning("log.unserved", topics=", ".join(lost), remedy=remedy(lost))
        self._observing.begin()
        if self.consumers.jobs:
            self._workers.start(self.reach, self._applications)
        self.near.start()
        self.consumers.start()
        if not engines.is_embedded(self.settings.log_url):  # who may be away for long
            threading.Thread(target=self._tell_kept, name="penstock-kept", daemon=True).start()
        self._observing.start()
        self.scheduler.start()
        if self.editing is not None and self.editing.relay is not None:
            self.editing.relay.start()

    def _tell_kept(self) -> None:
        """A line for each topic that the brokers do not keep as they are to."""
        with suppress(NotReady):  # told by those who need them
            for topic, found in engines.kept_otherwise(self.settings, self.kept).items():
                wanted, remedy = str(self.kept[topic]), "run `penstock migrate`"
                self.logger.warning(
                    "log.kept_otherwise", topic=topic, wanted=wanted, kept=found, remedy=remedy
                )

    def close(self) -> None:
        """Jobs end or are given back, consumers finish their batch, the log commits what it has,
        the stores close.
        """
        self.leaving.set()
        if self.editing is not None and self.editing.relay is not None:
            self.editing.relay.stop()
        self._workers.close()
        self.scheduler.stop()
        self.consumers.stop()
        self.near.stop()
        self.pools.finish()
        self._observing.close()
        self.pools.close()
        self.edge.close()
        self._closing.close()

    def died(self, name: str) -> None:
        """A thread or a task is dead that nobody restarts; on any thread."""
        self.dead = self.dead or f"{name} has died; restart"

    def fatal(self) -> str:
        """Why only a new process can do what this one is for, or nothing."""
        failure = "" if self.log is None else self.log.failure()
        return failure if failure.startswith(FATAL) else self.dead

    def require_stores(self) -> Stores:
        """Raise `NotReady` in a process that has none."""
        return self._opened.require_stores()
