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

_CONNECTIONS = 64


def kafka(plan: Plan) -> list[Row]:
    """Single tags into three brokers that all confirm, against the embedded log; in turns."""
    rates: dict[str, list[float]] = {"embedded": [], "kafka": []}
    with clustered() as cluster, scratch() as folder, framed("single") as requests:
        for _ in range(ROUNDS):
            with serving(folder, "--role", "edge") as server:
                rates["embedded"].append(closed(server.port, requests, plan.blast_seconds))
            with cluster.serving("edge", "edge") as server:
                rates["kafka"].append(closed(server.port, requests, plan.blast_seconds))
    ratio = statistics.median(k / e for k, e in zip(rates["kafka"], rates["embedded"], strict=True))
    embedded, brokers = (statistics.median(rates[name]) for name in ("embedded", "kafka"))
    what = f"edge to Kafka, acks of all of three brokers, {_CONNECTIONS} connections"
    measured = f"{brokers:,.0f}/s, {ratio:.2f} of the embedded log's {embedded:,.0f}/s"
    return [Row(what, measured, "0.5 of the embedded log", ratio >= 0.5)]


def workers(plan: Plan) -> list[Row]:
    """A backlog of profiles on twelve partitions, carried by one process and by two."""
    rates = {}
    for count in (1, 2):
        with clustered() as cluster, cluster.serving("edge", "edge") as edge:
            preloaded(edge.url, plan.backlog_tags // 5)
            rates[count] = _carried(cluster, count, plan.backlog_tags // 5)
    ratio = rates[2] / rates[1]
    measured = f"{rates[1]:,.0f} tags/s by one, {rates[2]:,.0f} by two: {ratio:.2f}"
    return [Row("work processes, 1 → 2, profiles into Redis", measured, "grows", ratio > 1.0)]


def _carried(cluster: Cluster, count: int, tags: int) -> float:
    """Records a second of so many work processes, from the first one carried on."""
    with ExitStack() as opened:
        servers = [
            opened.enter_context(
                cluster.serving(f"work-{n}", "work", projections="audiences.profiles")
            )
            for n in range(count)
        ]
        began, first = 0.0, 0
        while (done := _projected(servers)) < tags:
            if began == 0.0 and done:
                began, first = time.monotonic(), done
            time.sleep(0.05)
    return (tags - first) / (time.monotonic() - began)


def _projected(servers: list[Server]) -> int:
    stages = [stage for server in servers for stage in server.get("/api/pipeline")["projections"]]
    return sum(stage["position"] for stage in stages)


def shared(plan: Plan) -> list[Row]:
    """The reference workload on Kafka, chDB and Redis: two edges, and two processes that work, one
    of which owns the embedded warehouse and answers queries.
    """
    with clustered() as cluster, ExitStack() as opened:
        edges = [opened.enter_context(cluster.serving(f"edge-{n}", "edge")) for n in range(2)]
        main = opened.enter_context(
            cluster.serving("main", "api", "work", projections="audiences_tags")
        )
        opened.enter_context(cluster.serving("work", "work", projections="audiences.profiles"))
        options = [word for edge in edges for word in ("--ingest-url", edge.url)]
        report = load(main, cluster.folder / "main", plan.shared_seconds, 1_000, *options)
    name = f"standard on Kafka, chDB and Redis, {plan.shared_seconds:.0f} s"
    return workload_rows(name, report, {})
