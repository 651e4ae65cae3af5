"""Memory that was freed goes back, also when pieces that live on lie between."""

import asyncio
from contextlib import suppress

import pytest

from penstock.core import heap
from support.asking import until

PIECE_BYTES = 60_000
PIECES = 2_000


@pytest.mark.slow
@pytest.mark.skipif(heap._trim() is None, reason="no malloc_trim here")
def test_freed_pieces_between_others_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(heap, "_LOOK_SECONDS_MAX", 0.05)

    async def work() -> None:
        giving = asyncio.create_task(heap.give_back())
        await asyncio.sleep(0.05)
        before = heap._resident_bytes()
        pieces = [bytearray(b"x" * PIECE_BYTES) for _ in range(PIECES)]
        assert heap._resident_bytes() - before > PIECES * PIECE_BYTES * 0.9
        kept = pieces[::20]
        pieces.clear()
        await until(lambda: heap._resident_bytes() - before < PIECES * PIECE_BYTES // 3)
        assert len(kept) == PIECES // 20
        giving.cancel()
        with suppress(asyncio.CancelledError):
            await giving

    asyncio.run(work())
