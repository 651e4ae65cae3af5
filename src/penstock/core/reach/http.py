"""HTTP to others: one connection for each request, to an address that was checked.

There is no client in here that would look names up again, follow redirects, believe variables of
the environment or inflate without end: h11 reads and writes the protocol, and does nothing else.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from ipaddress import ip_address

import h11

from penstock import __version__
from penstock.core import codings
from penstock.core.clock import Clock
from penstock.core.errors import Misconfigured, NotReady, PenstockError
from penstock.core.reach import Answer, OutOfBounds, Unanswered
from penstock.core.reach.hosts import Hosts
from penstock.core.reach.places import Address, Bounds, Target, read
from penstock.core.settings import Settings
from penstock.core.telemetry import Samples
from penstock.core.threads import Threads

_HEAD_BYTES_MAX = 65_536
"""Of an answer, with what comes before it."""
_READ_BYTES = 16_384
_PIECE_BYTES = 64
"""A piece of a body costs time however little is in it: it counts as so many bytes at least."""
_CONNECT_SECONDS_MAX = 5.0
"""For one address of several."""
_RESOLVERS = 8
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect",
     "upgrade", "te", "trailer", "keep-alive", "proxy-connection", "proxy-authorization"}
)  # fmt: skip
"""Headers that belong to the connection, and are not the asker's."""

Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, as the system knows them. Blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for *_, place in found]


