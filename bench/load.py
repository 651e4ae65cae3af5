"""One run of `penstock load audiences`, and its report as rows."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.rows import Row, verdict
from bench.servers import Server, penstock

SHORT_SECONDS = 300.0
"""Runs below this ask sooner for what they sent, or they would ask for nothing."""


def load(server: Server, data: Path, seconds: float, rate: int, *options: str) -> dict[str, Any]:
    """One run of `penstock load audiences`, with the server's lag and memory beside it."""
    report_file = data.parent / "report.json"
    command = penstock(
        "load", "audiences", "standard", "--url", server.url, "--rate", str(rate),
        "--duration", str(seconds), "--json", str(report_file),
        "--pid", str(server.process.pid), "--data", str(data), *options,
    )  # fmt: skip
    if seconds < SHORT_SECONDS:
        command += ["--profile-wait", "5", "--aggregate-wait", "10", "--aggregate-start", "15"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    samples: list[tuple[float, float]] = []
    while driver.poll() is None:
        time.sleep(1.0)
        stages = server.get("/api/pipeline")
        lag = max((stage["lag_seconds"] for stage in stages["projections"]), default=0.0)
        samples.append((lag, server.memory_mb()["rss"]))
    report: dict[str, Any] = json.loads(report_file.read_text())
    report["lag_max"] = max(lag for lag, _ in samples)
    report["rss_max"] = max(rss for _, rss in samples)
    report["rss_half"], report["rss_end"] = samples[len(samples) // 2][1], samples[-1][1]
    return report


def workload_rows(
    name: str, report: dict[str, Any], limits: dict[str, float], *, sustained: bool = False
) -> list[Row]:
    """`limits`: milliseconds by operation; `sustained`: lag and memory have targets too."""
    answers = sum(operation["exact"] for operation in report["operations"].values())
    failed = sum(_failures(operation) for operation in report["operations"].values())
    wrong = sum(operation["wrong"] for operation in report["operations"].values())
    measured = (
        f"{report['accepted']:,} tags; {answers:,} answers exact, "
        f"{wrong:,} wrong, {failed:,} failed"
    )
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
    for view, shown in (("user_profiles", "profiles"), ("aggregates", "aggregates")):
        seconds = report["freshness"][view]["delay"]["p99_ms"] / 1000
        target = "p99 at most 1 s" if limits else ""
        met = verdict(target, holds=seconds <= 1.0)
        rows.append(Row(f"{name}: freshness of {shown}", f"p99 {seconds:.2f} s", target, met))
    lag = report["lag_max"]
    target = "at most 2 s" if sustained else ""
    met = verdict(target, holds=lag <= 2.0)
    rows.append(Row(f"{name}: projection lag", f"at most {lag:.2f} s", target, met))
    half, end = report["rss_half"], report["rss_end"]
    measured = f"at most {report['rss_max']:.0f} MB; {half:.0f} at half time, {end:.0f} at the end"
    target = "at most 1,200 MB, flat" if sustained else ""
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
        "queue_overflows",
    )  # fmt: skip
    return sum(int(operation[kind]) for kind in kinds)
