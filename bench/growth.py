"""The same questions to a small store and to a large one.

Both are filled and quiet before anything is measured, both are open while it is, and rounds take
turns: this machine drifts by more from one minute to the next than the target allows.
"""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.clients import closed, open_loop
from bench.load import load
from bench.requests import framed, framed_queries, preloaded
from bench.rows import SERVER_CORE, Plan, Row
from bench.servers import Server, scratch, serving

ROUNDS = 5
RATES = {"profiles": 100, "aggregates": 10}
"""Queries a second: those of `standard`, ten times as many aggregates for the sake of their p99."""
SETTLE_SECONDS_MAX = 3_600.0
QUIET_PERCENT, QUIET_SECONDS, QUIET_SECONDS_MAX = 10.0, 3, 300.0


class _Store(NamedTuple):
    size: int
    folder: Path
    exact: int
    queries: Mapping[str, Path]


def growth(plan: Plan) -> list[Row]:
    """Ingest rate and query latency on a small and on a large store."""
    with ExitStack() as stack:
        small, large = (stack.enter_context(_filled(plan, size)) for size in plan.growth_tags)
        p99 = _answered(plan, (small, large))
        rates = _taken(plan, (small, large))
    rows = []
    for store in (small, large):
        measured = (
            f"{rates[store.size]:,.0f} tags/s in; {store.exact:,} answers exact; p99 "
            f"profiles {p99[store.size, 'profiles']:.2f} ms, "
            f"aggregates {p99[store.size, 'aggregates']:.1f} ms"
        )
        rows.append(Row(f"growth: at {store.size:,} stored tags", measured, "", None))
    rate = rates[large.size] / rates[small.size]
    slower = {kind: p99[large.size, kind] / p99[small.size, kind] for kind in RATES}
    holds = rate >= 0.8 and max(slower.values()) <= 1.2
    measured = f"rate {rate:.2f}, " + ", ".join(f"{kind} {by:.2f}" for kind, by in slower.items())
    measured += " of the small store"
    return [*rows, Row("growth: large against small", measured, "within 20 %", holds)]


@contextmanager
def _filled(plan: Plan, size: int) -> Iterator[_Store]:
    """A store of so many tags, and a graded workload on top."""
    with scratch() as folder, ExitStack() as stack:
        with serving(folder, "--role", "edge") as server:
            ledger = preloaded(server.url, size)
        with serving(folder) as server:
            settle(server)
            quiet(server)
            options = ("--start-index", str(size))
            report = load(server, folder / "data", plan.growth_seconds, 1_000, *options)
            if not report["perfect"]:
                raise RuntimeError(f"not every answer was exact: {report['operations']}")
            quiet(server)
        exact = sum(operation["exact"] for operation in report["operations"].values())
        queries = {kind: stack.enter_context(framed_queries(ledger, kind)) for kind in RATES}
        yield _Store(size, folder, exact, queries)


def _answered(plan: Plan, stores: tuple[_Store, ...]) -> dict[tuple[int, str], float]:
    """p99 in milliseconds, over all rounds but the first, which warms up."""
    took: dict[tuple[int, str], list[float]] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(store.folder)) for store in stores]
        for server in servers:
            quiet(server)
        for turn in range(1 + ROUNDS):
            for kind, rate in RATES.items():
                for store, server in zip(stores, servers, strict=True):
                    seconds = plan.growth_seconds / 4
                    found = open_loop(server.port, store.queries[kind], seconds, rate)
                    if turn:
                        took.setdefault((store.size, kind), []).extend(found["latencies_ms"])
    return {of: statistics.quantiles(all_of, n=100)[-1] for of, all_of in took.items()}


def _taken(plan: Plan, stores: tuple[_Store, ...]) -> dict[int, float]:
    """Single tags a second, all roles on one core."""
    rates: dict[int, list[float]] = {}
    with framed("single") as requests:
        for _ in range(ROUNDS):
            for store in stores:
                with serving(store.folder, core=SERVER_CORE) as server:
                    rate = closed(server.port, requests, plan.blast_seconds)
                    rates.setdefault(store.size, []).append(rate)
    return {size: statistics.median(values) for size, values in rates.items()}


def settle(server: Server) -> float:
    """Wait until every projection has everything; records a second of the one furthest behind."""
    began = time.monotonic()
    end, start = server.positions()
    position = start
    while position < end:
        if time.monotonic() > began + SETTLE_SECONDS_MAX:
            raise RuntimeError(f"projections are at {position:,} of {end:,} and do not arrive")
        time.sleep(0.1)
        end, position = server.positions()
    return (end - start) / (time.monotonic() - began)


def quiet(server: Server) -> None:
    """Wait, within bounds, until merges and compactions have ended."""
    process = psutil.Process(server.process.pid)
    process.cpu_percent()
    idle = 0
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while idle < QUIET_SECONDS and time.monotonic() < deadline:
        time.sleep(1.0)
        idle = idle + 1 if process.cpu_percent() < QUIET_PERCENT else 0
