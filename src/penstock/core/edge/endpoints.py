"""Endpoints: what the routing table leads to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from penstock.core.edge import Answering, FailurePolicy, Ingesting
from penstock.core.errors import TooLarge
from penstock.core.events import Encode, Event
from penstock.core.telemetry import Timings


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    operation: str
    body_bytes_max: int
    sheds: bool = True
    """Whether it is refused when too much is under way; what an operator asks is not."""
    reads_body: bool = True
    """Otherwise a body is only counted: neither kept nor inflated."""

    def check_size(self, size: int) -> None:
        if size > self.body_bytes_max:
            raise TooLarge(f"the body may have at most {self.body_bytes_max} bytes")


class Way(NamedTuple):
    """Where events of some types go, and as what."""

    topic: str
    encode: Encode
    """Of the default project."""
    of: Callable[[str], Encode]
    """Of another one."""
    key: Callable[[Any], bytes]


@dataclass(frozen=True, kw_only=True)
class IngestEndpoint(Endpoint):
    topic: str
    """What accounts for requests that were refused, and has their idempotency keys."""
    ways: Mapping[type[Event], Way]
    ingest: Ingesting
    respond_first: FailurePolicy | None = None
    """Answer before the events are durable, and what to do while the log takes nothing."""


@dataclass(frozen=True, kw_only=True)
class AnswerEndpoint(Endpoint):
    answer: Answering


Target = tuple[Endpoint, Timings]
