"""How soon accepted events show (AU-133): samples real ones, so that the oracle stays exact."""

import asyncio
from time import perf_counter

from penstock.load.asking import Asker
from penstock.load.histogram import Histogram
from penstock.load.report import Freshness
from penstock.load.session import Session
from penstock.load.workload import Kind

_POLL_SECONDS_MIN, _POLL_SECONDS_MAX = 0.005, 0.2
_CONNECTIONS = 4
_OK = 200


class Prober:
    """Asks for the newest accepted event a few times a second until it shows.

    The delays are upper bounds: they end when the first answer with the event has arrived.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._workload = session.workload
        kinds = self._workload.kinds
        patience = max(kind.timeout_seconds for kind in kinds)
        self._asker = Asker(session.endpoint, connections=_CONNECTIONS, timeout_seconds=patience)
        self._delays = {kind.name: Histogram() for kind in kinds}
        self._overdue = {kind.name: 0 for kind in kinds}
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._sample(kind)) for kind in kinds]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._asker.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    def freshness(self) -> dict[str, Freshness]:
        """By the names of the kinds of queries."""
        return {
            name: Freshness(delay=delays.durations(), overdue=self._overdue[name])
            for name, delays in self._delays.items()
        }

    async def _sample(self, kind: Kind) -> None:
        while True:
            await asyncio.sleep(kind.look_every_seconds)
            newest, self._session.newest_accepted = self._session.newest_accepted, None
            if newest is None:
                continue
            index, accepted_at = newest
            pause = _POLL_SECONDS_MIN
            while (found := await self._shows(kind, index)) is False:
                if perf_counter() - accepted_at > kind.look_seconds_max:
                    self._overdue[kind.name] += 1
                    break
                await asyncio.sleep(pause)
                pause = min(2 * pause, _POLL_SECONDS_MAX)
            if found:
                self._delays[kind.name].record(perf_counter() - accepted_at)

    async def _shows(self, kind: Kind, index: int) -> bool | None:
        """None where it cannot tell."""
        look = self._workload.look(kind, index)
        if look is None:
            return None
        exchange = await self._asker.ask(look.target)
        return exchange.status == _OK and look.shows(exchange.body)
