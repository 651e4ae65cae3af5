"""Fills the store with the beginning of the stream, in batches (AU-31)."""

import asyncio
from collections.abc import Callable

import msgspec

from penstock.load.asking import Asker
from penstock.load.audiences.ledger import Ledger
from penstock.load.audiences.stream import Stream
from penstock.load.client import Endpoint, Exchange
from penstock.load.fates import ACCEPTED

_BATCH_TAGS = 1_000
_BLOCK_TAGS = 8_192
_CONNECTIONS = 4
_TIMEOUT_SECONDS = 60.0
_OK, _OVERLOADED = 200, 503
_OVERLOADED_RETRIES = 600
_OVERLOADED_PAUSE_SECONDS = 0.1


class PreloadFailed(Exception):
    """The store does not hold the beginning of the stream, so nothing can be graded."""


class _Accepted(msgspec.Struct, frozen=True):
    accepted: int


def assume(stream: Stream, ledger: Ledger, *, count: int) -> None:
    """Take the next `count` tags for accepted without sending them."""
    stop = ledger.size + count
    while ledger.size < stop:
        first = ledger.size
        block = stream.block(first, min(_BLOCK_TAGS, stop - first))
        ledger.append(block)
        ledger.settle(first, len(block), fate=ACCEPTED)


async def preload(
    endpoint: Endpoint,
    stream: Stream,
    ledger: Ledger,
    *,
    count: int,
    on_progress: Callable[[int], None],
) -> None:
    """Send the next `count` tags as fast as the server takes them."""
    asker = Asker(endpoint, connections=_CONNECTIONS, timeout_seconds=_TIMEOUT_SECONDS)
    stop, done = ledger.size + count, 0

    async def work() -> None:
        nonlocal done
        while ledger.size < stop:
            first = ledger.size
            block = stream.block(first, min(_BATCH_TAGS, stop - first))
            ledger.append(block)
            await _send(asker, b"\n".join(stream.bodies(block)), first, len(block))
            ledger.settle(first, len(block), fate=ACCEPTED)
            done += len(block)
            on_progress(done)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTIONS):
                group.create_task(work())
    except* PreloadFailed as failures:
        raise failures.exceptions[0] from None
    finally:
        await asker.close()


async def _send(asker: Asker, body: bytes, first: int, count: int) -> None:
    for _ in range(_OVERLOADED_RETRIES):
        exchange = await asker.ask("/user_tags/batch", body)
        if exchange.status != _OVERLOADED:
            break
        # A shed batch was not begun, so sending it again counts nothing twice.
        await asyncio.sleep(_OVERLOADED_PAUSE_SECONDS)
    if exchange.status != _OK or _accepted(exchange) != count:
        raise PreloadFailed(
            f"batch of {count} tags from {first}: status {exchange.status}, "
            f"answer {exchange.body[:500].decode(errors='replace')}"
        )


def _accepted(exchange: Exchange[asyncio.Future[None]]) -> int | None:
    try:
        return msgspec.json.decode(exchange.body, type=_Accepted).accepted
    except msgspec.DecodeError:
        return None
