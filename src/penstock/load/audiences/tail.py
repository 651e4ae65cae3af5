"""What is asked after the last tag, until every accepted one has been accounted for (AU-82)."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from penstock.load.audiences.aggregates import COUNT, SUM_PRICE, AggregateQuery
from penstock.load.audiences.instants import DAY_MS, MINUTE_MS, STREAM_START_MS
from penstock.load.audiences.ledger import DEPTH, Ledger
from penstock.load.audiences.population import ACTIONS
from penstock.load.audiences.profiles import ProfileQuery
from penstock.load.audiences.queries import QueryMix, seeded

_MINUTES_MAX = 10
_MIXED_AGGREGATES = 64
# Ranges that end this far above the depth show whether it cuts exactly.
_DEPTH_SHOWN = 20
# Far from the numbers of the schedule's own queries.
_FIRST_NUMBER = 1 << 40


def questions(
    ledger: Ledger, mix: QueryMix, *, seed: int, first: int, settled: int, cookies_max: int
) -> Iterator[ProfileQuery | AggregateQuery]:
    """The totals of every minute of the run, mixed aggregates, and whole profiles."""
    yield from totals(first, settled)
    for number in range(_FIRST_NUMBER, _FIRST_NUMBER + _MIXED_AGGREGATES):
        yield mix.aggregate(number, before=settled, may_be_open=True)
    cookies = np.unique(ledger.cookies[first:settled]).tolist()
    if len(cookies) > cookies_max:
        cookies = seeded(f"{seed}/tail").sample(cookies, cookies_max)
    for cookie in cookies:
        yield _until(ledger, cookie, settled)
    deep = [cookie for _, cookie in ledger.hot[:cookies_max]]
    for cookie in deep:
        views = ledger.newest_first(cookie, 0)
        yield _until(ledger, cookie, next(islice(views, DEPTH - _DEPTH_SHOWN, None)))


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
