"""The fast lane: requests without the bookkeeping of ASGI, on the same connections.

A request takes it when nothing about it is unusual: a known route, HTTP/1.1 kept alive, no
expectation or upgrade, and nothing ahead of it on its connection. Then there is no scope and there
are no messages: the body goes to the ingest function, its events to the group commit, and the
answer is written when the commit is done. Every other request goes uvicorn's way as if this file
did not exist, in order with those of the lane.

Clients repeat themselves. A head that was parsed once, byte for byte, need not be parsed again:
when a piece of data is exactly such a head and the body it announces, it is taken as it is.
"""

import asyncio
from time import perf_counter
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from penstock.core.edge import NO_CONTENT, Received, Response, codings
from penstock.core.edge.connection import Connection
from penstock.core.edge.endpoints import CLIENT_GONE, AnswerEndpoint, IngestEndpoint
from penstock.core.edge.heads import END, Head, Heads
from penstock.core.errors import Overloaded, PenstockError, TimedOut


class _NoEvent:
    """Stands where uvicorn keeps the event that wakes an ASGI task."""

    def set(self) -> None:
        """Nobody waits: there is no task."""


_NO_EVENT = _NoEvent()
_NO_BODY: list[bytes] = []


class LaneCycle:
    """The lane's request of a connection, with the face that uvicorn expects of its own.

    A connection has one at a time, so it has one of these for all of them.
    """

    __slots__ = (
        "_began", "_head", "_lane", "_parts", "_response", "_size", "disconnected", "keep_alive",
        "message_event", "more_body", "response_complete",
    )  # fmt: skip

    response_started = False
    """It has not begun before it is complete."""

    def __init__(self, lane: "LaneConnection") -> None:
        self._lane = lane
        self._parts = _NO_BODY
        self._size = 0
        self._response = NO_CONTENT
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NO_EVENT
        self.more_body = False
        self.response_complete = True

    def begin(self, head: Head) -> None:
        self._began = perf_counter()
        self._head = head
        self._parts = []
        self._size = 0
        self.more_body = True
        self.response_complete = False
        self._lane.edge.in_flight += 1

    def add(self, piece: bytes) -> None:
        self._parts.append(piece)
        self._size += len(piece)
        try:
            self._head.endpoint.check_size(self._size)
        except PenstockError as error:
            self.refuse(error)

    def end(self) -> None:
        parts = self._parts
        self._parts = _NO_BODY
        self._decide(parts[0] if len(parts) == 1 else b"".join(parts))

    def take(self, head: Head, body: bytes) -> None:
        """A whole request at once."""
        self._began = perf_counter()
        self._head = head
        self.response_complete = False
        edge = self._lane.edge
        edge.in_flight += 1
        if edge.in_flight > edge.settings.requests_in_flight_max and head.endpoint.sheds:
            self.refuse(Overloaded())
        else:
            self._decide(body)

    def _decide(self, body: bytes) -> None:
        """The request is complete; answer once what it leads to is durable."""
        self.more_body = False
        head, lane = self._head, self._lane
        edge, endpoint = lane.edge, head.endpoint
        accountable = True
        try:
            if head.coding:
                body = codings.inflate(head.coding, body, endpoint.body_bytes_max)
            received = Received(
                head.method,
                head.parameters,
                head.query,
                head.headers,
                body,
                lane.peer if edge.proxies is None else edge.client(lane.peer, head.headers),
                edge.now_ms(),
            )
            if isinstance(endpoint, AnswerEndpoint):
                lane.start(self._answer_later(endpoint, received))
                return
            reply = endpoint.ingest(received)
            accountable = False  # from here on the log accounts for the events
            self._response = reply.response
            if not edge.commit(endpoint, reply, self._settle):
                self._settle()
        except PenstockError as error:
            self.refuse(error, accountable=accountable)
        except Exception as error:  # noqa: BLE001 - a defect of ours is answered as such
            self.refuse(PenstockError(), cause=error, accountable=accountable)

    async def _answer_later(self, endpoint: AnswerEndpoint, received: Received) -> None:
        try:
            response = await endpoint.answer(received)
        except PenstockError as error:
            self.refuse(error)
        except asyncio.CancelledError:
            self.abandon()
            raise
        except Exception as error:  # noqa: BLE001 - a defect of ours is answered as such
            self.refuse(PenstockError(), cause=error)
        else:
            self._response = response
            self._settle()

    def refuse(
        self, error: PenstockError, *, cause: Exception | None = None, accountable: bool = True
    ) -> None:
        head, edge = self._head, self._lane.edge
        if accountable and isinstance(head.endpoint, IngestEndpoint):
            edge.account(head.endpoint.topic)
        self._response = edge.refusal((head.method, head.path, head.headers), error, cause)
        self._settle()

    def abandon(self) -> None:
        """Nobody is there to answer."""
        self.response_complete = True
        self._lane.edge.in_flight -= 1
        self._head.timings.observe(CLIENT_GONE, perf_counter() - self._began)

    def _settle(self, error: PenstockError | None = None) -> None:
        """Answer with the response that was decided on, or with why it cannot be."""
        if error is not None:
            self.refuse(error, accountable=False)
            return
        self.response_complete = True
        head, lane, response = self._head, self._lane, self._response
        lane.edge.in_flight -= 1
        head.timings.observe(response.status, perf_counter() - self._began)
        if not self.disconnected:
            lane.respond(response, head, keep_alive=self.keep_alive)


