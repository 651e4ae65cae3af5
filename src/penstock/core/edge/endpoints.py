"""Endpoints: what the routing table leads to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.core.edge import Answering, Asking, FailurePolicy, Ingesting, Refusing
from penstock.core.edge.gate import Gate
from penstock.core.edge.nearby import Nearby
from penstock.core.edge.origins import Origins
from penstock.core.errors import TooLarge
from penstock.core.events import Encode, Event
from penstock.core.telemetry import Timings


class Way(NamedTuple):
    """Where events of some types go, and as what."""

    topic: str
    encode: Encode
    """Of the default project."""
    of: Callable[[str], Encode]
    """Of another one."""
    key: Callable[[Any], bytes]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    operation: str
    body_bytes_max: int
    sheds: bool = True
    """Whether it is refused when too much is under way; what an operator asks is not."""
    reads_body: bool = True
    """Otherwise a body is only counted: neither kept nor inflated."""
    pages: Origins | None = None
    """Where pages of other origins may ask it."""
    gate: Gate | None = None
    """Where not everybody is let in, always."""
    refusal: Refusing | None = None
    """How it spells what it refuses, if not as everybody does."""
    topic: str = ""
    """What accounts for requests that were refused, and has their idempotency keys; empty where
    they make no events."""
    ways: Mapping[type[Event], Way] = field(default_factory=dict)
    ask: Asking | None = None
    """What makes the answer of the first event of `topic`, once that is durable."""
    near: Nearby | None = None
    """What is to know of its events before the log does."""
    asks: Nearby | None = None
    """The same where its handler asks of it: then nothing else may judge at the same moment."""
    respond_first: FailurePolicy | None = None
    """Answer before the events are durable, and what to do while the log takes nothing."""

    def check_size(self, size: int) -> None:
        if size > self.body_bytes_max:
            raise TooLarge(f"the body may have at most {self.body_bytes_max} bytes")


@dataclass(frozen=True, kw_only=True)
class IngestEndpoint(Endpoint):
    ingest: Ingesting


@dataclass(frozen=True, kw_only=True)
class AnswerEndpoint(Endpoint):
    answer: Answering


Target = tuple[Endpoint, Timings]
