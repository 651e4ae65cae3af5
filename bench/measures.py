"""What is measured, each in a fresh folder. Every function returns rows for the table."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

from bench.clients import closed, open_loop
from bench.distributed import kafka, shared, workers
from bench.edge import batch, idle, lane, latency, redirect, single
from bench.load import load, workload_rows
from bench.profiling import profile
from bench.requests import framed, framed_queries, preloaded
from bench.rows import ROUNDS, SERVER_CORE, Plan, Row
from bench.servers import Server, scratch, serving
from bench.sharing import sharing

QUIET_PERCENT, QUIET_SECONDS, QUIET_SECONDS_MAX = 10.0, 3, 120.0


# -- the reference workload ---------------------------------------------------------------------


_STANDARD_MS = {"user_tags": 20.0, "user_profiles": 20.0, "aggregates": 100.0}


def standard(plan: Plan) -> list[Row]:
    report = _workload(plan.standard_seconds, 1_000)
    return workload_rows(f"standard, {plan.standard_seconds:.0f} s", report, _STANDARD_MS)


def ten_times(plan: Plan) -> list[Row]:
    report = _workload(plan.ten_times_seconds, 10_000)
    return workload_rows(f"ten times, {plan.ten_times_seconds:.0f} s", report, {}, sustained=True)


def _workload(seconds: float, rate: int) -> dict[str, Any]:
    with scratch() as folder, serving(folder) as server:
        return load(server, folder / "data", seconds, rate)


# -- catching up, memory, growth ----------------------------------------------------------------


def catch_up(plan: Plan) -> list[Row]:
    """A backlog taken in by an edge alone, then all roles started on it."""
    with scratch() as folder:
        with serving(folder, "--role", "edge") as server:
            preloaded(server.url, plan.backlog_tags)
        with serving(folder) as server:
            rate = _settle(server)
    what = f"catch-up of {plan.backlog_tags:,} tags"
    return [Row(what, f"{rate:,.0f} tags/s", "100,000 tags/s", rate >= 100_000)]


def _settle(server: Server) -> float:
    """Wait until every projection has everything; records a second of the one furthest behind."""
    began = time.monotonic()
    end, start = server.positions()
    position = start
    while position < end:
        time.sleep(0.1)
        end, position = server.positions()
    return (end - start) / (time.monotonic() - began)


def memory(plan: Plan) -> list[Row]:
    del plan
    with scratch() as folder, serving(folder) as server:
        time.sleep(5.0)
        used = server.memory_mb()
    measured = f"{used['rss']:.0f} MB resident, of which {used['uss']:.0f} MB its own"
    return [Row("memory, idle, warehouse open", measured, "at most 400 MB", used["rss"] <= 400)]


def growth(plan: Plan) -> list[Row]:
    """Ingest rate and query latency on a small and on a large store."""
    small, large = (_grown(plan, size) for size in plan.growth_tags)
    rows = []
    for size, found in zip(plan.growth_tags, (small, large), strict=True):
        measured = (
            f"{found.rate:,.0f} tags/s in; {found.exact:,} answers exact; p99 profiles "
            f"{found.profiles_ms:.1f} ms, aggregates {found.aggregates_ms:.1f} ms"
        )
        rows.append(Row(f"growth: at {size:,} stored tags", measured, "", None))
    ratios = [b / a for a, b in zip(small[:3], large[:3], strict=True)]
    holds = ratios[0] >= 0.8 and max(ratios[1:]) <= 1.2
    measured = "rate {:.2f}, profiles {:.2f}, aggregates {:.2f} of the small store".format(*ratios)
    return [*rows, Row("growth: large against small", measured, "within 20 %", holds)]


class _Grown(NamedTuple):
    rate: float
    profiles_ms: float
    aggregates_ms: float
    exact: int


def _grown(plan: Plan, size: int) -> _Grown:
    """A store of so many tags, filled, caught up and quiet before anything is measured."""
    with scratch() as folder:
        with serving(folder, "--role", "edge") as server:
            ledger = preloaded(server.url, size)
        with serving(folder) as server:
            _settle(server)
            _quiet(server)
            options = ("--start-index", str(size))
            report = load(server, folder / "data", plan.growth_seconds, 1_000, *options)
            if not report["perfect"]:
                raise RuntimeError(f"not every answer was exact: {report['operations']}")
            _quiet(server)
            with framed_queries(ledger, "profiles") as requests:
                profiles = open_loop(server.port, requests, plan.growth_seconds, 100)
            with framed_queries(ledger, "aggregates") as requests:
                aggregates = open_loop(server.port, requests, plan.growth_seconds, 10)
        with framed("single") as requests, serving(folder, core=SERVER_CORE) as server:
            rate = statistics.median(
                closed(server.port, requests, plan.blast_seconds) for _ in range(ROUNDS)
            )
    exact = sum(operation["exact"] for operation in report["operations"].values())
    return _Grown(rate, profiles["p99_ms"], aggregates["p99_ms"], exact)


def _quiet(server: Server) -> None:
    """Wait, within bounds, until merges and compactions have ended."""
    process = psutil.Process(server.process.pid)
    process.cpu_percent()
    idle = 0
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while idle < QUIET_SECONDS and time.monotonic() < deadline:
        time.sleep(1.0)
        idle = idle + 1 if process.cpu_percent() < QUIET_PERCENT else 0


MEASURES: dict[str, Callable[[Plan], list[Row]]] = {
    "single": single,
    "lane": lane,
    "latency": latency,
    "profile": profile,
    "redirect": redirect,
    "idle": idle,
    "sharing": sharing,
    "batch": batch,
    "memory": memory,
    "catch_up": catch_up,
    "standard": standard,
    "ten_times": ten_times,
    "growth": growth,
    "kafka": kafka,
    "workers": workers,
    "shared": shared,
}
