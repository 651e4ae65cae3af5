"""The fast lane: ingest without the bookkeeping of ASGI, on the same connections.

A request takes it when nothing about it is unusual: an ingest route by its exact path, HTTP/1.1
kept alive, no expectation, upgrade or content encoding, and nothing ahead of it on its connection.
Then there is no scope, no task and no message: the body goes to the ingest function, its events to
the group commit, and the answer is written when the commit is done. Every other request goes
uvicorn's way as if this file did not exist, in order with those of the lane.
"""

import asyncio
from time import perf_counter
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from penstock.core.edge import NO_CONTENT, Received, Response
from penstock.core.edge.asgi import Edge
from penstock.core.edge.endpoints import (
    CLIENT_GONE,
    REQUEST_ID,
    Headers,
    IngestEndpoint,
    head_of,
    size_of,
)
from penstock.core.errors import PenstockError, TimedOut
from penstock.core.log import Receipt
from penstock.core.telemetry import Timings

_UNUSUAL = (b"expect", b"upgrade", b"content-encoding", b"x-forwarded-for")


class _NoEvent:
    """Stands where uvicorn keeps the event that wakes an ASGI task."""

    def set(self) -> None:
        """Nobody waits: there is no task."""


_NO_EVENT = _NoEvent()


class LaneCycle:
    """One request in the lane, with the face that uvicorn's connection expects of its own."""

    __slots__ = (
        "_began", "_endpoint", "_headers", "_path", "_protocol", "_response", "_timings", "body",
        "deadline", "disconnected", "keep_alive", "message_event", "more_body",
        "response_complete",
    )  # fmt: skip

    def __init__(
        self,
        protocol: "LaneProtocol",
        endpoint: IngestEndpoint,
        timings: Timings,
        path: bytes,
        headers: Headers,
    ) -> None:
        self._protocol = protocol
        self._endpoint = endpoint
        self._timings = timings
        self._path = path
        self._headers = headers
        self._began = perf_counter()
        self._response = NO_CONTENT
        self.body = b""
        self.deadline: asyncio.TimerHandle | None = None
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NO_EVENT
        self.more_body = True
        self.response_complete = False
        edge = protocol.edge
        edge.in_flight += 1
        try:
            edge.check_head(endpoint, len(path) + size_of(protocol.headers), headers)
        except PenstockError as error:
            self._refuse(error)

    def is_waiting(self) -> bool:
        """Whether the body is on its way with no deadline set yet."""
        return self.more_body and self.deadline is None and not self.response_complete

    def add(self, piece: bytes) -> None:
        self.body = self.body + piece if self.body else piece
        if len(self.body) > self._endpoint.body_bytes_max:
            try:
                self._endpoint.check_size(len(self.body))
            except PenstockError as error:
                self._refuse(error)

    def decide(self) -> None:
        """The request is complete; answer once what it leads to is durable."""
        self.more_body = False
        self._stop_waiting()
        endpoint, protocol = self._endpoint, self._protocol
        client = protocol.client
        accountable = True
        try:
            reply = endpoint.ingest(
                Received(
                    "POST",
                    (),
                    b"",
                    self._headers,
                    self.body,
                    client[0] if client else "",
                    protocol.edge.now_ms(),
                )
            )
            accountable = False  # from here on the log accounts for the events
            self._response = reply.response
            if not protocol.edge.commit(endpoint, reply, self._settle):
                self._answer(reply.response)
        except PenstockError as error:
            self._refuse(error, accountable=accountable)
        except Exception as error:  # noqa: BLE001 - a defect of ours is answered as such
            self._refuse(PenstockError(), cause=error, accountable=accountable)

    def expire(self) -> None:
        """The body did not arrive in time."""
        if not self.response_complete:
            self.keep_alive = False
            self._refuse(TimedOut())

    def abandon(self) -> None:
        """The client hung up before its request was complete."""
        if self.more_body and not self.response_complete:
            self._stop_waiting()
            self.response_complete = True
            self._protocol.edge.in_flight -= 1
            self._timings.observe(CLIENT_GONE, perf_counter() - self._began)

    def _settle(self, outcome: Receipt | PenstockError) -> None:
        if isinstance(outcome, PenstockError):
            self._refuse(outcome, accountable=False)
        else:
            self._answer(self._response)

    def _refuse(
        self, error: PenstockError, *, cause: Exception | None = None, accountable: bool = True
    ) -> None:
        edge = self._protocol.edge
        if accountable:
            edge.account(self._endpoint.topic)
        request = ("POST", self._path.decode("ascii"), self._headers)
        self._answer(edge.refusal(request, error, cause))

    def _answer(self, response: Response) -> None:
        self._stop_waiting()
        self.response_complete = True
        self._protocol.edge.in_flight -= 1
        self._timings.observe(response.status, perf_counter() - self._began)
        if not self.disconnected:
            self._protocol.respond(response, self._headers, keep_alive=self.keep_alive)

    def _stop_waiting(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class LaneProtocol(HttpToolsProtocol):
    """uvicorn's connection with the lane beside its own way. The application is an `Edge`."""

    cycle: Any

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.edge = cast("Edge", config.app)

    def on_message_begin(self) -> None:
        """Only what both ways need; a scope is made for the requests that need one."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        found = self._lane()
        if found is not None:
            headers = dict(self.headers)
            if not any(name in headers for name in _UNUSUAL):
                self.cycle = LaneCycle(self, *found, self.url, headers)
                return
        url, received, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, received, expects
        self.scope["headers"] = received
        super().on_headers_complete()

    def _lane(self) -> tuple[IngestEndpoint, Timings] | None:
        """The endpoint, if nothing about the request's line or its connection is unusual."""
        found = self.edge.lane.get(self.url)
        if (
            found is None
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
            or self.flow.write_paused
            or self.pipeline
            or not (self.cycle is None or self.cycle.response_complete)
        ):
            return None
        return found

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if type(cycle) is not LaneCycle:
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.add(body)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if type(cycle) is not LaneCycle:
            super().on_message_complete()
        elif not cycle.response_complete:
            cycle.decide()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if type(cycle) is LaneCycle and cycle.is_waiting():
            seconds = self.edge.settings.body_seconds_max
            cycle.deadline = self.loop.call_later(seconds, cycle.expire)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if type(self.cycle) is LaneCycle:
            self.cycle.abandon()

    def respond(self, response: Response, headers: Headers, *, keep_alive: bool) -> None:
        """Write the answer as uvicorn would, and go on with what waits on this connection."""
        if self.transport.is_closing():
            return
        if response is NO_CONTENT and keep_alive and REQUEST_ID not in headers:
            self.transport.write(self._no_content())
        else:
            named = self.server_state.default_headers + head_of(response, headers)
            self.transport.write(render(response, named, keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _no_content(self) -> bytes:
        """The commonest answer, rendered once per change of the date."""
        defaults = self.server_state.default_headers
        known = self.edge.rendered
        if known[0] is not defaults:
            known = self.edge.rendered = (defaults, render(NO_CONTENT, defaults, keep_alive=True))
        return known[1]


def render(response: Response, headers: list[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
    lines = [STATUS_LINE[response.status]]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    lines += (b"\r\n", response.body)
    return b"".join(lines)
