"""After the last tag: wait, then ask until every accepted tag has been accounted for (AU-82)."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from time import perf_counter

import numpy as np

from penstock.load.audiences.aggregates import COUNT, SUM_PRICE, AggregateQuery
from penstock.load.audiences.instants import DAY_MS, MINUTE_MS, STREAM_START_MS
from penstock.load.audiences.ledger import DEPTH, Ledger
from penstock.load.audiences.population import ACTIONS
from penstock.load.audiences.profiles import ProfileQuery
from penstock.load.audiences.queries import QueryMix, seeded
from penstock.load.plans import Plan
from penstock.load.session import Query, Session

_MINUTES_MAX = 10
_MIXED_AGGREGATES = 64
# Ranges that end this far above the depth show whether it cuts exactly.
_DEPTH_SHOWN = 20
# Far from the numbers of the schedule's own queries.
_FIRST_NUMBER = 1 << 40
_TICK_SECONDS = 0.001


async def check_tail(session: Session, plan: Plan, *, first: int) -> None:
    """Grade the totals of every minute of the run, mixed aggregates, and whole profiles."""
    until = perf_counter() + plan.tail_wait
    while perf_counter() < until:
        session.tick()
        await asyncio.sleep(min(0.05, plan.tail_wait))
    settled = session.frontier.index
    for query in _queries(session, plan, first, settled):
        while session.unfinished_queries >= max(1, session.connections // 2):
            session.tick()
            await asyncio.sleep(_TICK_SECONDS)
        session.ask(query, settled=settled, intended=perf_counter(), is_tail=True)
    await session.drain()


def _queries(session: Session, plan: Plan, first: int, settled: int) -> Iterator[Query]:
    yield from totals(first, settled)
    mix = QueryMix(session.ledger, seed=session.options.seed, rate=plan.rate or 0)
    for number in range(_FIRST_NUMBER, _FIRST_NUMBER + _MIXED_AGGREGATES):
        yield mix.aggregate(number, before=settled, may_be_open=True)
    cookies = np.unique(session.ledger.cookies[first:settled]).tolist()
    if len(cookies) > plan.tail_cookies:
        cookies = seeded(f"{session.options.seed}/tail").sample(cookies, plan.tail_cookies)
    for cookie in cookies:
        yield _until(session.ledger, cookie, settled)
    deep = [cookie for _, cookie in session.ledger.hot[: plan.tail_cookies]]
    for cookie in deep:
        views = session.ledger.newest_first(cookie, 0)
        yield _until(session.ledger, cookie, next(islice(views, DEPTH - _DEPTH_SHOWN, None)))


def _until(ledger: Ledger, cookie: int, stop: int) -> ProfileQuery:
    return ProfileQuery(
        cookie=ledger.population.cookie(cookie),
        number=cookie,
        from_ms=STREAM_START_MS,
        to_ms=STREAM_START_MS + stop,
        limit=None,
    )


def totals(first: int, stop: int) -> Iterator[AggregateQuery]:
    """Unfiltered queries that together cover every tag of [first, stop) within a day."""
    start_ms = STREAM_START_MS + max(first, stop - DAY_MS + MINUTE_MS)
    end_ms = STREAM_START_MS + stop
    for minute in range(start_ms // MINUTE_MS * MINUTE_MS, end_ms, _MINUTES_MAX * MINUTE_MS):
        last = min(minute + _MINUTES_MAX * MINUTE_MS, -(-end_ms // MINUTE_MS) * MINUTE_MS)
        for action in ACTIONS:
            yield AggregateQuery(
                from_ms=minute, to_ms=last, action=action, aggregates=(COUNT, SUM_PRICE)
            )
