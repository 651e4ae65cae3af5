"""What an application offers: one frozen value, its table of contents and its registration.

An application writes only names that start with its own; a manifest that offers anything else is
refused when it is made.
"""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec

from penstock.core.clock import Clock
from penstock.core.edge import FailurePolicy, Received, Reply, Response
from penstock.core.errors import Misconfigured, catalogue
from penstock.core.interface import Interface, Offer
from penstock.core.projection import Fold, Projection, Table, Topic
from penstock.core.state import History
from penstock.core.warehouse import Row, Value, Warehouse, sql
from penstock.core.warehouse.cluster import Layout
from penstock.core.warehouse.columns import columns_of

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
_IN_PATH = re.compile(r"\{(\w+)\}")


class Context(Protocol):
    """All that a route may reach: the stores' reading half, as far as it is of the project that the
    request is of, and its application's settings.
    """

    @property
    def settings(self) -> Any:
        """The application's own settings struct."""
        ...

    @property
    def project(self) -> str: ...

    @property
    def clock(self) -> Clock: ...

    async def query(self, sql: str, parameters: Mapping[str, Value]) -> list[Row]:
        """Run a named query in the warehouse, within its limits of time and memory; it asks for the
        rows of `{project:String}`, which is bound to the project.
        """
        ...

    async def first(self, space: str, groups: Sequence[bytes], limit: int) -> list[History]:
        """The first entries of each group of the state."""
        ...

    async def get(self, fold: Fold[Any, S], key: bytes) -> S:
        """What a fold knows of a key; `fold.state()` where that is nothing."""
        ...

    async def run(self, work: Callable[[], T]) -> T:
        """Do work that takes longer than a moment on another thread than the event loop's."""
        ...

    async def caught_up(self, projection: str, timeout_seconds: float) -> bool:
        """Wait until the projection has everything acknowledged before this call."""
        ...

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the manifest's counters."""
        ...

    def warn(self, event: str, **fields: object) -> None:
        """One structured log line, bounded as every line is."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """An operation that turns requests into events; `handle` is pure."""

    operation: str
    method: str = "POST"
    path: str
    emits: tuple[Topic[Any], ...]
    """Topics of the events that it makes; an event's type tells which. The first one accounts for
    requests that are refused, and has the idempotency keys.
    """
    handle: Callable[[Received, Any], Reply]
    body_bytes_max: int
    summary: str
    interface: Interface
    respond_first: FailurePolicy | None = None
    """Answer before the events are durable, for redirects that must not wait; and what to do while
    the log takes nothing: lose the events and count them, or refuse with 503.
    """


@dataclass(frozen=True, kw_only=True)
class Route:
    """An operation that answers from the stores."""

    operation: str
    method: str
    path: str
    handle: Callable[[Received, Context], Awaitable[Response]]
    body_bytes_max: int
    reads_body: Callable[[Any], bool] = lambda _: True
    """By the application's settings: whether the body is looked at, or only counted."""
    summary: str
    interface: Interface


@dataclass(frozen=True, kw_only=True)
class Manifest:
    name: str
    summary: str
    settings: type[msgspec.Struct]
    topics: tuple[Topic[Any], ...]
    ingest: tuple[Ingest, ...] = ()
    projections: tuple[Projection, ...] = ()
    routes: tuple[Route, ...] = ()
    package: str
    """Where its `tables.sql` and `queries.sql` lie."""
    counters: Mapping[str, str] = field(default_factory=dict)
    """What its routes count, and what that means; `penstock_application{number=…}`."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Every error code its operations answer with, and what it means."""
    demo: Callable[[int, int], Iterable[tuple[str, bytes]]] | None = None
    """(turn, epoch ms) → paths and bodies that a demonstration posts, a turn a second."""

    def __post_init__(self) -> None:
        self._own("topic", (topic.name for topic in self.topics), ".")
        self._own(
            "operation",
            [offer.operation for offer in self.ingest] + [offer.operation for offer in self.routes],
            ".",
        )
        for projection in self.projections:
            separator = "_" if isinstance(projection, Table) else "."
            self._own("projection", (projection.name,), separator)
            if projection.topic not in self.topics:
                raise ValueError(f"{projection.name} reads {projection.topic.name}, undeclared")
        emitting = [(of.name, of.emits) for of in self.projections if isinstance(of, Fold)]
        for name, emits in [*emitting, *((of.operation, of.emits) for of in self.ingest)]:
            if foreign := [topic.name for topic in emits if topic not in self.topics]:
                raise ValueError(f"{name} emits to {', '.join(foreign)}, undeclared")
        if silent := [of.operation for of in self.ingest if not of.emits]:
            raise ValueError(f"{', '.join(silent)} emits to no topic")
        kinds = Counter(kind.__name__ for topic in self.topics for kind in topic.events)
        if twice := sorted(kind for kind, topics in kinds.items() if topics > 1):
            raise ValueError(f"{', '.join(twice)} is of more than one topic: its type tells which")
        known = {*self.errors, *(kind.default_code for kind in catalogue())}
        offers: list[Offer] = [*self.ingest, *self.routes]
        for offer in offers:
            if unknown := sorted({*offer.interface.errors} - known):
                raise ValueError(f"{offer.operation} answers {', '.join(unknown)}, undeclared")
            named = {p.name for p in offer.interface.parameters if p.place == "path"}
            if named != set(_IN_PATH.findall(offer.path)):
                raise ValueError(f"{offer.operation} tells other parameters than {offer.path} has")

    def _own(self, kind: str, names: Iterable[str], separator: str) -> None:
        if foreign := [name for name in names if not name.startswith(self.name + separator)]:
            raise ValueError(f"{self.name} may not offer the {kind} {', '.join(foreign)}")


def check_columns(warehouse: Warehouse, manifest: Manifest) -> None:
    """That each table has the columns that its declaration says, and its rows fill. Raise
    `Misconfigured`.
    """
    declared = {Layout.name(text): text for text in sql.schema(manifest.package)}
    for projection in manifest.projections:
        if not isinstance(projection, Table):
            continue
        table = projection.table
        named = [column.split()[0] for column in columns_of(declared[table])]
        if {*named} != {*projection.columns}:
            raise Misconfigured(
                f"tables.sql gives {table} the columns {', '.join(named)}, and its rows have "
                f"{', '.join(projection.columns)}"
            )
        found = warehouse.differences(declared[table])
        if found is None:
            raise Misconfigured(f"PENSTOCK_WAREHOUSE has no table {table}; run `penstock migrate`")
        if found.others:
            raise Misconfigured(
                f"the table {table} is of another version: {', '.join(found.others)}. Run "
                f"`penstock rebuild {table} --from-scratch`"
            )
        if found.addable:
            raise Misconfigured(
                f"the table {table} lacks {', '.join(found.addable)}; run `penstock migrate`"
            )
