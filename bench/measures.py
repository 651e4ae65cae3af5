"""What is measured, each in a fresh folder. Every function returns rows for the table."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.requests import framed, preloaded
from bench.servers import Server, free_port, penstock, running, scratch, serving

SERVER_CORE, CLIENT_CORE = 0, 1
ROUNDS = 3
SHORT_SECONDS = 300.0
"""Runs below this ask sooner for what they sent, or they would ask for nothing."""


class Row(NamedTuple):
    what: str
    measured: str
    target: str
    met: bool | None
    """None where there is nothing to meet."""


class Plan(NamedTuple):
    """How long things take: short for a look, full for the record."""

    blast_seconds: float
    standard_seconds: float
    ten_times_seconds: float
    growth_tags: tuple[int, int]
    growth_seconds: float
    backlog_tags: int


QUICK = Plan(3.0, 60.0, 45.0, (200_000, 2_000_000), 40.0, 1_000_000)
MEDIUM = Plan(5.0, 300.0, 600.0, (1_000_000, 20_000_000), 60.0, 5_000_000)
FULL = Plan(5.0, 900.0, 600.0, (1_000_000, 50_000_000), 120.0, 5_000_000)


# -- ingest -------------------------------------------------------------------------------------


def single(plan: Plan) -> list[Row]:
    """Durable single-event ingest against a bare ASGI application, in alternating rounds."""
    rates: dict[str, list[float]] = {}
    with scratch() as folder, framed("single") as requests:
        port = free_port()
        bare = [sys.executable, "-m", "bench.references.bare_asgi", str(port)]
        hosts: dict[str, tuple[str, ...]] = {
            "fast lane": ("--role", "edge"),
            "ASGI host": ("--role", "edge", "--no-fast-lane"),
            "all roles on one core": (),
        }
        for _ in range(ROUNDS):
            with running(bare, port, folder, core=SERVER_CORE) as server:
                _add(rates, "bare ASGI", _blast(server.port, requests, plan.blast_seconds))
            for name, options in hosts.items():
                with scratch() as own, serving(own, *options, core=SERVER_CORE) as server:
                    _add(rates, name, _blast(server.port, requests, plan.blast_seconds))
                    if name == "fast lane":
                        wide = _blast(server.port, requests, plan.blast_seconds, connections=256)
                        _add(rates, "fast lane, 256 connections", wide)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    bare_rate = medians["bare ASGI"]
    rows = [Row("bare ASGI on uvicorn, decodes only", f"{bare_rate:,.0f}/s", "reference", None)]
    for name, rate in medians.items():
        if name != "bare ASGI":
            ratio = rate / bare_rate
            target = "0.6 of the reference" if name == "fast lane" else ""
            measured = f"{rate:,.0f}/s, {ratio:.2f} of the reference"
            rows.append(
                Row(f"single tags, {name}", measured, target, _met(target, holds=ratio >= 0.6))
            )
    return rows


def _add(rates: dict[str, list[float]], name: str, rate: float) -> None:
    rates.setdefault(name, []).append(rate)


def batch(plan: Plan) -> list[Row]:
    rates: dict[str, list[float]] = {}
    with framed("batch") as requests:
        for name, options in {"edge": ("--role", "edge"), "all roles": ()}.items():
            for _ in range(ROUNDS):
                with scratch() as own, serving(own, *options, core=SERVER_CORE) as server:
                    _add(rates, name, _blast(server.port, requests, plan.blast_seconds, 4))
    rows = []
    for name, values in rates.items():
        rate = statistics.median(values) * 1000
        target = "200,000 tags/s" if name == "edge" else ""
        row = Row(f"batches of 1,000, {name}", f"{rate:,.0f} tags/s", target, None)
        rows.append(row._replace(met=_met(target, holds=rate >= 200_000)))
    return rows


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
        met = _met(target, holds=seconds <= 1.0)
        rows.append(Row(f"{name}: freshness of {view}s", f"p99 {seconds:.2f} s", target, met))
    lag = report["lag_max"]
    target = "" if limits else "at most 2 s"
    met = _met(target, holds=lag <= 2.0)
    rows.append(Row(f"{name}: projection lag", f"at most {lag:.2f} s", target, met))
    half, end = report["rss_half"], report["rss_end"]
    measured = f"at most {report['rss_max']:.0f} MB; {half:.0f} at half time, {end:.0f} at the end"
    target = "" if limits else "at most 1,200 MB, flat"
    met = _met(target, holds=report["rss_max"] <= 1_200 and end <= 1.1 * half)
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
    figures: list[tuple[float, float, float]] = []
    for size in plan.growth_tags:
        with scratch() as folder:
            with serving(folder, "--role", "edge") as server:
                preloaded(server.url, size)
            with serving(folder) as server:
                _settle(server)
                options = ("--start-index", str(size))
                report = _load(server, folder, "standard", plan.growth_seconds, 1_000, *options)
                latencies = [
                    report["operations"][operation]["latency"]["p99_ms"]
                    for operation in ("user_profiles", "aggregates")
                ]
            with framed("single") as requests, serving(folder, core=SERVER_CORE) as server:
                rate = statistics.median(
                    _blast(server.port, requests, plan.blast_seconds) for _ in range(ROUNDS)
                )
            figures.append((rate, latencies[0], latencies[1]))
    rows = []
    for size, (rate, profiles, aggregates) in zip(plan.growth_tags, figures, strict=True):
        measured = (
            f"{rate:,.0f} tags/s in; p99 profiles {profiles:.1f} ms, aggregates {aggregates:.1f} ms"
        )
        rows.append(Row(f"growth: at {size:,} stored tags", measured, "", None))
    small, large = figures
    ratios = [b / a for a, b in zip(small, large, strict=True)]
    holds = ratios[0] >= 0.8 and max(ratios[1:]) <= 1.2
    measured = "rate {:.2f}, profiles {:.2f}, aggregates {:.2f} of the small store".format(*ratios)
    return [*rows, Row("growth: large against small", measured, "within 20 %", holds)]


# -- tools --------------------------------------------------------------------------------------


def _blast(port: int, requests: Path, seconds: float, connections: int = 64) -> float:
    """Requests answered per second by a client on a core of its own."""
    command = [
        sys.executable, "-m", "bench.blast", "--port", str(port), "--core", str(CLIENT_CORE),
        "--connections", str(connections), "--seconds", str(seconds), "--requests", str(requests),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=seconds + 60)
    result = json.loads(done.stdout)
    unexpected = {status for status in result["statuses"] if not status.startswith("2")}
    if unexpected:
        raise RuntimeError(f"the server answered {result['statuses']}")
    return float(result["per_second"])


def _met(target: str, *, holds: bool) -> bool | None:
    return holds if target else None


PLANS = {"quick": QUICK, "medium": MEDIUM, "full": FULL}

MEASURES: dict[str, Callable[[Plan], list[Row]]] = {
    "single": single,
    "batch": batch,
    "memory": memory,
    "catch_up": catch_up,
    "standard": standard,
    "ten_times": ten_times,
    "growth": growth,
}