class LaneConnection(Connection):
    """A connection with the lane beside uvicorn's own way."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        heads: Heads,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.peer = ""
        self._turn = LaneCycle(self)
        self._heads = heads
        self._resting = True
        """Whether the parser stands between two requests, as it did before the first."""
        self._plain = False
        """Whether it will stand so again after the request that is arriving."""
        self._learnable: Head | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""

    def data_received(self, data: bytes) -> None:
        resting = self._resting
        if resting:
            end = data.find(END) + len(END)
            head = self._heads.find(data[:end])
            if head is not None and len(data) - end == head.length and self._is_free():
                self.requests += 1
                self.cycle = turn = self._turn
                turn.take(head, data[end:])
                return
        requests = self.requests
        super().data_received(data)
        if resting and self._resting and self.requests == requests + 1 and self._learnable:
            # Exactly one request, and nothing else.
            self._heads.learn(data, self._learnable)

    def _is_free(self) -> bool:
        cycle = self.cycle
        return (cycle is None or cycle.response_complete) and not self.flow.write_paused

    def on_message_begin(self) -> None:
        """Only what both ways need; a scope is made for the requests that need one."""
        self.begin_message()
        self._resting = False
        self._learnable = None
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        if self.is_void():
            return
        parser = self.parser
        self._plain = parser.get_http_version() == "1.1" and parser.should_keep_alive()
        if self._plain and not self.expect_100_continue and self._is_free() and self._enter():
            self.end_head()
            return
        url, received, expects = self.url, self.headers, self.expect_100_continue
        super(Connection, self).on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, received, expects
        super().on_headers_complete()

    def _enter(self) -> bool:
        """Take the lane, unless the target is one that it does not know."""
        url = self.url
        if not url.startswith(b"/") or b"#" in url:
            return False
        edge, method = self.edge, self.parser.get_method().decode("ascii")
        try:
            target, parameters = edge.routes.find(method, url.partition(b"?")[0])
        except PenstockError:
            return False  # answered the other way
        head = Head(target, method, parameters, url, self.headers)
        self.cycle = turn = self._turn
        turn.begin(head)
        try:
            # Counted as the other host does, which is not told of the question mark.
            counted = url.replace(b"?", b"", 1)
            head.coding = edge.check_head(head.endpoint, counted, self.headers, head.headers)
        except PenstockError as error:
            turn.refuse(error)
        else:
            self._learnable = head
        return True

    def on_body(self, body: bytes) -> None:
        turn = self._turn
        if self.cycle is not turn or turn.response_complete:
            super().on_body(body)
        else:
            self._line_bytes = 0
            turn.add(body)

    def on_message_complete(self) -> None:
        turn = self._turn
        if self._in_head:
            return  # it was void
        self._resting = self._plain
        if self.cycle is not turn or turn.response_complete:
            super().on_message_complete()
        else:
            self.reading = False
            turn.end()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        turn = self._turn
        if turn.more_body and not turn.response_complete:
            turn.abandon()

    def break_off(self, error: PenstockError) -> None:
        self._resting = False
        super().break_off(error)

    def expire(self) -> None:
        turn = self._turn
        if self.cycle is turn:
            turn.keep_alive = False
            turn.refuse(TimedOut())

    def start(self, work: Any) -> None:
        """Run an answer's coroutine; a graceful stop waits for it."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def respond(self, response: Response, head: Head, *, keep_alive: bool) -> None:
        """Write the answer as uvicorn would, and go on with what waits on this connection."""
        transport = self.transport
        if transport.is_closing():
            return
        if response is NO_CONTENT and keep_alive and not head.request_id:
            transport.write(self._heads.no_content(self.server_state.default_headers))
        else:
            self.write(response, head.request_id, head.method, keep_alive=keep_alive)
        if self.flow.read_paused or self.pipeline:
            self.on_response_complete()