class Client:
    """Implements `core.reach.Http`."""

    def __init__(self, settings: Settings, clock: Clock, *, resolver: Resolve = resolve) -> None:
        """Raise `Misconfigured`."""
        self._bounds = Bounds(settings.reach_networks, settings.reach_ports)
        self._seconds_max = settings.reach_seconds_max
        self._bytes_max = settings.reach_answer_bytes_max
        self._hosts = Hosts(
            clock,
            at_once=settings.reach_at_once_max,
            at_once_each=settings.reach_host_at_once_max,
        )
        self._resolver = resolver
        self._resolvers = Threads("resolve", _RESOLVERS)
        self._certificates = settings.reach_certificates
        self._counts = dict.fromkeys(("answered", "unanswered", "out_of_bounds"), 0)
        if self._certificates:
            _ = self._tls

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        seconds: float = 10.0,
        bytes_max: int | None = None,
    ) -> Answer:
        try:
            target = self._target(url)
            exchange = Exchange(
                target, method, headers, body, min(bytes_max or self._bytes_max, self._bytes_max)
            )
            answer = await self._in_time(target, exchange, min(seconds, self._seconds_max))
        except OutOfBounds:
            self._counts["out_of_bounds"] += 1
            raise
        except Unanswered:
            self._counts["unanswered"] += 1
            raise
        self._counts["answered"] += 1
        return answer

    async def check(self, url: str) -> None:
        await self._addresses(self._target(url))

    def sample(self, samples: Samples) -> None:
        for outcome, count in self._counts.items():
            samples.counter("penstock_reach_requests", count, outcome=outcome)

    def close(self) -> None:
        self._resolvers.close()

    # -- going there ----------------------------------------------------------------------------

    def _target(self, url: str) -> Target:
        target = read(url)
        self._bounds.check_port(target)
        return target

    async def _in_time(self, target: Target, exchange: "Exchange", seconds: float) -> Answer:
        """What takes too long counts against the host, if it was the host that took it."""
        late = f"{target.host} gave no answer within {seconds:g} seconds"
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline) as waiting, self._hosts.turn(target.place):
                waiting.reschedule(None)
                try:
                    async with asyncio.timeout_at(deadline):
                        return await self._ask(target, exchange)
                except TimeoutError:
                    raise Unanswered(late, sent=exchange.sent) from None
        except TimeoutError:
            raise Unanswered(f"{late}: others are being asked") from None

    async def _ask(self, target: Target, exchange: "Exchange") -> Answer:
        addresses = await self._addresses(target)
        try:
            connected = await _connect(target, addresses)
            tls = self._tls if target.scheme == "https" else None
            try:
                reader, writer = await asyncio.open_connection(
                    sock=connected,
                    ssl=tls,
                    server_hostname=None if tls is None else target.host,
                    limit=_READ_BYTES,
                )
            except BaseException:
                connected.close()
                raise
            try:
                return await exchange.run(reader, writer)
            finally:
                writer.transport.abort()
        except (OSError, h11.RemoteProtocolError) as error:  # an SSLError is an OSError
            why = f"{type(error).__name__}: {error}"
            raise Unanswered(f"asking {target.host}: {why}", sent=exchange.sent) from error

    async def _addresses(self, target: Target) -> list[Address]:
        """All of them may be reached: who mixes one in that may not means no good by the rest."""
        literal = target.literal
        found = [literal] if literal is not None else await self._resolved(target)
        for address in found:
            self._bounds.check(target.host, address)
        return found

    async def _resolved(self, target: Target) -> list[Address]:
        work = partial(self._resolver, target.host, target.port)
        try:
            found = await self._resolvers.run(work, self._seconds_max)
            addresses = list(dict.fromkeys(map(ip_address, found)))
        except (OSError, ValueError) as error:  # a label that is too long is a UnicodeError
            raise Unanswered(f"{target.host} has no address: {error}") from error
        except NotReady as error:
            raise Unanswered(f"looking up {target.host}: {error}") from error
        if not addresses:
            raise Unanswered(f"{target.host} has no address")
        return addresses

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Those whom the system believes, and those of the settings. Raise `Misconfigured`."""
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._certificates:
            try:
                context.load_verify_locations(cafile=self._certificates)
            except OSError as error:
                raise Misconfigured(
                    f"setting PENSTOCK_REACH_CERTIFICATES: reading {self._certificates}: {error}"
                ) from error
        return context


async def _connect(target: Target, addresses: Sequence[Address]) -> socket.socket:
    """To the first that takes us. Raise what the last one said."""
    loop = asyncio.get_running_loop()
    refused: OSError = OSError("it has no address")
    for address in addresses:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(0)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS_MAX):
                await loop.sock_connect(connection, (str(address), target.port))
        except OSError as error:  # a TimeoutError is one
            connection.close()
            refused = error if str(error) else OSError("it takes no connection")
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise refused


class Exchange:
    """One request and its answer."""

    def __init__(
        self,
        target: Target,
        method: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        bytes_max: int,
    ) -> None:
        """Raise `OutOfBounds` for what is no request, or would be two."""
        self.sent = False
        self._host = target.host
        self._bytes_max = bytes_max
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES_MAX)
        if method not in _METHODS:
            raise OutOfBounds(f"the method is one of {', '.join(sorted(_METHODS))}")
        own = [(name.strip().lower(), value) for name, value in headers]
        if foreign := sorted(_OURS.intersection(name for name, _ in own)):
            raise OutOfBounds(f"{', '.join(foreign)} is not for the asker to say")
        defaults = [("user-agent", f"penstock/{__version__}"), ("accept", "*/*")]
        given = {name for name, _ in own}
        lines = [
            ("host", target.place),
            *(line for line in defaults if line[0] not in given),
            *own,
            ("accept-encoding", "gzip"),
            ("connection", "close"),
        ]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(("content-length", str(len(body))))
        try:
            asked = h11.Request(method=method, target=target.target, headers=lines)
            self._bytes = self._protocol.send(asked) or b""
            self._bytes += self._protocol.send(h11.Data(data=body)) or b"" if body else b""
            self._bytes += self._protocol.send(h11.EndOfMessage()) or b""
        except (h11.LocalProtocolError, UnicodeEncodeError, TypeError) as error:
            raise OutOfBounds(f"this is no request: {error}") from error

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        """Raise `Unanswered`, or what the connection or the protocol says."""
        self.sent = True
        writer.write(self._bytes)
        with suppress(ConnectionError):  # one that has answered already need not hear the rest
            await writer.drain()
        head = await self._head(reader)
        names = dict.fromkeys(name.decode("latin-1") for name, _ in head.headers)
        headers = {name: self._values(head, name) for name in names}
        body = await self._body(reader)
        return Answer(head.status_code, headers, self._plain(headers, body))

    async def _head(self, reader: asyncio.StreamReader) -> h11.Response:
        came = 0
        while not isinstance(event := self._protocol.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                came += await self._read(reader)
                if came > _HEAD_BYTES_MAX:
                    raise Unanswered(f"the head of the answer of {self._host} does not end",
                                     sent=True)  # fmt: skip
            elif not isinstance(event, h11.InformationalResponse):
                raise Unanswered(f"{self._host} ended without an answer", sent=True)
        return event

    async def _body(self, reader: asyncio.StreamReader) -> bytes:
        parts: list[bytes] = []
        room = self._bytes_max
        while not isinstance(event := self._protocol.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                await self._read(reader)
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                room -= len(event.data)
                if room < 0 or len(parts) * _PIECE_BYTES > max(self._bytes_max, _HEAD_BYTES_MAX):
                    raise self._too_large()
            else:
                raise Unanswered(f"{self._host} ended within its answer", sent=True)
        return b"".join(parts)

    async def _read(self, reader: asyncio.StreamReader) -> int:
        """Others have their turn in between, whatever has come already."""
        data = await reader.read(_READ_BYTES)
        self._protocol.receive_data(data)
        await asyncio.sleep(0)
        return len(data)

    def _plain(self, headers: dict[str, str], body: bytes) -> bytes:
        if not body:
            return body
        try:
            coding = codings.named(headers.get("content-encoding", "").encode("latin-1"))
            return codings.inflate(coding, body, self._bytes_max) if coding else body
        except PenstockError as error:
            raise Unanswered(f"the answer of {self._host}: {error}", sent=True) from error

    def _too_large(self) -> Unanswered:
        most = f"at most {self._bytes_max} bytes are taken"
        return Unanswered(f"the answer of {self._host} is too large: {most}", sent=True)

    @staticmethod
    def _values(head: h11.Response, name: str) -> str:
        raw = name.encode("latin-1")
        return ", ".join(value.decode("latin-1") for of, value in head.headers if of == raw)
