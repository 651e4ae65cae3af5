"""The ASGI host: limits, routing, durability before the reply, errors rendered, all measured."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from penstock.core.clock import Clock
from penstock.core.edge import (
    NO_CONTENT,
    Answering,
    Ingesting,
    Message,
    Receive,
    Received,
    Reply,
    Response,
    Scope,
    Send,
)
from penstock.core.edge.committer import Committer
from penstock.core.edge.routing import Routes
from penstock.core.errors import (
    HeadersTooLarge,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PenstockError,
    TimedOut,
    TooLarge,
    UnsupportedType,
)
from penstock.core.events import Event
from penstock.core.ids import Ids
from penstock.core.log import Append, Log, Receipt
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, Registry, Samples, Throttle, Timings

_REQUEST_ID = b"x-request-id"
_REQUEST_ID_BYTES_MAX = 128
_CLIENT_GONE = 499


_NO_CONTENT_START: Message = {"type": "http.response.start", "status": 204, "headers": ()}
_EMPTY: Message = {"type": "http.response.body", "body": b""}


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

    async def answered(self, received: Received) -> Response:
        if self.answer is None:
            raise NotReady(f"{self.operation} is not served by this process")
        return await self.answer(received)


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
        """One request. Kept flat: every coroutine and look-up here is paid by every event."""
        if scope["type"] != "http":
            return
        began = perf_counter()
        timings, status, accountable = self._unmatched, _CLIENT_GONE, ""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self.in_flight += 1
        try:
            try:
                (endpoint, timings), parameters = self._routes.find(
                    scope["method"], scope["raw_path"]
                )
                accountable = endpoint.topic
                self._check_head(endpoint, scope, headers)
                body = await self._body(endpoint.body_bytes_max, receive)
                client = scope["client"]
                received = Received(
                    scope["method"],
                    parameters,
                    scope["query_string"],
                    headers,
                    body,
                    client[0] if client else "",
                    self._clock.now_ms(),
                )
                if endpoint.ingest is None:
                    response = await endpoint.answered(received)
                else:
                    reply = endpoint.ingest(received)
                    accountable = ""  # from here on the log accounts for the events
                    if (pending := self._append(endpoint, reply)) is not None:
                        await pending
                    response = reply.response
            except PenstockError as error:
                self._account(accountable)
                response = self._refusal(scope, headers, error)
            except Exception as error:  # noqa: BLE001 - a defect of ours is answered as such
                self._account(accountable)
                response = self._refusal(scope, headers, PenstockError(), cause=error)
            start, content = _messages(response, headers)
            await send(start)
            await send(content)
            status = response.status
        except (ClientGone, asyncio.CancelledError):
            return
        finally:
            self.in_flight -= 1
            timings.observe(status, perf_counter() - began)

    def _check_head(self, endpoint: Endpoint, scope: Scope, headers: dict[bytes, bytes]) -> None:
        settings = self._settings
        if endpoint.sheds and self.in_flight > settings.requests_in_flight_max:
            raise Overloaded
        head = len(scope["raw_path"]) + len(scope["query_string"])
        if head + sum(map(len, headers.values())) > settings.head_bytes_max:
            raise HeadersTooLarge
        if b"content-encoding" in headers and headers[b"content-encoding"] != b"identity":
            raise UnsupportedType("send the body without a Content-Encoding")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > endpoint.body_bytes_max:
            raise TooLarge(f"the body may have at most {endpoint.body_bytes_max} bytes")

    def _append(self, endpoint: Endpoint, reply: Reply) -> "asyncio.Future[Receipt] | None":
        """Hand the events to the log. None when there are none."""
        if self._committer is None or self._log is None or endpoint.encode is None:
            raise NotReady(f"{endpoint.operation} is not served by this process")
        if not reply.events:
            self._log.tally(endpoint.topic, rejected=reply.rejected)
            return None
        encode = endpoint.encode
        payloads = [encode(event) for event in reply.events]
        return self._committer.commit(
            Append(endpoint.topic, payloads, b"", reply.idempotency_key, reply.rejected)
        )

    def _account(self, topic: str) -> None:
        """A request to a topic was refused before it could become an append."""
        if topic and self._log is not None:
            self._log.tally(topic, rejected=1)

    async def _body(self, limit: int, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message["body"]
        if message["more_body"]:
            return await self._rest(body, limit, receive)
        if len(body) > limit:
            raise TooLarge(f"the body may have at most {limit} bytes")
        return body

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
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        error: PenstockError,
        cause: Exception | None = None,
    ) -> Response:
        """The error's answer, with a request id, and its one line in the log."""
        request_id = _request_id(headers) or str(self._ids.uuid7()).encode()
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
        extra = [(b"content-type", b"application/json"), (_REQUEST_ID, request_id)]
        if error.retry_after:
            extra.append((b"retry-after", str(error.retry_after).encode()))
        if isinstance(error, MethodNotAllowed):
            extra.append((b"allow", ", ".join(error.allowed).encode()))
        rendered = Response.json({"error": error.code, "message": str(error)}, error.status)
        return Response(error.status, rendered.body, tuple(extra))


def _request_id(headers: dict[bytes, bytes]) -> bytes:
    """The client's own, if it is one that can be repeated safely; otherwise nothing."""
    given = headers.get(_REQUEST_ID, b"")
    sound = len(given) <= _REQUEST_ID_BYTES_MAX and all(0x20 < c < 0x7F for c in given)
    return given if sound else b""


def _messages(response: Response, headers: dict[bytes, bytes]) -> tuple[Message, Message]:
    if response is NO_CONTENT and _REQUEST_ID not in headers:
        return _NO_CONTENT_START, _EMPTY
    named = list(response.headers)
    if response.status != NO_CONTENT.status:
        named.append((b"content-length", b"%d" % len(response.body)))
    if (given := _request_id(headers)) and (_REQUEST_ID, given) not in named:
        named.append((_REQUEST_ID, given))
    start = {"type": "http.response.start", "status": response.status, "headers": named}
    return start, {"type": "http.response.body", "body": response.body}
