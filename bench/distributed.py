"""What the distributed engines give on one machine: brokers, stores and clients share its cores."""

import statistics
import time
from contextlib import ExitStack

from bench.clients import closed
from bench.cluster import Cluster, clustered
from bench.load import load, workload_rows
from bench.requests import framed, preloaded
from bench.rows import ROUNDS, Plan, Row
from bench.servers import Server, scratch, serving

_CROWDS = (64, 256, 1_024)
"""Connections. A confirmation is a round trip of milliseconds: it takes many to fill that time."""
_PARTITIONS = 12
_TIMEOUTS = ("10", "10", "60")
"""Seconds for tags, profiles and aggregates."""


def kafka(plan: Plan) -> list[Row]:
    """Single tags into three brokers that all confirm, against the embedded log; in turns."""
    rates: dict[tuple[str, int], list[float]] = {}
    with clustered() as cluster, scratch() as folder, framed("single") as requests:
        cluster.warm_up(plan.warm_up_seconds)
        for _ in range(ROUNDS):
            for crowd in _CROWDS:
                with serving(folder, "--role", "edge") as server:
                    rate = closed(server.port, requests, plan.blast_seconds, crowd)
                    rates.setdefault(("embedded", crowd), []).append(rate)
                with cluster.serving("edge", "edge") as server:
                    rate = closed(server.port, requests, plan.blast_seconds, crowd)
                    rates.setdefault(("kafka", crowd), []).append(rate)
    return [_against(crowd, rates["kafka", crowd], rates["embedded", crowd]) for crowd in _CROWDS]


def _against(crowd: int, kafka: list[float], embedded: list[float]) -> Row:
    ratio = statistics.median(k / e for k, e in zip(kafka, embedded, strict=True))
    brokers, alone = statistics.median(kafka), statistics.median(embedded)
    what = f"edge to Kafka, acks of all of three brokers, {crowd:,} connections"
    measured = f"{brokers:,.0f}/s, {ratio:.2f} of the embedded log's {alone:,.0f}/s"
    if crowd != _CROWDS[-1]:
        return Row(what, measured, "", None)
    return Row(what, measured, "0.5 of the embedded log", ratio >= 0.5)


def workers(plan: Plan) -> list[Row]:
    """A backlog of profiles on twelve partitions, carried by one process and by two, in turns."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    tags = plan.backlog_tags // 5
    with clustered() as cluster, cluster.serving("edge", "edge") as edge:
        for turn in range(2 * ROUNDS):
            preloaded(edge.url, tags)
            count = 1 + turn % 2
            rates[count].append(_carried(cluster, count, tags * turn, tags * (turn + 1)))
    one, two = statistics.median(rates[1]), statistics.median(rates[2])
    measured = f"{one:,.0f} tags/s by one, {two:,.0f} by two: {two / one:.2f}"
    return [Row("work processes, 1 → 2, profiles into Redis", measured, "grows", two > one)]


def _carried(cluster: Cluster, count: int, first: int, end: int) -> float:
    """Records a second of so many work processes, from when all of them have their part on."""
    with ExitStack() as opened:
        servers = [
            opened.enter_context(
                cluster.serving(f"work-{n}", "work", projections="audiences.profiles")
            )
            for n in range(count)
        ]
        began = 0.0
        while (done := sum(map(sum, shares := _positions(servers)))) < end:
            settled = all(shares) and sum(map(len, shares)) == _PARTITIONS
            if began == 0.0 and done > first and settled:
                began, first = time.monotonic(), done
            time.sleep(0.05)
    return (end - first) / (time.monotonic() - began)


def _positions(servers: list[Server]) -> list[list[int]]:
    """By process, of its own partitions; those that are just handed over are with none."""
    told = [server.get("/api/pipeline")["projections"] for server in servers]
    return [
        [stage["position"] for stage in stages if stage["state"] != "elsewhere"] for stages in told
    ]


def shared(plan: Plan) -> list[Row]:
    """The reference workload on Kafka, chDB and Redis: two edges, and two processes that work, one
    of which owns the embedded warehouse and answers queries. All of it, brokers and the client too,
    share two cores: answers are to be exact, and may take longer than on one machine.
    """
    with clustered() as cluster, ExitStack() as opened:
        cluster.warm_up(plan.warm_up_seconds)
        edges = [opened.enter_context(cluster.serving(f"edge-{n}", "edge")) for n in range(2)]
        main = opened.enter_context(
            cluster.serving("main", "api", "work", projections="audiences_tags")
        )
        opened.enter_context(cluster.serving("work", "work", projections="audiences.profiles"))
        options = [word for edge in edges for word in ("--ingest-url", edge.url)]
        options += ["--timeouts", *_TIMEOUTS]
        report = load(main, cluster.folder / "main", plan.shared_seconds, 1_000, *options)
    name = f"standard on Kafka, chDB and Redis, {plan.shared_seconds:.0f} s"
    return workload_rows(name, report, {})
