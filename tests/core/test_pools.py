"""An edit knows until when it may be committed, waiting for a thread included (reliability 15)."""

import asyncio
import threading
import time

import pytest

from penstock.core.platform import pools
from penstock.core.platform.pools import Pools


def test_what_waited_for_a_thread_has_no_longer_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_EDITOR_THREADS", 1)
    within = pools._EDIT_SECONDS - pools._COMMIT_SECONDS
    freed = threading.Event()

    async def edits() -> tuple[float, float]:
        made = Pools(0)
        try:
            first = asyncio.ensure_future(made.edit(lambda until: freed.wait(60) and until))
            second = asyncio.ensure_future(made.edit(lambda until: until))
            await asyncio.sleep(0)  # both are asked
            asked = time.monotonic()
            freed.set()
            assert await first <= await second
            return await second, asked
        finally:
            made.close()

    until, asked = asyncio.run(edits())
    assert until <= asked + within
    assert 0 < within < pools._EDIT_SECONDS
