"""How soon accepted tags show (AU-133): samples real tags, so that the oracle stays exact."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar

import msgspec

from penstock.load.asking import Asker
from penstock.load.audiences.aggregates import COUNT, AggregateOracle, AggregateQuery
from penstock.load.audiences.instants import MINUTE_MS
from penstock.load.audiences.ledger import Ledger
from penstock.load.audiences.population import ACTIONS
from penstock.load.audiences.profiles import ProfileQuery
from penstock.load.audiences.wire import AggregateAnswer, ProfileAnswer
from penstock.load.histogram import Histogram
from penstock.load.report import Freshness
from penstock.load.session import Session

PROFILE_BOUND_SECONDS, AGGREGATE_BOUND_SECONDS = 10.0, 60.0

_PROFILE_PERIOD_SECONDS, _AGGREGATE_PERIOD_SECONDS = 0.5, 1.0
_POLL_SECONDS_MIN, _POLL_SECONDS_MAX = 0.005, 0.2
_CONNECTIONS = 4
_OK = 200

T = TypeVar("T", ProfileAnswer, AggregateAnswer)
Check = Callable[[int], Awaitable[bool | None]]
"""Whether the tag at an index shows; None where it cannot tell."""


class Prober:
    """Asks for the newest accepted tag a few times a second until it shows.

    The delays are upper bounds: they end when the first answer with the tag has arrived.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asker = Asker(
            session.endpoint, connections=_CONNECTIONS, timeout_seconds=session.options.timeouts[2]
        )
        self._oracle = AggregateOracle(session.ledger)
        self._delays = (Histogram(), Histogram())
        self._overdue = [0, 0]
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(
                self._sample(
                    0, self._shows_in_profile, _PROFILE_PERIOD_SECONDS, PROFILE_BOUND_SECONDS
                )
            ),
            loop.create_task(
                self._sample(
                    1, self._shows_in_aggregate, _AGGREGATE_PERIOD_SECONDS, AGGREGATE_BOUND_SECONDS
                )
            ),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._asker.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    def freshness(self) -> tuple[Freshness, Freshness]:
        """Of profiles and of aggregates, in this order."""
        profile, aggregate = (
            Freshness(delay=delays.durations(), overdue=overdue)
            for delays, overdue in zip(self._delays, self._overdue, strict=True)
        )
        return profile, aggregate

    async def _sample(
        self, kind: int, shows: Check, period_seconds: float, bound_seconds: float
    ) -> None:
        while True:
            await asyncio.sleep(period_seconds)
            newest, self._session.newest_accepted = self._session.newest_accepted, None
            if newest is None:
                continue
            index, accepted_at = newest
            pause = _POLL_SECONDS_MIN
            while (found := await shows(index)) is False:
                if perf_counter() - accepted_at > bound_seconds:
                    self._overdue[kind] += 1
                    break
                await asyncio.sleep(pause)
                pause = min(2 * pause, _POLL_SECONDS_MAX)
            if found:
                self._delays[kind].record(perf_counter() - accepted_at)

    async def _shows_in_profile(self, index: int) -> bool | None:
        ledger = self._session.ledger
        cookie, at = ledger.cookies.item(index), ledger.instants.at(index)
        query = ProfileQuery(
            cookie=ledger.population.cookie(cookie),
            number=cookie,
            from_ms=at,
            to_ms=at + 1,
            limit=None,
        )
        answer = await self._ask(query.target, ProfileAnswer)
        return answer is not None and bool(answer.views or answer.buys)

    async def _shows_in_aggregate(self, index: int) -> bool | None:
        query = _cell_of(self._session.ledger, index)
        _, cell = self._oracle.cells(query, settled=0)[0]
        if len(cell.possible) != 1:
            # Another tag of this cell and minute could be taken for the sampled one.
            return None
        answer = await self._ask(query.target, AggregateAnswer)
        return answer is not None and [row[-1:] for row in answer.rows] not in ([], [["0"]])

    async def _ask(self, target: str, kind: type[T]) -> T | None:
        """The answer, or None for what is none: such a tag does not show."""
        exchange = await self._asker.ask(target)
        if exchange.status != _OK:
            return None
        try:
            return msgspec.json.decode(exchange.body, type=kind)
        except msgspec.DecodeError:
            return None


def _cell_of(ledger: Ledger, index: int) -> AggregateQuery:
    population = ledger.population
    product = ledger.products.item(index)
    minute = ledger.instants.at(index) // MINUTE_MS * MINUTE_MS
    return AggregateQuery(
        from_ms=minute,
        to_ms=minute + MINUTE_MS,
        action=ACTIONS[ledger.kinds.item(index) % len(ACTIONS)],
        aggregates=(COUNT,),
        origin=population.origins[ledger.origins.item(index)],
        brand_id=population.brands[population.product_brands.item(product)],
        category_id=population.categories[population.product_categories.item(product)],
    )
