"""What the routes of an application reach: a `core.manifest.Context` over the stores."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from penstock.core.clock import Clock
from penstock.core.entities import Entities
from penstock.core.errors import NotReady
from penstock.core.events import Event
from penstock.core.platform.pools import Pools
from penstock.core.platform.positions import Positions
from penstock.core.projection import Fold, parts
from penstock.core.projection.sinks import Stores
from penstock.core.projects import DEFAULT_PROJECT, key_of, order_of
from penstock.core.state import History
from penstock.core.telemetry import Logger, Samples
from penstock.core.warehouse import Row, Value
from penstock.core.watch import Watch

if TYPE_CHECKING:
    from penstock.core.editing.serving import Editing

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the contexts of all applications answer from."""

    stores: Stores
    views: Iterable[str]
    """The names of all projections, and of the tables that they fill."""
    partitions: Callable[[str], int]
    """Of a topic."""
    watch: Watch
    positions: Positions
    pools: Pools
    clock: Clock
    logger: Logger
    editing: "Editing | None"
    """Where people edit something."""
    state_is_near: bool
    """A matter of microseconds then: a thread of its own would cost more than the read."""


class ApplicationContext:
    """One application's; see `core.manifest.Context`."""

    def __init__(
        self, sources: Sources, settings: Any, counters: Iterable[str], name: str = ""
    ) -> None:
        self._name = name
        self.settings = settings
        self.project = DEFAULT_PROJECT
        self.clock = sources.clock
        self._sources = sources
        self._stores = sources.stores
        self._views = frozenset(sources.views)
        self._counts = dict.fromkeys(counters, 0)
        self._tables_of: dict[str, list[str]] = {}

    def of(self, project: str) -> "ApplicationContext":
        """The same for a request of this project."""
        if project == self.project:
            return self
        other = copy(self)
        other.project = project
        return other

    async def query(self, statement: str, parameters: Mapping[str, Value]) -> list[Row]:
        for table in self._tables(statement):
            self._sources.watch.vouch(table)
        bound = {**parameters, "project": self.project}
        rows: list[Row] = await self.run(partial(self._stores.tables.query, statement, bound))
        return rows

    def _tables(self, statement: str) -> list[str]:
        """Those that a statement speaks of."""
        known = self._tables_of.get(statement)
        if known is None:
            words = set(re.findall(r"\w+", statement))
            known = self._tables_of[statement] = sorted(words & self._views)
        return known

    async def first(self, space: str, groups: Sequence[bytes], limit: int) -> list[History]:
        self._sources.watch.vouch(space)
        groups = [key_of(self.project, group) for group in groups]
        if self._sources.state_is_near:
            return self._stores.state.first(space, groups, limit)
        found: list[History] = await self.run(
            partial(self._stores.state.first, space, groups, limit)
        )
        return found

    async def get(self, fold: Fold[Any, S], key: bytes) -> S:
        partitions = 1 if fold.merge is None else self._sources.partitions(fold.topic.name)
        found = await self.first(fold.space, parts.places(fold, key, partitions), 1)
        values = [history[0][1] if history else None for history in found]
        return parts.together(fold, values, self.clock.now_ms())

    async def run(self, work: Callable[[], T]) -> T:
        return await self._sources.pools.run(work)

    async def caught_up(self, projection: str, timeout_seconds: float) -> bool:
        self._sources.watch.vouch_sound(projection)
        return await self._sources.positions.caught_up(projection, timeout_seconds)

    async def heard(self, fold: Fold[Any, Any], event: Event, seconds: float) -> bool:
        self._sources.watch.vouch_sound(fold.name)
        own = order_of(self.project, fold.topic.key(event))
        return await self._sources.positions.caught_up(fold.name, seconds, own)

    async def edit(self, work: Callable[[Entities], T]) -> T:
        editing, project = self._sources.editing, self.project
        if editing is None:
            raise NotReady("this process edits nothing; ask one with the role api")
        return await self._sources.pools.edit(
            lambda until: work(editing.of(self._name, project, until))
        )

    def count(self, name: str, by: int = 1) -> None:
        self._counts[name] += by

    def warn(self, event: str, **fields: object) -> None:
        self._sources.logger.warning(event, **fields)

    def sample(self, samples: Samples) -> None:
        for name, value in self._counts.items():
            samples.gauge("penstock_application", value, number=name)
