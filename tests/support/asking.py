"""Asking a hosted edge and waiting for what comes of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from support.hosts import Answer, Host, Request, Rig

T = TypeVar("T")
Hosted = Callable[[Rig], AbstractAsyncContextManager[Host]]
PATIENCE_SECONDS = 60.0
PATIENT = {"PENSTOCK_AUDIENCES_READ_YOUR_WRITE_SECONDS": "10"}
"""A profile shows what was acknowledged before, however busy the machine of the test is."""


def on(hosted: Hosted, rig: Rig, work: Callable[[Host], Awaitable[T]]) -> T:
    async def run() -> T:
        async with hosted(rig) as host:
            return await asyncio.wait_for(work(host), PATIENCE_SECONDS)

    return asyncio.run(run())


def ask(hosted: Hosted, rig: Rig, request: Request) -> Answer:
    answer = on(hosted, rig, lambda host: host.ask(request))
    assert answer is not None
    assert rig.edge.in_flight == 0
    return answer


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS / 2
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.002)
