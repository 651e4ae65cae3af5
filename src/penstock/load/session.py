"""The shared state of a run: sends tags and queries, keeps the ledger, grades every answer."""

import asyncio
from time import perf_counter
from typing import NamedTuple

import msgspec

from penstock.load.audiences.aggregates import AggregateOracle, AggregateQuery
from penstock.load.audiences.ledger import (
    ACCEPTED,
    INDETERMINATE,
    PENDING,
    REFUSED,
    Frontier,
    Ledger,
)
from penstock.load.audiences.profiles import ProfileOracle, ProfileQuery
from penstock.load.audiences.stream import Stream
from penstock.load.audiences.wire import AggregateAnswer, ProfileAnswer, Verdict
from penstock.load.client import Endpoint, Exchange, Failure, Pool
from penstock.load.histogram import Histogram
from penstock.load.plans import Options, Plan
from penstock.load.report import TEXT_SHOWN_MAX, WRONG_SHOWN_MAX, Tally, WrongAnswer

_NO_CONTENT, _OK = 204, 200
_AGGREGATE_CONNECTIONS = 8
_MARK_SECONDS = 0.05
_DRAIN_TICK_SECONDS = 0.002

Query = ProfileQuery | AggregateQuery


class Asked(NamedTuple):
    """A query under way, with what must be visible to it."""

    query: Query
    settled: int
    tally: Tally


class Session:
    """One client of one server; everything happens on the running loop."""

    def __init__(self, options: Options, plan: Plan, *, stream: Stream, ledger: Ledger) -> None:
        self.options = options
        self.connections = options.connections or plan.connections
        self.stream = stream
        self.ledger = ledger
        self.endpoint = Endpoint(options.url, options.ca)
        self.frontier = Frontier(
            ledger,
            start=options.first,
            memory_seconds=max(plan.profile_wait, plan.aggregate_wait) + 1,
        )
        self._profiles = ProfileOracle(
            ledger, drop_zero_fraction=options.spell == "drop000", raw_time=options.raw_time
        )
        self._aggregates = AggregateOracle(ledger)
        self.tags = Tally()
        self.send_lag = Histogram()
        self.tag_bytes = 0
        self.newest_accepted: tuple[int, float] | None = None
        self.wrong_answers: list[WrongAnswer] = []
        self.queries = {
            name: Tally()
            for name in ("user_profiles", "aggregates", "tail_profiles", "tail_aggregates")
        }
        tag_seconds, profile_seconds, aggregate_seconds = options.timeouts
        self.patience = {
            "user_tags": tag_seconds,
            **{name: profile_seconds for name in self.queries if "profiles" in name},
            **{name: aggregate_seconds for name in self.queries if "aggregates" in name},
        }
        """Seconds after which an answer is given up."""
        edges = [Endpoint(url, options.ca) for url in options.ingest_url] or [self.endpoint]
        self._edges: list[tuple[Endpoint, Pool[int]]] = [
            (
                edge,
                Pool(
                    edge,
                    size=max(1, self.connections // len(edges)),
                    timeout_seconds=tag_seconds,
                    on_end=self._tag_ended,
                ),
            )
            for edge in edges
        ]
        self._profile_pool: Pool[Asked] = Pool(
            self.endpoint,
            size=max(1, self.connections // 2),
            timeout_seconds=profile_seconds,
            on_end=self._query_ended,
        )
        self._aggregate_pool: Pool[Asked] = Pool(
            self.endpoint,
            size=_AGGREGATE_CONNECTIONS,
            timeout_seconds=aggregate_seconds,
            on_end=self._query_ended,
        )
        self._pools: tuple[Pool[int] | Pool[Asked], ...] = (
            *(pool for _, pool in self._edges),
            self._profile_pool,
            self._aggregate_pool,
        )
        self._marked = 0.0

    def send_tag(self, index: int, body: bytes, *, intended: float) -> None:
        self.ledger.fate[index] = PENDING
        self.tags.sent += 1
        self.tag_bytes += len(body)
        edge, pool = self._edges[index % len(self._edges)]
        pool.submit(Exchange(edge.tag(body), index, intended=intended))

    def ask(self, query: Query, *, settled: int, intended: float, is_tail: bool = False) -> None:
        """Send a query; its answer must show every accepted tag below `settled`."""
        kind = "user_profiles" if isinstance(query, ProfileQuery) else "aggregates"
        if is_tail:
            kind = f"tail_{kind.removeprefix('user_')}"
        tally = self.queries[kind]
        tally.sent += 1
        body = b""
        if self.options.send_expected:
            body = msgspec.json.encode(self._expected(query, settled))
        payload = self.endpoint.post(query.target, body)
        pool = self._profile_pool if isinstance(query, ProfileQuery) else self._aggregate_pool
        pool.submit(Exchange(payload, Asked(query, settled, tally), intended=intended))

    def settled(self, wait_seconds: float) -> int:
        return self.frontier.settled(perf_counter(), wait_seconds=wait_seconds)

    @property
    def unfinished_tags(self) -> int:
        return sum(pool.unfinished for _, pool in self._edges)

    @property
    def unfinished_queries(self) -> int:
        return self._profile_pool.unfinished + self._aggregate_pool.unfinished

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
        while self.unfinished_tags or self.unfinished_queries:
            self.tick()
            await asyncio.sleep(_DRAIN_TICK_SECONDS)
        self._marked = perf_counter()
        self.frontier.advance(self._marked)

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()

    def _tag_ended(self, exchange: Exchange[int]) -> None:
        status = exchange.status
        self.tags.end(status, exchange.ended - exchange.intended, exchange.body)
        if exchange.sent:
            self.send_lag.record(exchange.sent - exchange.intended)
        if status == _NO_CONTENT:
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
        verdict = self._judge(query, exchange.body, settled)
        tally.expected_empty += verdict.empty
        if exchange.status == _OK and verdict.difference is None:
            tally.exact += 1
            return
        tally.wrong += 1
        if len(self.wrong_answers) < WRONG_SHOWN_MAX:
            expected = msgspec.json.encode(self._expected(query, settled))
            self.wrong_answers.append(
                WrongAnswer(
                    request=f"POST {query.target}",
                    difference=(verdict.difference or f"status {exchange.status}")[:TEXT_SHOWN_MAX],
                    expected=expected[:TEXT_SHOWN_MAX].decode(errors="replace"),
                    got=exchange.body[:TEXT_SHOWN_MAX].decode(errors="replace"),
                )
            )

    def _judge(self, query: Query, body: bytes, settled: int) -> Verdict:
        if isinstance(query, ProfileQuery):
            return self._profiles.judge(query, body, settled=settled)
        return self._aggregates.judge(query, body, settled=settled)

    def _expected(self, query: Query, settled: int) -> ProfileAnswer | AggregateAnswer:
        if isinstance(query, ProfileQuery):
            return self._profiles.expected(query, settled=settled)
        return self._aggregates.expected(query, settled=settled)
