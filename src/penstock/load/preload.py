"""Fills the store with the beginning of the stream, in batches (AU-31)."""

import asyncio
from collections.abc import Callable

import msgspec

from penstock.load.asking import Asker
from penstock.load.client import Endpoint, Exchange
from penstock.load.fates import ACCEPTED
from penstock.load.workload import Workload

_BATCH_EVENTS = 1_000
_BLOCK_EVENTS = 8_192
_CONNECTIONS = 4
_TIMEOUT_SECONDS = 60.0
_OK, _OVERLOADED = 200, 503
_OVERLOADED_RETRIES = 600
_OVERLOADED_PAUSE_SECONDS = 0.1


class PreloadFailed(Exception):
    """The store does not hold the beginning of the stream, so nothing can be graded."""


class _Accepted(msgspec.Struct, frozen=True):
    accepted: int


def assume(workload: Workload, count: int) -> None:
    """Take the next `count` events for accepted without sending them."""
    ledger = workload.ledger
    stop = ledger.size + count
    while (first := ledger.size) < stop:
        block = min(_BLOCK_EVENTS, stop - first)
        workload.skip(block)
        ledger.settle(first, block, fate=ACCEPTED)


async def preload(
    endpoint: Endpoint, workload: Workload, count: int, on_progress: Callable[[int], None]
) -> None:
    """Send the next `count` events as fast as the server takes them."""
    asker = Asker(endpoint, connections=_CONNECTIONS, timeout_seconds=_TIMEOUT_SECONDS)
    ledger = workload.ledger
    stop, done = ledger.size + count, 0

    async def work() -> None:
        nonlocal done
        while (first := ledger.size) < stop:
            bodies = workload.bodies(min(_BATCH_EVENTS, stop - first))
            await _send(asker, workload, bodies, first)
            ledger.settle(first, len(bodies), fate=ACCEPTED)
            done += len(bodies)
            on_progress(done)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTIONS):
                group.create_task(work())
    except* PreloadFailed as failures:
        raise failures.exceptions[0] from None
    finally:
        await asker.close()


async def _send(asker: Asker, workload: Workload, bodies: list[bytes], first: int) -> None:
    for _ in range(_OVERLOADED_RETRIES):
        exchange = await asker.ask(workload.batch_path, b"\n".join(bodies))
        if exchange.status != _OVERLOADED:
            break
        # A shed batch was not begun, so sending it again counts nothing twice.
        await asyncio.sleep(_OVERLOADED_PAUSE_SECONDS)
    if exchange.status != _OK or _accepted(exchange) != len(bodies):
        raise PreloadFailed(
            f"batch of {len(bodies)} {workload.unit}s from {first}: status {exchange.status}, "
            f"answer {exchange.body[:500].decode(errors='replace')}"
        )


def _accepted(exchange: Exchange[asyncio.Future[None]]) -> int | None:
    try:
        return msgspec.json.decode(exchange.body, type=_Accepted).accepted
    except msgspec.DecodeError:
        return None
