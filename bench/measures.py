"""What is measured, each in a fresh folder. Every function returns rows for the table."""

import time
from collections.abc import Callable
from typing import Any

from bench.against import against
from bench.backup import backup
from bench.before import before
from bench.distributed import kafka, shared, workers
from bench.edge import batch, idle, lane, latency, redirect, single
from bench.growth import growth, settle
from bench.hostile import hostile
from bench.load import load, workload_rows
from bench.near import near
from bench.profiling import profile
from bench.requests import preloaded
from bench.routing import routing
from bench.rows import Plan, Row
from bench.servers import scratch, serving
from bench.sharing import sharing
from bench.trimming import trimming

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


# -- catching up, memory ------------------------------------------------------------------------


def catch_up(plan: Plan) -> list[Row]:
    """A backlog taken in by an edge alone, then all roles started on it."""
    with scratch() as folder:
        with serving(folder, "--role", "edge") as server:
            preloaded(server.url, plan.backlog_tags)
        with serving(folder) as server:
            rate = settle(server)
    what = f"catch-up of {plan.backlog_tags:,} tags"
    return [Row(what, f"{rate:,.0f} tags/s", "100,000 tags/s", rate >= 100_000)]


def memory(plan: Plan) -> list[Row]:
    del plan
    with scratch() as folder, serving(folder) as server:
        time.sleep(5.0)
        used = server.memory_mb()
    measured = f"{used['rss']:.0f} MB resident, of which {used['uss']:.0f} MB its own"
    return [Row("memory, idle, warehouse open", measured, "at most 400 MB", used["rss"] <= 400)]


MEASURES: dict[str, Callable[[Plan], list[Row]]] = {
    "against": against,
    "before": before,
    "single": single,
    "lane": lane,
    "latency": latency,
    "profile": profile,
    "redirect": redirect,
    "routing": routing,
    "near": near,
    "idle": idle,
    "sharing": sharing,
    "hostile": hostile,
    "batch": batch,
    "memory": memory,
    "catch_up": catch_up,
    "standard": standard,
    "ten_times": ten_times,
    "growth": growth,
    "backup": backup,
    "trimming": trimming,
    "kafka": kafka,
    "workers": workers,
    "shared": shared,
}
