"""Endpoints: what the routing table leads to, and what every host does the same for them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from penstock.core.clock import Clock
from penstock.core.edge import Answering, FailurePolicy, Ingesting, Reply, Response, codings
from penstock.core.edge.committer import Committer, Settle
from penstock.core.edge.proxies import FORWARDED_FOR, Proxies
from penstock.core.edge.routing import Routes
from penstock.core.edge.wire import REQUEST_ID, Fields, Headers, announced, request_id_of
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
from penstock.core.log import Log
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, Registry, Samples, Throttle, Timings

CLIENT_GONE = 499
_LINES_PER_SECOND = 100


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
    key: Callable[[Event], bytes]
    ingest: Ingesting
    respond_first: FailurePolicy | None = None
    """Answer before the events are durable, and what to do while the log takes nothing."""


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
        self.unmatched = registry.operation("unmatched")
        self.in_flight = 0
        self.behind = 0
        """Requests that were answered and whose events are on their way into the log."""
        self.now_ms = clock.now_ms
        self.proxies = Proxies(settings.trusted_proxies) or None
        """None where nobody's word is taken, so that asking costs a request nothing."""
        self._lost: dict[str, int] = {}
        self._log = log
        self._ids = ids
        self._logger = logger
        self._registry = registry
        self._throttle = Throttle(clock, lines_per_second=_LINES_PER_SECOND)
        self._committer: Committer | None = None

    def add(self, method: str, path: str, endpoint: IngestEndpoint | AnswerEndpoint) -> None:
        timings = self._registry.operation(endpoint.operation)
        self.routes.add(method, path, (endpoint, timings))

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._log is not None:
            self._committer = Committer(self._log, loop, bytes_max=self.settings.queue_bytes_max)

    def expect(self, clients: int) -> None:
        """So many connections have asked for something of late."""
        if self._committer is not None:
            self._committer.clients = clients

    def sample(self, samples: Samples) -> None:
        samples.gauge("penstock_requests_in_flight", self.in_flight)
        for operation, count in self._lost.items():
            samples.counter("penstock_events_lost", count, operation=operation)

    def check_head(
        self, endpoint: Endpoint, target: bytes, fields: Fields, headers: Headers
    ) -> bytes:
        """Refuse what can be refused before the body; the content coding of what follows.

        Raise a `PenstockError`.
        """
        settings = self.settings
        if self.in_flight > settings.requests_in_flight_max and endpoint.sheds:
            raise Overloaded
        if len(fields) > settings.head_fields_max:
            raise HeadersTooLarge(f"a request has at most {settings.head_fields_max} headers")
        if len(target) + _size(fields) > settings.head_bytes_max:
            raise HeadersTooLarge
        coding = headers.get(b"content-encoding", b"")
        if coding:
            coding = codings.named(coding)
        endpoint.check_size(announced(headers))
        return coding

    def client(self, peer: str, headers: Headers) -> str:
        """Address of the client at the far end of the proxies that are trusted."""
        forwarded = headers.get(FORWARDED_FOR)
        if self.proxies is None or forwarded is None:
            return peer
        return self.proxies.client(peer, forwarded)

    def commit(self, endpoint: IngestEndpoint, reply: Reply, settle: Settle) -> bool:
        """Hand the reply's events to the log; False when there is nothing to wait for."""
        committer = self._committer
        if committer is None or self._log is None:
            raise NotReady(f"{endpoint.operation} is not served by this process")
        if not reply.events:
            self._log.tally(endpoint.topic, rejected=reply.rejected)
            return False
        encode = endpoint.encode
        payloads = [encode(event) for event in reply.events]
        keys = [endpoint.key(event) for event in reply.events] if self._log.keyed else ()
        if endpoint.respond_first is not None:
            self._commit_behind(committer, self._log, endpoint, (payloads, keys), reply)
            return False
        committer.commit(
            endpoint.topic,
            payloads,
            settle,
            keys=keys,
            idempotency_key=reply.idempotency_key,
            rejected=reply.rejected,
        )
        return True

    def _commit_behind(
        self,
        committer: Committer,
        log: Log,
        endpoint: IngestEndpoint,
        records: tuple[Sequence[bytes], Sequence[bytes]],
        reply: Reply,
    ) -> None:
        """Start the commit of what is answered first. Raise `NotReady` if it fails closed."""
        payloads, keys = records
        failure = log.failure()
        if failure:
            # The log tries again, and forgets the failure, when it writes this down.
            log.tally(endpoint.topic, rejected=len(payloads) + reply.rejected)
        else:
            try:
                committer.commit(
                    endpoint.topic,
                    payloads,
                    partial(self._settle_behind, endpoint, len(payloads)),
                    keys=keys,
                    idempotency_key=reply.idempotency_key,
                    rejected=reply.rejected,
                )
                self.behind += 1
            except Overloaded as error:
                failure = str(error)
        if failure and endpoint.respond_first == "fail_closed":
            raise NotReady(failure)
        if failure:
            self._lose(endpoint, len(payloads), failure)

    def _settle_behind(
        self, endpoint: IngestEndpoint, events: int, error: PenstockError | None
    ) -> None:
        self.behind -= 1
        if error is not None:
            self._lose(endpoint, events, str(error))

    def _lose(self, endpoint: IngestEndpoint, events: int, reason: str) -> None:
        operation = endpoint.operation
        self._lost[operation] = self._lost.get(operation, 0) + events
        if self._throttle.admits():
            self._logger.error(
                "events.lost",
                operation=operation,
                events=events,
                reason=reason,
                suppressed=self._throttle.take_suppressed(),
            )

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
        if isinstance(error, UnsupportedType) and error.accepts:
            extra.append((b"accept-encoding", error.accepts.encode()))
        told = PenstockError() if error.status == PenstockError.status else error
        rendered = Response.json({"error": told.code, "message": str(told)}, error.status)
        return Response(error.status, rendered.body, tuple(extra))


def _size(fields: Fields) -> int:
    """Bytes of all names and values, repeated ones too."""
    return sum(map(len, chain.from_iterable(fields)))
