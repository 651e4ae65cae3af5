"""A lean HTTP/1.1 client: keep-alive connections, one request in flight on each.

Requests are never sent twice. What became of each is told exactly once, through `on_end`.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from urllib.parse import urlsplit

import httptools

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import override
else:
    # Python 3.11 lacks it, and typing_extensions is no dependency at run time.
    def override(method: F) -> F:
        return method


_CONNECT_SECONDS_MAX = 1.0
_BACKOFF_SECONDS = 0.05
# Servers close idle connections; a request that meets the close would count as a disconnect.
_IDLE_SECONDS_MAX = 1.0
_QUEUE_MAX = 20_000


class Failure(IntEnum):
    """Endings without a status. Nothing was sent for `CONNECT` and `QUEUE_FULL`."""

    CONNECT = -1
    TIMEOUT = -2
    DISCONNECT = -3
    QUEUE_FULL = -4


class Exchange(Generic[T]):
    """One request and, once `status` is set, its outcome. Moments are perf_counter seconds."""

    __slots__ = ("body", "ended", "intended", "link", "payload", "sent", "status", "token")

    def __init__(self, payload: bytes, token: T, *, intended: float) -> None:
        self.payload = payload
        self.token = token
        self.intended = intended
        self.sent = 0.0
        self.ended = 0.0
        self.status = 0
        self.body = b""
        self.link: _Link[T] | None = None


class Endpoint:
    """Where requests go, and how they are written."""

    def __init__(self, url: str, ca: Path | None = None) -> None:
        """`ca` holds the certificates that vouch for an `https://` server, without it the system's.

        Raise ValueError for an address or a file that cannot be used.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http:// or https:// address: {url}")
        self.url = url
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.tls = _trusting(ca) if parts.scheme == "https" else None
        self.prefix = parts.path.rstrip("/")
        self._host_line = f"Host: {parts.netloc.rpartition('@')[2]}\r\n"
        self._heads: dict[tuple[str, int], bytes] = {}

    def event(self, target: str, body: bytes) -> bytes:
        """A request for one event; heads are kept, as events have few different lengths."""
        head = self._heads.get((target, len(body)))
        if head is None:
            head = self._heads[target, len(body)] = self._head(target, body)
        return head + body

    def post(self, target: str, body: bytes = b"") -> bytes:
        return self._head(target, body) + body

    def get(self, target: str) -> bytes:
        return f"GET {self.prefix}{target} HTTP/1.1\r\n{self._host_line}\r\n".encode()

    def _head(self, target: str, body: bytes) -> bytes:
        kind = "Content-Type: application/json\r\n" if body else ""
        return (
            f"POST {self.prefix}{target} HTTP/1.1\r\n{self._host_line}{kind}"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()


def _trusting(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # one of SSL among them
        raise ValueError(f"--ca {ca} cannot be used: {error}") from error


class Pool(Generic[T]):
    """Connections for one kind of request; opened on demand, at most `size`.

    A request that finds all of them busy waits in a queue. While the server refuses connections,
    requests fail at once instead, and one in every back-off period tries again.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        size: int,
        timeout_seconds: float,
        on_end: Callable[[Exchange[T]], None],
    ) -> None:
        self._endpoint = endpoint
        self._size = size
        self._timeout_seconds = timeout_seconds
        self._on_end = on_end
        self._idle: deque[_Link[T]] = deque()
        self._links: set[_Link[T]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._queue: deque[Exchange[T]] = deque()
        self._in_flight: deque[Exchange[T]] = deque()
        self._closed_until = 0.0
        self._is_shut = False
        self.unfinished = 0
        self.bytes_sent = 0
        self.trouble = ""
        """Why the latest connection could not be opened."""

    def submit(self, exchange: Exchange[T]) -> None:
        """Send as soon as a connection is free; never blocks."""
        self.unfinished += 1
        idle = self._idle  # taken in turns: one that rests is closed, and the next burst pays
        while idle:
            link = idle.popleft()
            if exchange.intended - link.idle_since < _IDLE_SECONDS_MAX:
                self._send(exchange, link)
                return
            link.abandon()
        if not self._links and perf_counter() < self._closed_until:
            self._end(exchange, Failure.CONNECT)
        elif len(self._queue) >= _QUEUE_MAX:
            self._end(exchange, Failure.QUEUE_FULL)
        else:
            self._queue.append(exchange)
            self._open()

    def expire(self, now: float) -> None:
        """End what has waited too long for its answer; call every few milliseconds."""
        in_flight, oldest = self._in_flight, now - self._timeout_seconds
        while in_flight and (in_flight[0].status or in_flight[0].sent < oldest):
            exchange = in_flight.popleft()
            if exchange.status == 0:
                link = exchange.link
                assert link is not None
                self._end(exchange, Failure.TIMEOUT)
                link.abandon()

    async def close(self) -> None:
        self._is_shut = True
        for link in list(self._links):
            link.abandon()
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        # Transports close in the next turn of the loop.
        await asyncio.sleep(0)

    def opened(self, link: "_Link[T]") -> None:
        self._links.add(link)
        self._closed_until = 0.0
        self._next(link)

    def answered(self, link: "_Link[T]", exchange: Exchange[T], *, reusable: bool) -> None:
        if reusable:
            self._next(link)
        else:
            link.abandon()
        self._end(exchange, exchange.status)

    def lost(self, link: "_Link[T]", exchange: Exchange[T] | None) -> None:
        self._links.discard(link)
        with suppress(ValueError):
            self._idle.remove(link)
        if exchange is not None:
            self._end(exchange, Failure.DISCONNECT)
        if self._queue:
            self._open()

    def _send(self, exchange: Exchange[T], link: "_Link[T]") -> None:
        exchange.sent = perf_counter()
        exchange.link = link
        self._in_flight.append(exchange)
        self.bytes_sent += len(exchange.payload)
        link.send(exchange)

    def _next(self, link: "_Link[T]") -> None:
        if self._queue:
            self._send(self._queue.popleft(), link)
        else:
            link.idle_since = perf_counter()
            self._idle.append(link)

    def _end(self, exchange: Exchange[T], status: int) -> None:
        exchange.status = status
        exchange.ended = perf_counter()
        exchange.link = None
        self.unfinished -= 1
        self._on_end(exchange)

    def _open(self) -> None:
        if self._is_shut or len(self._links) + len(self._opening) >= self._size:
            return
        task = asyncio.get_running_loop().create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS_MAX):
                await loop.create_connection(
                    lambda: _Link(self),
                    self._endpoint.host,
                    self._endpoint.port,
                    ssl=self._endpoint.tls,
                )
        except OSError as error:  # so are those of TLS and of time
            self.trouble = str(error) or type(error).__name__
            self._closed_until = perf_counter() + _BACKOFF_SECONDS
            while self._queue and not self._links:
                self._end(self._queue.popleft(), Failure.CONNECT)


class _Link(asyncio.Protocol, Generic[T]):
    """One connection. Bare 204 answers, nearly all there are, bypass the parser."""

    def __init__(self, pool: Pool[T]) -> None:
        self._pool = pool
        self._exchange: Exchange[T] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._body: list[bytes] = []
        self.idle_since = 0.0

    def send(self, exchange: Exchange[T]) -> None:
        self._exchange = exchange
        assert self._transport is not None
        self._transport.write(exchange.payload)

    def abandon(self) -> None:
        """Drop the connection; whatever it carried has been ended by the caller."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, as the transports of uvloop derive from nothing in asyncio.
        self._transport = cast("asyncio.Transport", transport)
        self._pool.opened(self)

    @override
    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abandon()
            return
        if (
            self._parser is None
            and data.startswith(b"HTTP/1.1 204")
            and data.endswith(b"\r\n\r\n")
            and b"close" not in data
        ):
            self._exchange = None
            exchange.status = 204
            self._pool.answered(self, exchange, reusable=True)
            return
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a close and a reset are the same to the caller
        exchange, self._exchange = self._exchange, None
        self._transport = None
        self._pool.lost(self, exchange)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        exchange, self._exchange = self._exchange, None
        parser, self._parser = self._parser, None
        body, self._body = self._body, []
        if exchange is None or parser is None:
            return
        exchange.status = parser.get_status_code()
        exchange.body = b"".join(body)
        self._pool.answered(self, exchange, reusable=parser.should_keep_alive())

    def _fail(self) -> None:
        exchange = self._exchange
        self.abandon()
        if exchange is not None:
            self._pool.lost(self, exchange)
