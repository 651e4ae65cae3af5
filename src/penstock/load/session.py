"""The shared state of a run: sends events and queries, keeps the ledger, grades every answer."""

import asyncio
from time import perf_counter
from typing import NamedTuple

import msgspec

from penstock.load.client import Endpoint, Exchange, Failure, Pool
from penstock.load.fates import ACCEPTED, INDETERMINATE, PENDING, REFUSED, Frontier
from penstock.load.histogram import Histogram
from penstock.load.plans import Options, Plan
from penstock.load.report import TEXT_SHOWN_MAX, WRONG_SHOWN_MAX, Tally, WrongAnswer
from penstock.load.workload import Kind, Query, Workload

_OK = 200
_MARK_SECONDS = 0.05
_DRAIN_TICK_SECONDS = 0.002


class Asked(NamedTuple):
    """A query under way, with what must be visible to it."""

    query: Query
    settled: int
    tally: Tally


class Session:
    """One client of one server; everything happens on the running loop."""

    def __init__(self, options: Options, plan: Plan, *, workload: Workload) -> None:
        self.options = options
        self.connections = options.connections or plan.connections
        self.workload = workload
        self.ledger = workload.ledger
        self.endpoint = Endpoint(options.url, options.ca)
        self.frontier = Frontier(
            workload.ledger,
            start=options.first,
            memory_seconds=max(kind.wait_seconds for kind in workload.kinds) + 1,
        )
        self.events = Tally()
        self.send_lag = Histogram()
        self.event_bytes = 0
        self.newest_accepted: tuple[int, float] | None = None
        self.wrong_answers: list[WrongAnswer] = []
        kinds = workload.kinds
        names = [*(kind.name for kind in kinds), *(kind.tail_name for kind in kinds)]
        self.queries = {name: Tally() for name in names}
        seconds = workload.timeout_seconds
        self.patience = {workload.operation: seconds}
        """Seconds after which an answer is given up."""
        for kind in kinds:
            self.patience |= dict.fromkeys((kind.name, kind.tail_name), kind.timeout_seconds)
        edges = [Endpoint(url, options.ca) for url in options.ingest_url] or [self.endpoint]
        self._edges: list[tuple[Endpoint, Pool[int]]] = [
            (
                edge,
                Pool(
                    edge,
                    size=max(1, self.connections // len(edges)),
                    timeout_seconds=seconds,
                    on_end=self._event_ended,
                ),
            )
            for edge in edges
        ]
        self._query_pools: dict[str, Pool[Asked]] = {
            kind.name: Pool(
                self.endpoint,
                size=kind.connections or max(1, self.connections // 2),
                timeout_seconds=kind.timeout_seconds,
                on_end=self._query_ended,
            )
            for kind in kinds
        }
        self._pools: tuple[Pool[int] | Pool[Asked], ...] = (
            *(pool for _, pool in self._edges),
            *self._query_pools.values(),
        )
        self._marked = 0.0

    def send(self, index: int, body: bytes, *, intended: float) -> None:
        self.ledger.fate[index] = PENDING
        self.events.sent += 1
        self.event_bytes += len(body)
        edge, pool = self._edges[index % len(self._edges)]
        pool.submit(Exchange(edge.event(self.workload.path, body), index, intended=intended))

    def ask(
        self, kind: Kind, query: Query, *, settled: int, intended: float, is_tail: bool = False
    ) -> None:
        """Send a query; its answer must show every accepted event below `settled`."""
        tally = self.queries[kind.tail_name if is_tail else kind.name]
        tally.sent += 1
        body = b""
        if self.options.send_expected:
            body = msgspec.json.encode(self.workload.expected(query, settled=settled))
        payload = self.endpoint.post(query.target, body)
        asked = Asked(query, settled, tally)
        self._query_pools[kind.name].submit(Exchange(payload, asked, intended=intended))

    @property
    def tallies(self) -> dict[str, Tally]:
        """Of everything that is asked, by its name."""
        return {self.workload.operation: self.events} | self.queries

    def settled(self, wait_seconds: float) -> int:
        return self.frontier.settled(perf_counter(), wait_seconds=wait_seconds)

    @property
    def unfinished_events(self) -> int:
        return sum(pool.unfinished for _, pool in self._edges)

    @property
    def unfinished_queries(self) -> int:
        return sum(pool.unfinished for pool in self._query_pools.values())

    def tick(self) -> None:
        """Expire what is late and note what is finished; call every few milliseconds."""
        now = perf_counter()
        for pool in self._pools:
            pool.expire(now)
        if now - self._marked >= _MARK_SECONDS:
            self._marked = now
            self.frontier.advance(now)

    async def drain(self) -> None:
        """Wait until every request has ended."""
        while self.unfinished_events or self.unfinished_queries:
            self.tick()
            await asyncio.sleep(_DRAIN_TICK_SECONDS)
        self._marked = perf_counter()
        self.frontier.advance(self._marked)

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()

    def _event_ended(self, exchange: Exchange[int]) -> None:
        status = exchange.status
        self.events.end(status, exchange.ended - exchange.intended, exchange.body)
        if exchange.sent:
            self.send_lag.record(exchange.sent - exchange.intended)
        if status == self.workload.success:
            fate = ACCEPTED
            self.newest_accepted = (exchange.token, exchange.ended)
        elif 400 <= status < 500 or status in (Failure.CONNECT, Failure.QUEUE_FULL):
            fate = REFUSED
        else:
            fate = INDETERMINATE
        self.ledger.fate[exchange.token] = fate

    def _query_ended(self, exchange: Exchange[Asked]) -> None:
        query, settled, tally = exchange.token
        tally.end(exchange.status, exchange.ended - exchange.intended, exchange.body)
        if exchange.status // 100 != _OK // 100:
            return
        verdict = self.workload.judge(query, exchange.body, settled=settled)
        tally.expected_empty += verdict.empty
        if exchange.status == _OK and verdict.difference is None:
            tally.exact += 1
            return
        tally.wrong += 1
        if len(self.wrong_answers) < WRONG_SHOWN_MAX:
            expected = msgspec.json.encode(self.workload.expected(query, settled=settled))
            self.wrong_answers.append(
                WrongAnswer(
                    request=f"POST {query.target}",
                    difference=(verdict.difference or f"status {exchange.status}")[:TEXT_SHOWN_MAX],
                    expected=expected[:TEXT_SHOWN_MAX].decode(errors="replace"),
                    got=exchange.body[:TEXT_SHOWN_MAX].decode(errors="replace"),
                )
            )
