"""What is measured, each in a fresh folder. Every function returns rows for the table."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.clients import closed, open_loop
from bench.edge import batch, idle, lane, latency, redirect, single
from bench.profiling import profile
from bench.requests import framed, framed_queries, preloaded
from bench.rows import ROUNDS, SERVER_CORE, Plan, Row, verdict
from bench.servers import Server, penstock, scratch, serving
from bench.sharing import sharing

QUIET_PERCENT, QUIET_SECONDS, QUIET_SECONDS_MAX = 10.0, 3, 120.0
SHORT_SECONDS = 300.0
"""Runs below this ask sooner for what they sent, or they would ask for nothing."""


# -- the reference workload ---------------------------------------------------------------------


_STANDARD_MS = {"user_tags": 20.0, "user_profiles": 20.0, "aggregates": 100.0}


def standard(plan: Plan) -> list[Row]:
    report = _workload("standard", plan.standard_seconds, 1_000)
    return _workload_rows(f"standard, {plan.standard_seconds:.0f} s", report, _STANDARD_MS)


def ten_times(plan: Plan) -> list[Row]:
    report = _workload("standard", plan.ten_times_seconds, 10_000)
    return _workload_rows(f"ten times, {plan.ten_times_seconds:.0f} s", report, {})


def _workload(run: str, seconds: float, rate: int) -> dict[str, Any]:
    with scratch() as folder, serving(folder) as server:
        return _load(server, folder, run, seconds, rate)


def _load(
    server: Server, folder: Path, run: str, seconds: float, rate: int, *options: str
) -> dict[str, Any]:
    """One run of `penstock load audiences`, with the server's lag and memory beside it."""
    report_file = folder / "report.json"
    command = penstock(
        "load", "audiences", run, "--url", server.url, "--rate", str(rate),
        "--duration", str(seconds), "--json", str(report_file),
        "--pid", str(server.process.pid), "--data", str(folder / "data"), *options,
    )  # fmt: skip
    if seconds < SHORT_SECONDS:
        command += ["--profile-wait", "5", "--aggregate-wait", "10", "--aggregate-start", "15"]
    load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    samples: list[tuple[float, float]] = []
    while load.poll() is None:
        time.sleep(1.0)
        stages = server.get("/api/pipeline")
        lag = max(stage["lag_seconds"] for stage in stages["projections"])
        samples.append((lag, server.memory_mb()["rss"]))
    report: dict[str, Any] = json.loads(report_file.read_text())
    report["lag_max"] = max(lag for lag, _ in samples)
    report["rss_max"] = max(rss for _, rss in samples)
    report["rss_half"], report["rss_end"] = samples[len(samples) // 2][1], samples[-1][1]
    return report


def _workload_rows(name: str, report: dict[str, Any], limits: dict[str, float]) -> list[Row]:
    answers = sum(operation["exact"] for operation in report["operations"].values())
    failed = sum(_failures(operation) for operation in report["operations"].values())
    measured = f"{report['tags_accepted']:,} tags; {answers:,} answers exact, {failed:,} failed"
    rows = [
        Row(f"{name}: exactness", measured, "every answer exact, none failed", report["perfect"])
    ]
    for operation in ("user_tags", "user_profiles", "aggregates"):
        latency = report["operations"][operation]["latency"]
        measured = f"p50 {latency['p50_ms']:.1f}, p99 {latency['p99_ms']:.1f} ms"
        limit = limits.get(operation)
        target = f"p99 at most {limit:.0f} ms" if limit else ""
        met = None if limit is None else latency["p99_ms"] <= limit
        rows.append(Row(f"{name}: {operation}", measured, target, met))
    for view in ("profile", "aggregate"):
        seconds = report[f"{view}_freshness"]["delay"]["p99_ms"] / 1000
        target = "p99 at most 1 s" if limits else ""
        met = verdict(target, holds=seconds <= 1.0)
        rows.append(Row(f"{name}: freshness of {view}s", f"p99 {seconds:.2f} s", target, met))
    lag = report["lag_max"]
    target = "" if limits else "at most 2 s"
    met = verdict(target, holds=lag <= 2.0)
    rows.append(Row(f"{name}: projection lag", f"at most {lag:.2f} s", target, met))
    half, end = report["rss_half"], report["rss_end"]
    measured = f"at most {report['rss_max']:.0f} MB; {half:.0f} at half time, {end:.0f} at the end"
    target = "" if limits else "at most 1,200 MB, flat"
    met = verdict(target, holds=report["rss_max"] <= 1_200 and end <= 1.1 * half)
    rows.append(Row(f"{name}: memory", measured, target, met))
    resources = report["resources"]
    measured = (
        f"server {resources['server_cpu_seconds']:.0f} CPU s, "
        f"client {resources['client_cpu_seconds']:.0f} CPU s in {report['seconds']:.0f} s; "
        f"{resources['disk_bytes'] / 1e6:.0f} MB on disk"
    )
    return [*rows, Row(f"{name}: resources", measured, "", None)]


def _failures(operation: dict[str, Any]) -> int:
    kinds = (
        "status_4xx", "status_5xx", "status_other", "connect_errors", "timeouts", "disconnects",
        "queue_overflows", "wrong",
    )  # fmt: skip
    return sum(int(operation[kind]) for kind in kinds)


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
            report = _load(server, folder, "standard", plan.growth_seconds, 1_000, *options)
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
}
