"""uvicorn's connection with the bounds that it lacks; both hosts stand on it.

The hot path sets no timers. Once a second a sweep asks every connection what it waits for, and
gives up on those that have waited for the same thing too long.
"""

import asyncio
from collections.abc import Collection, Sized
from typing import Any, Literal, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from penstock.core.edge import Response
from penstock.core.edge.asgi import Edge
from penstock.core.edge.wire import head_of, render
from penstock.core.errors import HeadersTooLarge, PenstockError, Rejected, TimedOut, TooLarge

SWEEP_SECONDS = 1.0
_SWEPT_AT_ONCE = 100
_DRAIN_BYTES_MAX = 8_388_608
"""How much of a body is read on after its request was refused, so that the answer is read too."""

Wait = Literal["request", "head", "body", "drain", "answer", "reader"]


class _Flow(FlowControl):
    """Reads on only when no request waits: uvicorn does for each answer, and may read a hundred."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """The application is an `Edge`."""

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
        self.url = b""
        self.requests = 0
        self.reading = False
        """Whether a request has begun to arrive and has not ended."""
        self._in_head = False
        self._line_bytes = 0
        """What arrived since the last thing that it could be counted as: lines of a head, of
        trailers or of a chunk's size that do not end."""
        self._drained = 0
        self._broken: PenstockError | None = None
        """Why nothing further can be understood; told when all before it is answered."""
        self._seen: tuple[Wait, int] = ("request", 0)
        self._seen_at = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._seen_at = self.loop.time()

    # -- arriving -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._broken is not None or self.transport.is_closing():
            return
        self._line_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self.break_off(Rejected(f"this is not HTTP: {error}"))
        else:
            if self._line_bytes > self.edge.settings.head_bytes_max and self.reading:
                self.break_off(HeadersTooLarge())

    def _parse(self, data: bytes | memoryview) -> None:
        """Nothing is upgraded here, and who asks for it goes on with HTTP/1.1 until told otherwise.
        The parser would end such a request at its head: it gets the head again, without the wish.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self.parser.feed_data(self._plain_head())
                data = memoryview(data)[upgrade.args[0] :]
            else:
                return

    def _plain_head(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            raise httptools.HttpParserError("there are no tunnels here")
        kept = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(kept))

    def on_message_begin(self) -> None:
        self.begin_message()
        super().on_message_begin()

    def begin_message(self) -> None:
        self.requests += 1
        self.reading = self._in_head = True
        self._line_bytes = self._drained = 0

    def is_void(self) -> bool:
        """Whether the head that has ended counts for nothing: it comes again, or too late."""
        return self._broken is not None or self.parser.should_upgrade()

    def end_head(self) -> None:
        self._in_head = False
        self._line_bytes = 0

    def on_headers_complete(self) -> None:
        if self.is_void():
            return
        # The list goes on to take trailers, which are no headers.
        self.scope["headers"] = tuple(self.headers)
        super().on_headers_complete()
        self.end_head()

    def on_body(self, body: bytes) -> None:
        self._line_bytes = 0
        super().on_body(body)
        if self.cycle.response_complete:
            self._drained += len(body)
            if self._drained > _DRAIN_BYTES_MAX:
                self.break_off(TooLarge())

    def on_message_complete(self) -> None:
        if self._in_head:
            return  # it was void
        self.reading = False
        super().on_message_complete()

    # -- answering ------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Go on with what waits on this connection. The keep-alive timer is the sweep's."""
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._broken is not None:
            self._end(self._broken)
        else:
            self.flow.resume_reading()

    def break_off(self, error: PenstockError) -> None:
        """Understand nothing more: answer what came before, then say why, then close."""
        self._broken = error
        self.flow.pause_reading()
        if self.pipeline:
            if self._in_body():
                self.pipeline.popleft()  # it will never be complete
        elif self._in_body() or self.cycle is None or self.cycle.response_complete:
            self._end(error)

    def _in_body(self) -> bool:
        return self.reading and not self._in_head

    def _end(self, error: PenstockError) -> None:
        """All that came before is answered; so may be what is broken off, and is not twice."""
        cycle = self.cycle
        if not self._in_body():
            self.refuse(error)
        elif cycle.response_started or cycle.response_complete:
            self.transport.close()
        else:
            self.refuse(error)
            cycle.disconnected = True
            cycle.message_event.set()

    def refuse(self, error: PenstockError) -> None:
        """The last answer of this connection, to a request that could not be read."""
        headers, url = dict(self.headers or ()), (self.url or b"").decode("latin-1")
        method = self.parser.get_method().decode("ascii") if url else ""
        response = self.edge.refusal((method, url, headers), error)
        self.write(response, b"", method, keep_alive=False)

    def write(
        self, response: Response, request_id: bytes, method: str, *, keep_alive: bool
    ) -> None:
        """The answer to a request of this id and this method."""
        named = self.server_state.default_headers + head_of(response, request_id)
        if method == "HEAD":
            response = Response(response.status)
        self.transport.write(render(response, named, keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()

    # -- waiting --------------------------------------------------------------------------------

    def sweep(self, now: float) -> bool:
        """Give up if the same was waited for too long. Whether anything was asked since the last
        sweep. `now` is the loop's time in seconds.
        """
        seen = (self._waits_for(), self.requests)
        active = seen[1] != self._seen[1]
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        elif now - self._seen_at >= self._patience(seen[0]):
            self._give_up(seen[0])
        return active

    def _waits_for(self) -> Wait:
        cycle = self.cycle
        if self.transport.is_closing() or self.flow.write_paused:
            return "reader"
        if self.reading and self._in_head:
            return "head"
        if self.reading and not self.flow.read_paused:
            return "drain" if cycle.response_complete else "body"
        return "request" if cycle is None or cycle.response_complete else "answer"

    def _patience(self, wait: Wait) -> float:
        settings = self.edge.settings
        if wait == "request":
            return settings.keep_alive_seconds
        if wait == "head":
            return settings.head_seconds_max
        if wait == "reader":
            return settings.send_seconds_max
        # An operation bounds its own time; the ASGI host's bodies have a deadline there.
        return float("inf") if wait == "answer" else settings.body_seconds_max

    def _give_up(self, wait: Wait) -> None:
        if wait == "reader":
            self.transport.abort()
        elif wait == "head":
            self.break_off(TimedOut())
        elif wait == "body":
            self.expire()
        else:
            self.transport.close()

    def expire(self) -> None:
        """The body is late."""

    def _unset_keepalive_if_required(self) -> None:
        """There is no timer to unset."""


async def sweep(edge: Edge, connections: Collection[Any], interval: float = SWEEP_SECONDS) -> None:
    """Sweep uvicorn's live set of connections until cancelled: each once in an interval, a few at
    a time, so that ten thousand do not hold up a request.
    """
    loop = asyncio.get_running_loop()
    while True:
        present, active = tuple(connections), 0
        turns = max(1, -(-len(present) // _SWEPT_AT_ONCE))
        for turn in range(turns):
            await asyncio.sleep(interval / turns)
            now = loop.time()
            active += sum(connection.sweep(now) for connection in present[turn::turns])
        edge.expect(active)
