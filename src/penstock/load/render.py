"""A report for people: tables on a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.load.histogram import Durations
from penstock.load.report import Report

_COUNTERS = (
    ("sent", "sent"),
    ("2xx", "status_2xx"),
    ("4xx", "status_4xx"),
    ("5xx", "status_5xx"),
    ("other", "status_other"),
    ("connect", "connect_errors"),
    ("timeout", "timeouts"),
    ("disconnect", "disconnects"),
    ("overflow", "queue_overflows"),
    ("exact", "exact"),
    ("wrong", "wrong"),
    ("expected empty", "expected_empty"),
)
_MIB = 1 << 20


def render(report: Report, console: Console) -> None:
    console.print(_counters(report))
    console.print(_durations(report))
    if any(operation.failures for operation in report.operations.values()):
        console.print(_failures(report))
    console.print(_summary(report))
    for reason in report.reasons:
        console.print(Text(f"not perfect: {reason}"))
    for number, wrong in enumerate(report.wrong_answers, start=1):
        console.print(
            Text(
                f"wrong answer {number}: {wrong.request}\n  {wrong.difference}\n"
                f"  expected {wrong.expected}\n  got      {wrong.got}"
            )
        )


def _counters(report: Report) -> Table:
    table = Table("count", title="Requests and answers")
    for name in report.operations:
        table.add_column(name, justify="right")
    for title, field in _COUNTERS:
        counts = (str(getattr(operation, field)) for operation in report.operations.values())
        table.add_row(title, *counts)
    return table


def _failures(report: Report) -> Table:
    table = Table("operation", "status and code", "count", title="Requests without a success")
    for name, operation in report.operations.items():
        for cause, count in operation.failures.items():
            table.add_row(name, cause, str(count))
    return table


def _durations(report: Report) -> Table:
    table = Table("milliseconds", title="Latency from the intended moment, and freshness")
    for title in ("count", "p50", "p95", "p99", "p99.9", "max", "overdue"):
        table.add_column(title, justify="right")
    for name, operation in report.operations.items():
        table.add_row(name, *_cells(operation.latency), "")
    table.add_row("client's send lag", *_cells(report.send_lag), "")
    for name, freshness in report.freshness.items():
        table.add_row(f"{name}: freshness", *_cells(freshness.delay), str(freshness.overdue))
    return table


def _cells(durations: Durations) -> list[str]:
    values = (
        durations.p50_ms,
        durations.p95_ms,
        durations.p99_ms,
        durations.p999_ms,
        durations.max_ms,
    )
    return [str(durations.count), *(f"{value:.2f}" for value in values)]


def _summary(report: Report) -> Table:
    resources = report.resources
    table = Table(
        "fact", "value", title=f"{report.run}: {'perfect' if report.perfect else 'NOT perfect'}"
    )
    rss, disk = resources.server_peak_rss_bytes, resources.disk_bytes
    for name, value in (
        ("events accepted", report.accepted),
        ("events of unknown fate", report.indeterminate),
        ("seconds", report.seconds),
        ("kills", report.kills),
        *((f"{name}: score of 100", value) for name, value in report.scores.items()),
        *((name.replace("_", " "), value) for name, value in report.facts.items()),
        ("client CPU per request, us", resources.client_cpu_us_per_request),
        ("server CPU seconds", resources.server_cpu_seconds),
        ("server peak memory, MiB", None if rss is None else round(rss / _MIB, 1)),
        ("data on disk, MiB", None if disk is None else round(disk / _MIB, 1)),
        ("bytes written per byte of events", resources.write_amplification),
    ):
        table.add_row(name, "-" if value is None else str(value))
    return table
