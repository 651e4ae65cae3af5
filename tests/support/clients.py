"""A client that sends what it likes, at its own pace."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from penstock.core.settings import Settings
from support.answers import Answered, parse
from support.hosts import Rig, Served, served

LONG_SECONDS = 60.0
"""Every bound that a test does not set."""
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.005
_BOUNDS = ("head_seconds_max", "body_seconds_max", "send_seconds_max", "keep_alive_seconds")


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.sleep(PAUSE_SECONDS)

    async def drip(self, piece: bytes) -> None:
        """One byte after the other, until the server has enough."""
        unread = self._reader._buffer  # type: ignore[attr-defined] # what came already
        known = len(unread)
        for byte in piece:
            if len(unread) == known:
                await self.send(bytes([byte]))

    def reset(self) -> None:
        """Leave without a goodbye."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def answered(self, *methods: bytes) -> list[Answered]:
        """All answers, once the server has closed."""
        received = b""
        try:
            while data := await self.heard():
                received += data
        except ConnectionError:
            # It closed with something unread, as it may; what came before counts.
            received += bytes(self._reader._buffer)  # type: ignore[attr-defined] # no other way
        return parse(received, methods)

    async def heard(self) -> bytes:
        return await self._reader.read(65_536)

    async def silent(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.heard(), seconds)
            return False
        return True


class Bench:
    """One edge with one client."""

    def __init__(self, rig: Rig, server: Served, client: Client) -> None:
        self.rig = rig
        self.server = server
        self.client = client

    @property
    def connection(self) -> Any:
        (found,) = self.server.connections.present
        return found


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(PAUSE_SECONDS)


def work_on(
    work: Callable[[Bench], Awaitable[None]], *, remember_heads: bool, **bounds: Any
) -> Rig:
    """Run some work on an edge; whatever it did, nothing is under way or held afterwards."""
    given = {**dict.fromkeys(_BOUNDS, LONG_SECONDS), "remember_heads": remember_heads, **bounds}
    rig = Rig(Settings(**given))

    async def run() -> None:
        async with served(rig) as server:
            client = Client(*await asyncio.open_connection("127.0.0.1", server.port))
            try:
                await asyncio.wait_for(work(Bench(rig, server, client)), PATIENCE_SECONDS)
            finally:
                client.writer.close()
            await until(lambda: not server.connections.present and not server.tasks)
            assert rig.edge.in_flight == 0
            assert server.connections.held == 0

    asyncio.run(run())
    return rig
