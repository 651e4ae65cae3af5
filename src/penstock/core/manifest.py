"""What an application offers: one frozen value, its table of contents and its registration.

An application writes only names that start with its own; a manifest that offers anything else is
refused when it is made.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from penstock.core.clock import Clock
from penstock.core.edge import FailurePolicy, Known, Received, Refusing, Reply, Response, routing
from penstock.core.edge.access import Access
from penstock.core.edge.limits import Limit
from penstock.core.edge.origins import Allowed
from penstock.core.entities import Entities, Entity, changes, check_together
from penstock.core.errors import Misconfigured, PenstockError, Rejected, catalogue
from penstock.core.events import Event
from penstock.core.interface import HostClass, Interface, Offer
from penstock.core.intervals import Interval, Times
from penstock.core.projection import Fold, Projection, Table, Topic
from penstock.core.projection.due import Heard
from penstock.core.projection.mirror import wrongly_declared
from penstock.core.projection.near import check_near
from penstock.core.reach import Reach
from penstock.core.state import History
from penstock.core.warehouse import Row, Value, Warehouse, sql
from penstock.core.warehouse.cluster import Layout
from penstock.core.warehouse.columns import check_table

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

_PENDING = Response.json({"status": "pending"}, 202)


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

    async def edit(self, work: Callable[[Entities], T]) -> T:
        """Work with the application's entities. Raise `NotReady` while the database is away."""
        ...

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the manifest's counters."""
        ...

    def warn(self, event: str, **fields: object) -> None:
        """One structured log line, bounded as every line is."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ask(Generic[E, S]):
    """What an operation answers once a fold has heard its event: the order of the log is the
    referee, so that equal requests at once get one decision, and consistent answers.
    """

    fold: Fold[E, S]
    """What is asked: it hears the operation's first topic."""
    render: Callable[[S, E], Response | None]
    """The state of the event's key, with this event in it and perhaps later ones, and the event →
    what is said. Pure. None where the state does not tell, as where the event is a dead letter.
    """
    seconds: float = 2.0
    """How long the fold is waited for."""
    late: Response = _PENDING
    """What is said where the fold has not come so far, or cannot be asked: the event is safe."""


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """An operation that turns requests into events; `handle` is pure."""

    operation: str
    methods: tuple[str, ...] = ("POST",)
    paths: tuple[str, ...]
    """`/a/{name}/{rest...}`: the first names all parameters, others may leave out the last ones."""
    slash: bool = False
    """Answer them with a slash at the end too, and alike: a redirect would lose the body."""
    hosts: HostClass = ""
    emits: tuple[Topic[Any], ...]
    """Topics of the events that it makes; an event's type tells which. The first one accounts for
    requests that are refused, and has the idempotency keys.
    """
    handle: Callable[[Received, Known[Any, Any]], Reply]
    body_bytes_max: int
    summary: str
    interface: Interface
    refusal: Refusing | None = None
    """How it spells what is refused, core's own limits included: pure, of the error alone."""
    origins: Allowed = "setting"
    credentials: bool = False
    """Whether cookies come along from those origins, of which then each has to be named."""
    access: Access = "anyone"
    limits: tuple[Limit, ...] | Callable[[Any], tuple[Limit, ...]] = ()
    """How often it may be asked; or a function from the application's settings to that."""
    ask: Ask[Any, Any] | None = None
    """Answer by what a fold decides on the first event, instead of by the reply."""
    near: tuple[Fold[Any, Any], ...] = ()
    """What `handle` asks of `Known.get`; such folds are declared with `near=True`."""
    respond_first: FailurePolicy | Callable[[Any], FailurePolicy | None] | None = None
    """Answer before the events are durable, for redirects that must not wait; and what to do while
    the log takes nothing: lose the events and count them, or refuse with 503. Or a function from
    the application's settings to that.
    """


