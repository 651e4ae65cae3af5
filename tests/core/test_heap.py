"""Memory that was freed goes back, also when pieces that live on lie between."""

import subprocess
import sys

import pytest

from penstock.core import heap

ALONE = """
import asyncio
from penstock.core import heap

async def work():
    heap._LOOK_SECONDS, heap._LOOK_SECONDS_MAX = 0.01, 0.05
    giving = asyncio.create_task(heap.give_back())
    await asyncio.sleep(0.05)
    before = heap._resident_bytes()
    pieces = [bytearray(b"x" * 60_000) for _ in range(2_000)]
    grown = heap._resident_bytes() - before
    kept = pieces[::20]
    pieces.clear()
    for _ in range(1_000):
        await asyncio.sleep(0.01)
        left = heap._resident_bytes() - before
        if left < grown // 3:
            break
    print(grown, left, len(kept))

asyncio.run(work())
"""
"""In a process whose heap nobody else has used."""


@pytest.mark.slow
@pytest.mark.skipif(heap._trim() is None, reason="no malloc_trim here")
def test_freed_pieces_between_others_go_back() -> None:
    told = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=True, timeout=60
    )
    grown, left, kept = map(int, told.stdout.split())
    assert grown > 100_000_000
    assert left < grown // 3
    assert kept == 100
