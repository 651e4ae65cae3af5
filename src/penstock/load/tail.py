"""After the last event: wait, then ask what the workload asks until each is accounted for."""

import asyncio
from time import perf_counter

from penstock.load.plans import Plan
from penstock.load.session import Session

_TICK_SECONDS = 0.001


async def check_tail(session: Session, plan: Plan, *, first: int) -> None:
    """Grade what is asked at the end."""
    until = perf_counter() + plan.tail_wait
    while perf_counter() < until:
        session.tick()
        await asyncio.sleep(min(0.05, plan.tail_wait))
    settled = session.frontier.index
    for kind, query in session.workload.tail(first, settled):
        while session.unfinished_queries >= max(1, session.connections // 2):
            session.tick()
            await asyncio.sleep(_TICK_SECONDS)
        session.ask(kind, query, settled=settled, intended=perf_counter(), is_tail=True)
    await session.drain()