@dataclass(frozen=True, kw_only=True)
class Route:
    """An operation that answers from the stores; it may look first, and then append."""

    operation: str
    methods: tuple[str, ...] = ("GET",)
    paths: tuple[str, ...]
    slash: bool = False
    hosts: HostClass = ""
    handle: Callable[[Received, Context], Awaitable[Response | Reply]]
    emits: tuple[Topic[Any], ...] = ()
    """Topics of the events of its replies, if it makes any; as of `Ingest`. In a process that does
    not write the log a reply with events is answered 503.
    """
    body_bytes_max: int
    reads_body: Callable[[Any], bool] = lambda _: True
    """By the application's settings: whether the body is looked at, or only counted."""
    summary: str
    interface: Interface
    refusal: Refusing | None = None
    origins: Allowed = "none"
    credentials: bool = False
    access: Access = "anyone"
    limits: tuple[Limit, ...] | Callable[[Any], tuple[Limit, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a schedule, as it is told."""

    schedule: str
    interval: Interval
    """Its work is that of this interval, whenever it runs, and however often."""
    attempt: int
    """1 for the first."""
    token: int
    """A larger one than that of any process that led before: for stores that refuse smaller ones.
    0 for what runs everywhere.
    """
    context: Context
    """The application's stores and settings, as its routes have them."""


class Owned(NamedTuple):
    """An event of a project that is not the default one."""

    project: str
    event: Event


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is done at the end of every interval, by one of all processes that could do it.

    No interval is run twice once it has succeeded, but by hand. One that was under way when its
    process ended is run again: what `run` does elsewhere has to stand that, and what it returns is
    in the log once. Raise `ValueError` for one that cannot work.
    """

    name: str
    at: str
    """`60 s`, `5 min`, `1 h`, or cron and perhaps a zone: `0 7 * * * Europe/Warsaw`."""
    run: Callable[[Run, Reach], Awaitable[Sequence[Event | Owned]]]
    """On a thread and an event loop of its own: it may block. What it returns is appended."""
    emits: tuple[Topic[Any], ...] = ()
    """Topics of what it returns; an event's type tells which."""
    after: tuple[str, ...] = ()
    """Schedules that have to have succeeded for all that ends within the interval."""
    retries: int = 3
    retry_seconds: float = 10.0
    """Before the first of them, and twice as long before each further one, an hour at most."""
    seconds_max: float = 300.0
    """Of an attempt; then it is cancelled, and has failed."""
    missed: Literal["latest", "each"] = "latest"
    """What is run of several intervals that are due at once: the latest, or each in order."""
    everywhere: bool = False
    """Let each process with the role work run it, for itself: without history, retries and runs by
    hand.
    """

    def __post_init__(self) -> None:
        _ = self.times
        if self.everywhere and (self.emits or self.after):
            raise ValueError(
                f"{self.name} runs everywhere: what emits, or comes after others, has one leader"
            )
        if self.retries < 0 or self.retry_seconds < 0 or self.seconds_max <= 0:
            raise ValueError(f"{self.name}: retries and seconds are not negative, seconds_max more")

    @cached_property
    def times(self) -> Times:
        try:
            return Times(self.at)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Manifest:
    name: str
    summary: str
    settings: type[msgspec.Struct]
    topics: tuple[Topic[Any], ...]
    ingest: tuple[Ingest, ...] = ()
    entities: tuple[Entity[Any], ...] = ()
    """What its people edit, by operations of core; then there is one topic more, `changes`."""
    projections: tuple[Projection, ...] = ()
    routes: tuple[Route, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    package: str
    """Where its `tables.sql` and `queries.sql` lie."""
    counters: Mapping[str, str] = field(default_factory=dict)
    """What its routes count, and what that means; `penstock_application{number=…}`."""
    errors: Mapping[str, str | tuple[type[PenstockError], str]] = field(default_factory=dict)
    """Every error code its operations answer with, and what it means; with the class of its status
    where that is neither that of core's error of the same code nor 400.
    """
    demo: Callable[[int, int], Iterable[tuple[str, bytes]]] | None = None
    """(turn, epoch ms) → paths and bodies that a demonstration posts, a turn a second."""

    def __post_init__(self) -> None:
        check_together(self.entities)
        if self.entities and (changed := changes(self.name)) not in self.topics:
            object.__setattr__(self, "topics", (*self.topics, changed))
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
        folds = [of for of in self.projections if isinstance(of, Fold)]
        self._own("job", (job.name for fold in folds for job in fold.jobs), ".")
        self._own("mirror", [table for fold in folds for table in fold.tables], "_")
        filled = Counter(table for p in self.projections for table in p.tables)
        if twice := sorted(table for table, count in filled.items() if count > 1):
            raise ValueError(f"more than one projection fills {', '.join(twice)}")
        self._check_emitting(folds)
        own = [k for topic in self.topics for k in topic.events if not issubclass(k, Heard)]
        kinds = Counter(kind.__name__ for kind in own)
        if twice := sorted(kind for kind, topics in kinds.items() if topics > 1):
            raise ValueError(f"{', '.join(twice)} is of more than one topic: its type tells which")
        self._check_schedules()
        known = {*self.errors, *(kind.default_code for kind in catalogue())}
        offers: list[Offer] = [*self.ingest, *self.routes]
        for offer in offers:
            if unknown := sorted({*offer.interface.errors} - known):
                raise ValueError(f"{offer.operation} answers {', '.join(unknown)}, undeclared")
            _check_paths(offer)

    def _check_emitting(self, folds: Iterable[Fold[Any, Any]]) -> None:
        emitting = [(fold.name, fold.emits) for fold in folds]
        emitting += [(of.operation, of.emits) for of in self.ingest]
        emitting += [(of.operation, of.emits) for of in self.routes]
        for name, emits in emitting:
            if foreign := [topic.name for topic in emits if topic not in self.topics]:
                raise ValueError(f"{name} emits to {', '.join(foreign)}, undeclared")
        if silent := [of.operation for of in self.ingest if not of.emits]:
            raise ValueError(f"{', '.join(silent)} emits to no topic")
        for offer in self.ingest:
            if offer.ask is not None:
                _check_ask(offer, offer.ask.fold, self.projections)
        asked = [(offer.operation, offer.near) for offer in self.ingest]
        check_near(asked, [of for of in self.projections if isinstance(of, Fold)])

    def error(self, code: str) -> tuple[int, str]:
        """Its status, and what it means: of one of its own codes."""
        told = self.errors[code]
        known = {kind.default_code: kind for kind in reversed(catalogue())}
        if isinstance(told, str):
            return known.get(code, Rejected).status, told
        return told[0].status, told[1]

    def _check_schedules(self) -> None:
        """Whoever comes after others is declared behind them, so that none waits for itself."""
        self._own("schedule", (schedule.name for schedule in self.schedules), ".")
        behind: dict[str, Schedule] = {}
        for schedule in self.schedules:
            if schedule.name in behind:
                raise ValueError(f"{schedule.name} is declared twice")
            if foreign := [topic.name for topic in schedule.emits if topic not in self.topics]:
                raise ValueError(f"{schedule.name} emits to {', '.join(foreign)}, undeclared")
            if unknown := [name for name in schedule.after if name not in behind]:
                raise ValueError(
                    f"{schedule.name} comes after {', '.join(unknown)}: declare that before it"
                )
            if everywhere := [name for name in schedule.after if behind[name].everywhere]:
                raise ValueError(
                    f"{schedule.name} comes after {', '.join(everywhere)}, which runs everywhere "
                    "and has no result"
                )
            behind[schedule.name] = schedule

    def _own(self, kind: str, names: Iterable[str], separator: str) -> None:
        if foreign := [name for name in names if not name.startswith(self.name + separator)]:
            raise ValueError(f"{self.name} may not offer the {kind} {', '.join(foreign)}")


def _check_ask(offer: Ingest, fold: Fold[Any, Any], projections: Collection[Projection]) -> None:
    """Raise `ValueError`."""
    if fold not in projections:
        raise ValueError(f"{offer.operation} asks a fold that is not offered")
    if fold.topic != offer.emits[0]:
        raise ValueError(
            f"{offer.operation} asks {fold.name}, which hears {fold.topic.name}; let it emit to "
            "that first"
        )
    if offer.respond_first is not None:
        raise ValueError(f"{offer.operation} cannot respond first and ask: it would not know yet")


def _check_paths(offer: Offer) -> None:
    """Raise `ValueError`."""
    operation, told = offer.operation, offer.interface.parameters
    named = {parameter.name for parameter in told if parameter.place == "path"}
    whole = routing.parameters(offer.paths[0]) if offer.paths else ()
    if not offer.paths or not offer.methods:
        raise ValueError(f"{operation} has no path or no method")
    if named != {*whole}:
        raise ValueError(f"{operation} tells other parameters than {offer.paths[0]} has")
    for path in offer.paths:
        names = routing.parameters(path)
        if names != whole[: len(names)]:
            raise ValueError(f"{path} has other parameters than {offer.paths[0]} of {operation}")
        if not offer.hosts and routing.claims_all(path):
            raise ValueError(
                f"{operation} would answer {path} on every host, and so whatever nobody has named; "
                'begin with a segment of its own, or claim a class of hosts: hosts="links"'
            )


def check_columns(warehouse: Warehouse, manifest: Manifest) -> None:
    """That each table has the columns that its declaration says, and its rows fill. Raise
    `Misconfigured`.
    """
    declared = {Layout.name(text): text for text in sql.schema(manifest.package)}
    for projection in manifest.projections:
        if isinstance(projection, Table):
            table, columns = projection.table, projection.columns
        elif isinstance(projection, Fold) and (mirror := projection.mirror) is not None:
            table, columns = mirror.table, mirror.names
            if wrong := wrongly_declared(mirror, declared.get(table, "")):
                raise Misconfigured(wrong)
        else:
            continue
        check_table(warehouse, declared[table], table, columns, rebuilt=projection.name)
