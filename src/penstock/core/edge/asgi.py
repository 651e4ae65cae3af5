"""The ASGI host: limits, routing, durability before the reply, errors rendered, all measured."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from penstock.core.clock import Clock
from penstock.core.edge import (
    Answering,
    Ingesting,
    Message,
    Receive,
    Received,
    Response,
    Scope,
    Send,
)
from penstock.core.edge.committer import Committer
from penstock.core.edge.routing import Routes
from penstock.core.errors import (
    HeadersTooLarge,
    MethodNotAllowed,
    Overloaded,
    PenstockError,
    TimedOut,
    TooLarge,
    UnsupportedType,
)
from penstock.core.events import Event
from penstock.core.ids import Ids
from penstock.core.log import Append, Log
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, Registry, Samples, Throttle, Timings

_REQUEST_ID = b"x-request-id"
_REQUEST_ID_BYTES_MAX = 128
_CLIENT_GONE = 499


class ClientGone(Exception):
    """The client hung up before its request was complete; nobody is there to answer."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One operation. It has `ingest` with its topic, or `answer`."""

    operation: str
    body_bytes_max: int
    topic: str = ""
    encode: Callable[[Event], bytes] | None = None
    ingest: Ingesting | None = None
    answer: Answering | None = None
    sheds: bool = True
    """Whether it is refused when too much is under way; what an operator asks is not."""


class Edge:
    """An ASGI application. `attach` it to the running loop before the first request."""

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
        self._settings = settings
        self._log = log
        self._clock = clock
        self._ids = ids
        self._logger = logger
        self._registry = registry
        self._throttle = Throttle(clock, lines_per_second=100)
        self._routes: Routes[tuple[Endpoint, Timings]] = Routes()
        self._unmatched = registry.operation("unmatched")
        self._committer: Committer | None = None
        self.in_flight = 0

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        timings = self._registry.operation(endpoint.operation)
        self._routes.add(method, path, (endpoint, timings))

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._log is not None:
            self._committer = Committer(self._log, loop)

    def sample(self, samples: Samples) -> None:
        samples.gauge("penstock_requests_in_flight", self.in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = perf_counter()
        timings, status = self._unmatched, _CLIENT_GONE
        self.in_flight += 1
        try:
            try:
                endpoint, timings, parameters = self._find(scope)
                response = await self._respond(endpoint, parameters, scope, receive)
            except PenstockError as error:
                response = self._refusal(scope, error)
            except Exception as error:  # noqa: BLE001 - a defect of ours is answered as such
                internal = PenstockError(code=type(error).__name__)
                response = self._refusal(scope, internal, cause=error)
            await _send(response, scope, send)
            status = response.status
        except (ClientGone, asyncio.CancelledError):
            return
        finally:
            self.in_flight -= 1
            timings.observe(status, perf_counter() - began)

    def _find(self, scope: Scope) -> tuple[Endpoint, Timings, tuple[str, ...]]:
        (endpoint, timings), parameters = self._routes.find(scope["method"], scope["raw_path"])
        return endpoint, timings, parameters

    async def _respond(
        self, endpoint: Endpoint, parameters: tuple[str, ...], scope: Scope, receive: Receive
    ) -> Response:
        try:
            received = await self._receive(endpoint, parameters, scope, receive)
            if endpoint.answer is not None:
                return await endpoint.answer(received)
            if endpoint.ingest is None or endpoint.encode is None or self._committer is None:
                raise PenstockError(f"{endpoint.operation} has no handler in this role")
            reply = endpoint.ingest(received)
        except PenstockError:
            if endpoint.topic and self._log is not None:
                self._log.tally(endpoint.topic, rejected=1)
            raise
        if reply.events:
            payloads = [endpoint.encode(event) for event in reply.events]
            await self._committer.commit(
                Append(endpoint.topic, payloads, b"", reply.idempotency_key, reply.rejected)
            )
        elif reply.rejected and self._log is not None:
            self._log.tally(endpoint.topic, rejected=reply.rejected)
        return reply.response

    async def _receive(
        self, endpoint: Endpoint, parameters: tuple[str, ...], scope: Scope, receive: Receive
    ) -> Received:
        settings = self._settings
        if endpoint.sheds and self.in_flight > settings.requests_in_flight_max:
            raise Overloaded
        headers = dict(scope["headers"])
        query = scope["query_string"]
        head = len(scope["raw_path"]) + len(query) + sum(map(len, headers.values()))
        if head > settings.head_bytes_max:
            raise HeadersTooLarge
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise UnsupportedType("send the body without a Content-Encoding")
        limit = endpoint.body_bytes_max
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise TooLarge(f"the body may have at most {limit} bytes")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message["body"]
        if message["more_body"]:
            body = await self._rest(body, limit, receive)
        if len(body) > limit:
            raise TooLarge(f"the body may have at most {limit} bytes")
        client = scope["client"]
        return Received(
            scope["method"],
            parameters,
            query,
            headers,
            body,
            client[0] if client else "",
            self._clock.now_ms(),
        )

    async def _rest(self, start: bytes, limit: int, receive: Receive) -> bytes:
        """The body beyond its first piece, within size and time."""
        parts, size = [start], len(start)
        try:
            async with asyncio.timeout(self._settings.body_seconds_max):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message["body"])
                    size += len(message["body"])
                    if size > limit:
                        raise TooLarge(f"the body may have at most {limit} bytes")
                    if not message["more_body"]:
                        return b"".join(parts)
        except TimeoutError:
            raise TimedOut from None

    def _refusal(
        self, scope: Scope, error: PenstockError, cause: Exception | None = None
    ) -> Response:
        """The error's answer, with a request id, and its one line in the log."""
        request_id = _request_id(scope) or str(self._ids.uuid7()).encode()
        if self._throttle.admits():
            self._logger.log(
                logging.ERROR if cause else logging.WARNING,
                "request.failed" if cause else "request.refused",
                status=error.status,
                error=error.code,
                message=str(error),
                method=scope["method"],
                path=scope["path"],
                request_id=request_id.decode("latin-1"),
                suppressed=self._throttle.take_suppressed(),
                exc_info=cause,
            )
        headers = [(b"content-type", b"application/json"), (_REQUEST_ID, request_id)]
        if error.retry_after:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", ", ".join(error.allowed).encode()))
        internal = type(error) is PenstockError
        code, message = (
            ("internal", "something failed inside") if internal else (error.code, str(error))
        )
        rendered = Response.json({"error": code, "message": message}, error.status)
        return Response(error.status, rendered.body, tuple(headers))


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and 0 < len(value) <= _REQUEST_ID_BYTES_MAX and value.isascii():
            return bytes(value)
    return b""


async def _send(response: Response, scope: Scope, send: Send) -> None:
    headers = list(response.headers)
    if response.status != 204:
        headers.append((b"content-length", b"%d" % len(response.body)))
    if not any(name == _REQUEST_ID for name, _ in headers) and (given := _request_id(scope)):
        headers.append((_REQUEST_ID, given))
    start: Message = {
        "type": "http.response.start",
        "status": response.status,
        "headers": headers,
    }
    await send(start)
    await send({"type": "http.response.body", "body": response.body})
