"""The engines that a process's roles need, opened with their locks and closed in reverse."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import cache, partial
from typing import TYPE_CHECKING

from penstock.core import engines, schedules
from penstock.core.beginning import check_may_begin
from penstock.core.clock import CarefulClock
from penstock.core.errors import NotReady
from penstock.core.folder import FolderLock
from penstock.core.log import Follow, Log
from penstock.core.log.kept import overruled
from penstock.core.manifest import Manifest
from penstock.core.platform.choosing import chosen
from penstock.core.projection import Fold, Table, repeats, witness
from penstock.core.projection.circles import circles
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.repeats import Repeats
from penstock.core.projection.sinks import Stores
from penstock.core.projection.workers import Workers
from penstock.core.settings import Settings
from penstock.core.state.lease import Leases
from penstock.core.warehouse import sql

if TYPE_CHECKING:
    from penstock.core.database import Database


class Opened:
    """The log that is written or followed, and the stores if there are any."""

    def __init__(
        self,
        settings: Settings,
        manifests: Sequence[Manifest],
        roles: Collection[str],
        clock: CarefulClock,
        workers: Workers,
    ) -> None:
        """Raise `Misconfigured`, with nothing left open, when an engine cannot be opened."""
        self._settings = settings
        self._manifests = manifests
        self._clock = clock
        self._workers = workers
        self.added: list[str] = []
        """Columns that tables gained by this opening, in words."""
        said = {topic.name: topic.kept for manifest in manifests for topic in manifest.topics}
        topics = list(said)
        self.kept = overruled(said, settings)
        """How long the records of each topic are to be kept."""
        with ExitStack() as opening:
            self.log = self._write_log(topics, opening) if "edge" in roles else None
            self.follow = self.log or self._follow_log(topics, opening)
            self.appender = engines.appender(self.follow, self.log, clock)
            """Where folds and schedules of this process append; None: nowhere."""
            self.stores: Stores | None = None
            self._leases: Leases | None = None
            if "api" in roles or "work" in roles:
                carried = chosen(settings, manifests)
                tables = "api" in roles or any(p.tables for p in carried)
                self.stores = self._open_stores(opening, tables=tables)
                self._leases = engines.open_leases(settings, self.stores.state, clock)
            self.away = ""
            """Why the database cannot be looked at, which is no reason not to begin."""
            edited = "api" in roles and any(manifest.entities for manifest in manifests)
            self.database = self._open_database(opening) if edited else None
            """Where people edit something, and here."""
            self._closing = opening.pop_all()

    def close(self) -> None:
        """The log commits what it has."""
        self._closing.close()

    def require_stores(self) -> Stores:
        if self.stores is None:
            raise NotReady("this process has the edge role only; ask one with the role api")
        return self.stores

    def require_leases(self) -> Leases:
        """Where the processes that share the stores agree on who leads."""
        self.require_stores()
        assert self._leases is not None
        return self._leases

    def _write_log(self, topics: list[str], opening: ExitStack) -> Log:
        opening.callback(FolderLock(self._settings.folder, "edge").release)
        check_may_begin(self._settings, (p for m in self._manifests for p in m.projections))
        log = engines.open_log(self._settings, self._clock, topics)
        opening.callback(log.close)
        return log

    def _follow_log(self, topics: list[str], opening: ExitStack) -> Follow:
        follow = engines.follow_log(self._settings, topics)
        opening.callback(follow.close)
        return follow

    def _open_database(self, opening: ExitStack) -> "Database":
        database = engines.open_database(self._settings)
        opening.callback(database.close)
        try:
            database.check()
        except NotReady as away:  # ingest goes on without it, and it may come back
            self.away = str(away)
        return database

    def _written(self, *, tables: bool) -> Iterator[str]:
        """Spaces that are, as soon as there is anything to be carried."""
        for projection in chosen(self._settings, self._manifests):
            if not isinstance(projection, Table):
                yield projection.space
        if tables:
            yield witness.SPACE
        for manifest in self._manifests:
            if not all(schedule.everywhere for schedule in manifest.schedules):
                yield f"{schedules.SPACES}{manifest.name}"
            for topic in manifest.topics:
                if topic.unique is not None:
                    yield f"{repeats.SPACES}{topic.name}"

    def _open_stores(self, opening: ExitStack, *, tables: bool) -> Stores:
        settings = self._settings
        opening.callback(FolderLock(settings.folder, "work").release)
        state = engines.open_state(settings, self._written(tables=tables))
        opening.callback(state.close)
        warehouse = engines.open_warehouse(settings) if tables else None
        if warehouse is not None:
            opening.callback(warehouse.close)
            if engines.is_embedded(settings.warehouse_url):
                for manifest in self._manifests:
                    self.added += warehouse.create(sql.schema(manifest.package))
        codec = partial(engines.codec_of, settings)
        letters = DeadLetters(state)
        projections = (p for manifest in self._manifests for p in manifest.projections)
        around = circles(p for p in projections if isinstance(p, Fold))
        unique = cache(lambda topic: Repeats(topic, state, codec(topic), self._clock))
        return Stores(
            warehouse,
            state,
            letters,
            self._clock,
            codec,
            self.appender,
            self._workers,
            around,
            unique,
        )
