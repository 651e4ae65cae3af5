"""uvicorn's connection with the bounds that it lacks; both hosts stand on it.

The hot path sets no timers. Once a second a sweep asks every connection what it waits for, and
gives up on those that have waited for the same thing too long.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Literal, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from penstock.core.edge import Response
from penstock.core.edge.asgi import Edge
from penstock.core.edge.wire import head_of, render
from penstock.core.errors import HeadersTooLarge, PenstockError, Rejected, TimedOut

SWEEP_SECONDS = 1.0
_DRAIN_BYTES_MAX = 8_388_608
"""How much of a body is read on after its request was refused, so that the answer is read too."""

Wait = Literal["request", "head", "body", "drain", "answer", "reader"]


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
        self._head_bytes = 0
        self._drained = 0
        self._broken: PenstockError | None = None
        """Why nothing further can be understood; told when all before it is answered."""
        self._seen: tuple[Wait, int] = ("request", 0)
        self._seen_at = 0.0

    # -- arriving -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._broken is not None or self.transport.is_closing():
            return
        counted = self._in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as the plain request that it also is; behind it another protocol may follow.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            self.break_off(Rejected(f"this is not HTTP: {error}"))
        if counted and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.edge.settings.head_bytes_max:
                self.break_off(HeadersTooLarge())

    def on_message_begin(self) -> None:
        self.begin_message()
        super().on_message_begin()

    def begin_message(self) -> None:
        self.requests += 1
        self.reading = self._in_head = True
        self._head_bytes = self._drained = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:
            self._drained += len(body)
            if self._drained > _DRAIN_BYTES_MAX:
                self.transport.close()

    def on_message_complete(self) -> None:
        self.reading = False
        super().on_message_complete()

    # -- answering ------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Go on with what waits on this connection. The keep-alive timer is the sweep's."""
        if self.transport.is_closing():
            return
        if self.pipeline:
            self.flow.resume_reading()
            self._start_asgi_task(*self.pipeline.pop())
        elif self._broken is not None:
            self.refuse(self._broken)
        else:
            self.flow.resume_reading()

    def break_off(self, error: PenstockError) -> None:
        """Understand nothing more: answer what came before, then say why, then close."""
        self._broken = error
        self.flow.pause_reading()
        cycle = self.cycle
        if self.pipeline:
            if self.reading and not self._in_head:
                self.pipeline.popleft()  # it will never be complete
        elif cycle is None or cycle.response_complete or (self.reading and not self._in_head):
            self.refuse(error)

    def refuse(self, error: PenstockError) -> None:
        """The last answer of this connection, to a request that could not be read."""
        headers = dict(self.headers or ())
        response = self.edge.refusal(("", (self.url or b"").decode("latin-1"), headers), error)
        self.write(response, head_of(response, {}), keep_alive=False)

    def write(
        self, response: Response, headers: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> None:
        named = self.server_state.default_headers + headers
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


async def sweep(edge: Edge, connections: Iterable[Any], interval: float = SWEEP_SECONDS) -> None:
    """Sweep uvicorn's live set of connections until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(interval)
        now = loop.time()
        edge.expect(sum(connection.sweep(now) for connection in tuple(connections)))
