"""One request at a time, awaited; for what is outside the schedule."""

import asyncio
from time import perf_counter

from penstock.load.client import Endpoint, Exchange, Pool

_TICK_SECONDS = 0.005


class Asker:
    """Awaits answers over a pool of its own."""

    def __init__(self, endpoint: Endpoint, *, connections: int, timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._pool: Pool[asyncio.Future[None]] = Pool(
            endpoint, size=connections, timeout_seconds=timeout_seconds, on_end=_resolve
        )
        self._clock = asyncio.get_running_loop().create_task(self._expire())

    @property
    def trouble(self) -> str:
        return self._pool.trouble

    async def ask(self, target: str, body: bytes = b"") -> Exchange[asyncio.Future[None]]:
        """The finished exchange; failures are in its status, never raised."""
        return await self._exchanged(self._endpoint.post(target, body))

    async def get(self, target: str) -> Exchange[asyncio.Future[None]]:
        """The same with another method."""
        return await self._exchanged(self._endpoint.get(target))

    async def _exchanged(self, payload: bytes) -> Exchange[asyncio.Future[None]]:
        loop = asyncio.get_running_loop()
        exchange = Exchange(payload, loop.create_future(), intended=perf_counter())
        self._pool.submit(exchange)
        await exchange.token
        return exchange

    async def close(self) -> None:
        self._clock.cancel()
        await asyncio.gather(self._clock, return_exceptions=True)
        await self._pool.close()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._pool.expire(perf_counter())


def _resolve(exchange: Exchange[asyncio.Future[None]]) -> None:
    if not exchange.token.done():
        exchange.token.set_result(None)
