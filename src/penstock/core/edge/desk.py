"""The desk: the routing table, the limits, the way into the log and the rendering of refusals."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import msgspec

from penstock.core.clock import Clock, careful
from penstock.core.edge import Received, Reply, Response, codings
from penstock.core.edge.committer import Committer, Settle
from penstock.core.edge.endpoints import AnswerEndpoint, Endpoint, IngestEndpoint, Target
from penstock.core.edge.floor import Floor
from penstock.core.edge.grammar import Parsed
from penstock.core.edge.heads import Head, Heads
from penstock.core.edge.proxies import Proxies
from penstock.core.edge.routing import Routes
from penstock.core.edge.wire import REQUEST_ID, Headers, request_id_of
from penstock.core.errors import (
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PenstockError,
    Unimplemented,
    UnsupportedType,
)
from penstock.core.ids import Ids
from penstock.core.log import Log
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, Registry, Samples, Throttle

_LINES_PER_SECOND = 100
_LINES_AT_ONCE = 10
"""A line costs as much as a few requests, and all of these may be written in one turn."""
_SHOWN_MAX = 64
_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
"""Those that are known; whether a path answers them is another question."""


class Records(msgspec.Struct, frozen=True, gc=False):
    """What is to become durable of a request."""

    endpoint: IngestEndpoint
    reply: Reply
    payloads: Sequence[bytes]
    keys: Sequence[bytes]


class Edge:
    """`attach` it to the running loop before the first request, and `close` it after the last."""

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
        self.floor = Floor(settings)
        self.heads = Heads(remembers=settings.fast_lane)
        self.routes: Routes[Target] = Routes()
        self.unmatched = registry.operation("unmatched")
        self.tasks: set[asyncio.Task[None]] = set()
        """Answers that are being found; a graceful stop waits for them."""
        self._nowhere = Endpoint(operation="unmatched", body_bytes_max=0)
        self.in_flight = 0
        self.in_flight_max = settings.requests_in_flight_max
        self.behind = 0
        """Requests that were answered and whose events are on their way into the log."""
        self.latest_ms = careful(clock).latest_ms
        self.proxies = Proxies(settings.trusted_proxies) or None
        """None where nobody's word is taken, so that asking costs a request nothing."""
        self._lost: dict[str, int] = {}
        self._log = log
        self._ids = ids
        self._logger = logger
        self._registry = registry
        self._throttle = Throttle(clock, lines_per_second=_LINES_PER_SECOND, at_once=_LINES_AT_ONCE)
        self._committer: Committer | None = None
        self._judges: ThreadPoolExecutor | None = None
        about = AnswerEndpoint(operation="server", body_bytes_max=0, answer=self._about)
        self.add("OPTIONS", "*", about)

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        timings = self._registry.operation(endpoint.operation)
        self.routes.add(method, path, (endpoint, timings))

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # Where bodies are judged that are dear to judge: one at a time, off the loop.
        self._judges = ThreadPoolExecutor(1, thread_name_prefix="penstock-judge")
        self.floor.attach(loop)
        if self._log is not None:
            self._committer = Committer(self._log, loop, bytes_max=self.settings.queue_bytes_max)

    async def _about(self, received: Received) -> Response:
        """`OPTIONS *`: what this server knows at all (RFC 9110, 9.3.7)."""
        del received
        return Response(204, headers=((b"allow", ", ".join(self.routes.methods).encode()),))

    def close(self) -> None:
        """What was judged last is committed, or nobody waits for it."""
        if self._judges is not None:
            self._judges.shutdown()

    def expect(self, clients: int) -> None:
        """So many connections have asked for something of late."""
        if self._committer is not None:
            self._committer.clients = clients

    def sample(self, samples: Samples) -> None:
        samples.gauge("penstock_requests_in_flight", self.in_flight)
        samples.gauge("penstock_connections", len(self.floor.present))
        samples.gauge("penstock_arriving_bytes", self.floor.held)
        for operation, count in self._lost.items():
            samples.counter("penstock_events_lost", count, operation=operation)

    def head(self, parsed: Parsed) -> Head:
        """Where it leads; if nowhere, or no further, its `refusal` says why."""
        target: Target = (self._nowhere, self.unmatched)
        parameters: tuple[str, ...] = ()
        refusal: PenstockError | None = None
        try:
            if parsed.method not in _METHODS:
                raise Unimplemented(f"no path knows the method {parsed.method[:_SHOWN_MAX]}")
            if parsed.method == "CONNECT":
                raise MethodNotAllowed(self.routes.methods)
            target, parameters = self.routes.find(parsed.method, parsed.path)
        except PenstockError as error:
            refusal = _kept(error)
        head = Head(parsed, target, parameters, refusal)
        if refusal is None:
            try:
                self._check(head)
            except PenstockError as error:
                head.refusal = _kept(error)
        return head

    def _check(self, head: Head) -> None:
        """Raise what can be said before the body."""
        coding = head.headers.get(b"content-encoding")
        if coding and head.endpoint.reads_body:
            head.coding = codings.named(coding)
        if head.length > 0:
            head.endpoint.check_size(head.length)

    def judge(self, head: Head, peer: str, body: bytes) -> "Received | Records":
        """What an ingest leads to; of other operations the request as their handler sees it.

        Any thread may. Raise a `PenstockError`.
        """
        endpoint = head.endpoint
        if head.coding:
            body = codings.inflate(head.coding, body, endpoint.body_bytes_max)
        received = Received(
            head.method,
            head.parameters,
            head.query,
            head.headers,
            body if endpoint.reads_body else b"",
            peer if self.proxies is None else self.proxies.client(peer, head.headers),
            self.latest_ms(),
        )
        if not isinstance(endpoint, IngestEndpoint):
            return received
        reply = endpoint.ingest(received)
        encode = endpoint.encode
        payloads = [encode(event) for event in reply.events]
        keyed = self._log is not None and self._log.keyed
        return Records(
            endpoint, reply, payloads, [endpoint.key(e) for e in reply.events] if keyed else ()
        )

    def judge_elsewhere(
        self,
        head: Head,
        peer: str,
        body: bytes,
        done: "Callable[[Received | Records | Exception], None]",
    ) -> None:
        """The same, off the loop; `done` is called on it."""

        def work() -> None:
            outcome: Received | Records | Exception
            try:
                outcome = self.judge(head, peer, body)
            except PenstockError as error:
                outcome = _kept(error)
            except Exception as defect:  # noqa: BLE001 - it is answered where the request came from
                outcome = defect
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self.loop.call_soon_threadsafe(done, outcome)

        if self._judges is not None:
            self._judges.submit(work)

    def start(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def is_proxy(self, peer: str) -> bool:
        """Whether others come through it."""
        return self.proxies is not None and self.proxies.trusts(peer)

    def commit(self, records: Records, settle: Settle) -> bool:
        """Hand them to the log; False when there is nothing to wait for."""
        committer, log, endpoint = self._committer, self._log, records.endpoint
        if committer is None or log is None:
            raise NotReady(f"{endpoint.operation} is not served by this process")
        reply, payloads = records.reply, records.payloads
        if not payloads:
            log.tally(endpoint.topic, rejected=reply.rejected)
            return False
        if endpoint.respond_first is not None:
            self._commit_behind(committer, log, records)
            return False
        committer.commit(
            endpoint.topic,
            payloads,
            settle,
            keys=records.keys,
            idempotency_key=reply.idempotency_key,
            rejected=reply.rejected,
        )
        return True

    def _commit_behind(
        self,
        committer: Committer,
        log: Log,
        records: Records,
    ) -> None:
        """Start the commit of what is answered first. Raise `NotReady` if it fails closed."""
        endpoint, reply, payloads = records.endpoint, records.reply, records.payloads
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
                    keys=records.keys,
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
        self._logger.error("events.lost", operation=operation, events=events, reason=reason)

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
        rendered = Response.json({"error": told.code, "message": told.message}, error.status)
        return Response(error.status, rendered.body, tuple(extra))


def _kept(error: PenstockError) -> PenstockError:
    """Without what leads from it to where it was raised. That is a circle once the error is kept,
    and holds heads and bodies until the collector comes by, who holds the loop then.
    """
    error.__context__ = None
    return error.with_traceback(None)
