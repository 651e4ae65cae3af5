"""Endpoints: what the routing table leads to, and what every host does the same for them."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from penstock.core.clock import Clock
from penstock.core.edge import Answering, Ingesting, Reply, Response
from penstock.core.edge.committer import Committer, Settle
from penstock.core.edge.routing import Routes
from penstock.core.errors import (
    HeadersTooLarge,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PenstockError,
    TooLarge,
    UnsupportedType,
)
from penstock.core.events import Event
from penstock.core.ids import Ids
from penstock.core.log import Append, Log
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, Registry, Samples, Throttle, Timings

REQUEST_ID = b"x-request-id"
CLIENT_GONE = 499
_REQUEST_ID_BYTES_MAX = 128
_LINES_PER_SECOND = 100

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    operation: str
    body_bytes_max: int
    sheds: bool = True
    """Whether it is refused when too much is under way; what an operator asks is not."""

    def check_size(self, size: int) -> None:
        if size > self.body_bytes_max:
            raise TooLarge(f"the body may have at most {self.body_bytes_max} bytes")


@dataclass(frozen=True, kw_only=True)
class IngestEndpoint(Endpoint):
    topic: str
    encode: Callable[[Event], bytes]
    ingest: Ingesting


@dataclass(frozen=True, kw_only=True)
class AnswerEndpoint(Endpoint):
    answer: Answering


Target = tuple[IngestEndpoint | AnswerEndpoint, Timings]


class Desk:
    """The routing table, the limits, the way into the log and the rendering of refusals."""

    def __init__(
        self,
        settings: Settings,
        *,
        log: Log | None,
        clock: Clock,
        ids: Ids,
        logger: Logger,
        registry: Registry,
    ) -> None:
        self.settings = settings
        self.routes: Routes[Target] = Routes()
        self.lane: dict[bytes, tuple[IngestEndpoint, Timings]] = {}
        """Ingest routes that a fast lane may serve, by their exact path."""
        self.rendered: tuple[object, bytes] = (None, b"")
        """The lane's commonest answer, and the default headers it was rendered with."""
        self.unmatched = registry.operation("unmatched")
        self.in_flight = 0
        self.now_ms = clock.now_ms
        self._log = log
        self._ids = ids
        self._logger = logger
        self._registry = registry
        self._throttle = Throttle(clock, lines_per_second=_LINES_PER_SECOND)
        self._committer: Committer | None = None

    def add(self, method: str, path: str, endpoint: IngestEndpoint | AnswerEndpoint) -> None:
        timings = self._registry.operation(endpoint.operation)
        self.routes.add(method, path, (endpoint, timings))
        if isinstance(endpoint, IngestEndpoint) and method == "POST" and "{" not in path:
            self.lane[path.encode()] = (endpoint, timings)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._log is not None:
            self._committer = Committer(self._log, loop)

    def sample(self, samples: Samples) -> None:
        samples.gauge("penstock_requests_in_flight", self.in_flight)

    def check_head(self, endpoint: Endpoint, head_bytes: int, headers: Headers) -> None:
        """Refuse what can be refused before the body. Raise a `PenstockError`."""
        settings = self.settings
        if endpoint.sheds and self.in_flight > settings.requests_in_flight_max:
            raise Overloaded
        if head_bytes > settings.head_bytes_max:
            raise HeadersTooLarge
        if b"content-encoding" in headers and headers[b"content-encoding"] != b"identity":
            raise UnsupportedType("send the body without a Content-Encoding")
        length = headers.get(b"content-length", b"")
        if length.isdigit():
            endpoint.check_size(int(length))

    def commit(self, endpoint: IngestEndpoint, reply: Reply, settle: Settle) -> bool:
        """Hand the reply's events to the log; False when there are none to wait for."""
        if self._committer is None or self._log is None:
            raise NotReady(f"{endpoint.operation} is not served by this process")
        if not reply.events:
            self._log.tally(endpoint.topic, rejected=reply.rejected)
            return False
        encode = endpoint.encode
        payloads = [encode(event) for event in reply.events]
        append = Append(endpoint.topic, payloads, b"", reply.idempotency_key, reply.rejected)
        self._committer.commit(append, settle)
        return True

    def account(self, topic: str) -> None:
        """A request to a topic was refused before it could become an append."""
        if topic and self._log is not None:
            self._log.tally(topic, rejected=1)

    def refusal(
        self,
        received: tuple[str, str, Headers],
        error: PenstockError,
        cause: Exception | None = None,
    ) -> Response:
        """The error's answer to (method, path, headers), and its one line in the log."""
        method, path, headers = received
        request_id = request_id_of(headers) or str(self._ids.uuid7()).encode()
        if self._throttle.admits():
            self._logger.log(
                logging.ERROR if cause else logging.WARNING,
                "request.failed" if cause else "request.refused",
                status=error.status,
                error=error.code,
                message=str(error),
                method=method,
                path=path,
                request_id=request_id.decode("latin-1"),
                suppressed=self._throttle.take_suppressed(),
                exc_info=cause,
            )
        extra = [(b"content-type", b"application/json"), (REQUEST_ID, request_id)]
        if error.retry_after:
            extra.append((b"retry-after", str(error.retry_after).encode()))
        if isinstance(error, MethodNotAllowed):
            extra.append((b"allow", ", ".join(error.allowed).encode()))
        told = PenstockError() if error.status == PenstockError.status else error
        rendered = Response.json({"error": told.code, "message": str(told)}, error.status)
        return Response(error.status, rendered.body, tuple(extra))


def size_of(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Bytes of all names and values, repeated ones too."""
    return sum(map(len, chain.from_iterable(headers)))


def request_id_of(headers: Headers) -> bytes:
    """The client's own, if it is one that can be repeated safely; otherwise nothing."""
    given = headers.get(REQUEST_ID, b"")
    sound = len(given) <= _REQUEST_ID_BYTES_MAX and all(0x20 < c < 0x7F for c in given)
    return given if sound else b""


def head_of(response: Response, headers: Headers) -> list[tuple[bytes, bytes]]:
    """The response's headers on the wire, its length and the request's id among them."""
    named = list(response.headers)
    if response.status != 204:
        named.append((b"content-length", b"%d" % len(response.body)))
    if (given := request_id_of(headers)) and (REQUEST_ID, given) not in named:
        named.append((REQUEST_ID, given))
    return named
