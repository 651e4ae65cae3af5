"""Servers of other people, on addresses of the loopback: each says what it was made to say."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Say = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

INSIDE, OUTSIDE, BOTH = "127.0.0.1", "127.0.0.2", "0.0.0.0"
"""Where nothing of ours may go, and where it may: only the latter is opened."""


@dataclass
class Elsewhere:
    port: int
    requests: list[bytes] = field(default_factory=list)
    """Heads, as they came; an empty one came and went without a word."""
    at: list[str] = field(default_factory=list)
    """Addresses of this machine that were connected to."""
    names: list[str | None] = field(default_factory=list)
    """Those that TLS was asked for."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether somebody went away."""


@asynccontextmanager
async def elsewhere(
    say: Say | bytes, *, host: str = OUTSIDE, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Elsewhere]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there.at.append(writer.get_extra_info("sockname")[0])
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                there.requests.append(await _head(reader))
                if isinstance(say, bytes):
                    writer.write(say)
                    await writer.drain()
                else:
                    await say(reader, writer)
            finally:
                there.left.set()
                writer.close()

    def named(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        there.names.append(name)

    if tls is not None:
        tls.sni_callback = named
    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    there = Elsewhere(server.sockets[0].getsockname()[1])
    try:
        yield there
    finally:
        server.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return error.partial


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """The same again and again, for as long as somebody listens."""
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
