"""What a workload is to the driver: events to send, questions about them, and exact grades."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from penstock.load.fates import Fates

Facts = dict[str, int | float | None]


class Verdict(NamedTuple):
    """The grade of one answer: exact when there is no difference to tell of."""

    difference: str | None
    empty: bool
    """Whether the expected answer held nothing."""


class Look(Protocol):
    """A question whose answer tells whether one event shows."""

    @property
    def target(self) -> str: ...

    def shows(self, body: bytes) -> bool:
        """Whether a 200 answer has it; what is no answer does not."""


class Query(Protocol):
    """A question of the schedule."""

    @property
    def target(self) -> str:
        """Path and query string of a POST."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of query: when it is asked, and how long its answer is waited for."""

    name: str
    tail_name: str
    """What those after the last event are called in the report."""
    every: int
    """Events for each query."""
    wait_seconds: float
    """It asks for events accepted this long ago."""
    after_seconds: float
    """Of the schedule, until the first one."""
    timeout_seconds: float
    connections: int | None
    """At most; None: half as many as events have."""
    look_every_seconds: float
    look_seconds_max: float
    """When an accepted event that was looked for is overdue."""


class Workload(Protocol):
    """What an application sends, asks and expects; the driver has schedule, clients and report.

    A second application writes its own in a folder beside `audiences`: `bodies` makes the next
    events and takes them into its ledger, a `Fates`; the driver writes down what became of each.
    `query` and `tail` make questions from the seed, never from what the server did, and `judge`
    grades their answers: accepted events below `settled` must show, other sent ones may. Nothing
    of it imports the server.
    """

    name: str
    """Of the application, as `penstock load` knows it."""
    unit: str
    """What one event is called."""
    topic: str
    """What the server's log has for each event: one record here."""
    operation: str
    """What takes one event in each request, as the report names it."""
    path: str
    success: int
    """The one status that accepts an event."""
    timeout_seconds: float
    """How long the answer to an event is waited for."""
    batch_path: str
    """Where many events go at once, a line each, before a run."""

    @property
    def ledger(self) -> Fates: ...

    @property
    def kinds(self) -> Sequence[Kind]: ...

    def bodies(self, count: int) -> list[bytes]:
        """The next events, by now in the ledger."""

    def skip(self, count: int) -> None:
        """Take the next events into the ledger without making their bodies."""

    def query(self, kind: Kind, number: int, *, before: int) -> Query:
        """About events below `before`; the same number, the same query."""

    def tail(self, first: int, settled: int) -> Iterator[tuple[Kind, Query]]:
        """What is asked at the end, until each accepted event of the run is accounted for."""

    def expected(self, query: Query, *, settled: int) -> object:
        """The answer if only the events that must show do; to be encoded as JSON."""

    def judge(self, query: Query, body: bytes, *, settled: int) -> Verdict:
        """The grade of a 2xx answer to what was asked when `settled` was the settled index."""

    def look(self, kind: Kind, index: int) -> Look | None:
        """For the event at `index` alone; None where an answer could not tell."""

    def facts(self, sent: int, scores: Mapping[str, float | None]) -> Facts:
        """What the report says besides, by name: `sent` events since the beginning of the stream,
        and the score of each kind of query.
        """
