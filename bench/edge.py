"""The edge against bare ASGI, Go that decodes and stores nothing, and nginx that only redirects.

A reference whose toolchain is missing is left out, and the row says so.
"""

import resource
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.clients import closed, open_loop, wrk
from bench.requests import framed
from bench.rows import ROUNDS, SERVER_CORE, Plan, Row, verdict
from bench.servers import Server, free_port, running, scratch, serving

IDLE_CONNECTIONS = 10_000
_REFERENCES = Path(__file__).parent / "references"


def single(plan: Plan) -> list[Row]:
    """Durable single-event ingest against a bare ASGI application, in alternating rounds."""
    rates: dict[str, list[float]] = {}
    with scratch() as folder, framed("single") as requests:
        port = free_port()
        bare = [sys.executable, "-m", "bench.references.bare_asgi", str(port)]
        hosts: dict[str, tuple[str, ...]] = {
            "edge": ("--role", "edge"),
            "each head parsed": ("--role", "edge", "--forget-heads"),
            "all roles on one core": (),
        }
        for _ in range(ROUNDS):
            with running(bare, port, folder, core=SERVER_CORE) as server:
                _add(rates, "bare ASGI", closed(server.port, requests, plan.blast_seconds))
            for name, options in hosts.items():
                with scratch() as own, serving(own, *options, core=SERVER_CORE) as server:
                    _add(rates, name, closed(server.port, requests, plan.blast_seconds))
                    if name == "edge":
                        wide = closed(server.port, requests, plan.blast_seconds, 256)
                        _add(rates, "edge, 256 connections", wide)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    bare_rate = medians["bare ASGI"]
    rows = [Row("bare ASGI on uvicorn, decodes only", f"{bare_rate:,.0f}/s", "reference", None)]
    for name, rate in medians.items():
        if name != "bare ASGI":
            ratio = rate / bare_rate
            target = "0.6 of the reference" if name == "edge" else ""
            measured = f"{rate:,.0f}/s, {ratio:.2f} of the reference"
            rows.append(
                Row(f"single tags, {name}", measured, target, verdict(target, holds=ratio >= 0.6))
            )
    share = medians["all roles on one core"] / medians["edge"]
    measured = f"{share:.2f} of the edge by itself"
    rows.append(Row("all roles on one core", measured, "0.75 of it", share >= 0.75))
    return rows


def _add(rates: dict[str, list[float]], name: str, rate: float) -> None:
    rates.setdefault(name, []).append(rate)


def batch(plan: Plan) -> list[Row]:
    rates: dict[str, list[float]] = {}
    with framed("batch") as requests:
        for name, options in {"edge": ("--role", "edge"), "all roles": ()}.items():
            for _ in range(ROUNDS):
                with scratch() as own, serving(own, *options, core=SERVER_CORE) as server:
                    _add(rates, name, closed(server.port, requests, plan.blast_seconds, 4))
    rows = []
    for name, values in rates.items():
        rate = statistics.median(values) * 1000
        target = "200,000 tags/s" if name == "edge" else ""
        row = Row(f"batches of 1,000, {name}", f"{rate:,.0f} tags/s", target, None)
        rows.append(row._replace(met=verdict(target, holds=rate >= 200_000)))
    return rows


_GO = {"decode": "Go net/http that decodes only", "append": "Go net/http that appends and syncs"}
_CONNECTIONS = (64, 256)


def lane(plan: Plan) -> list[Row]:
    """Durable single-event ingest, with heads remembered and parsed, and both of Go in the same
    rounds.
    """
    rates: dict[str, list[float]] = {}
    with scratch() as folder, framed("single") as requests:
        built = {name: binary for name in _GO if (binary := _go(folder, name)) is not None}
        for _ in range(ROUNDS):
            for name, binary in built.items():
                port, log = free_port(), folder / "log"
                command = [str(binary), str(port), str(log)]
                with running(command, port, folder, core=SERVER_CORE) as server:
                    _blast_all(rates, name, server, requests, plan)
                log.unlink(missing_ok=True)
            for host, options in (("lane", ()), ("parsed", ("--forget-heads",))):
                with scratch() as own, edge(own, *options) as server:
                    _blast_all(rates, host, server, requests, plan)
    return list(_against({name: statistics.median(found) for name, found in rates.items()}))


def _blast_all(
    rates: dict[str, list[float]], name: str, server: Server, requests: Path, plan: Plan
) -> None:
    for connections in _CONNECTIONS:
        rate = closed(server.port, requests, plan.blast_seconds, connections)
        _add(rates, f"{name} {connections}", rate)


def _against(rates: dict[str, float]) -> Iterator[Row]:
    for connections, target in zip(_CONNECTIONS, (0.95, 1.0), strict=True):
        own, parsed = rates[f"lane {connections}"], rates[f"parsed {connections}"]
        at = f"{connections} connections"
        for name, what in _GO.items():
            go = rates.get(f"{name} {connections}")
            told = "no Go here" if go is None else f"{go:,.0f}/s"
            yield Row(f"{what}, {at}", told, "reference", None)
        yield Row(f"each head parsed, durable, {at}", f"{parsed:,.0f}/s", "", None)
        if decode := rates.get(f"decode {connections}"):
            ratio = own / decode
            measured = f"{own:,.0f}/s, {ratio:.2f} of Go that decodes only"
            yield Row(f"edge, durable, {at}", measured, f"{target} of it", ratio >= target)
        if append := rates.get(f"append {connections}"):
            measured = f"{own:,.0f}/s, {own / append:.2f} of Go that appends and syncs"
            yield Row(f"edge, durable, {at}", measured, "", None)


def latency(plan: Plan) -> list[Row]:
    """At half of the rate that 64 connections can draw from it, measured just before."""
    with scratch() as own, framed("single") as requests, edge(own) as server:
        most = closed(server.port, requests, plan.blast_seconds)
        found = open_loop(server.port, requests, 4 * plan.blast_seconds, most / 2)
    measured = "p50 {p50_ms:.2f}, p99 {p99_ms:.2f}, p99.9 {p999_ms:.2f} ms".format(**found)
    holds = found["p50_ms"] <= 1 and found["p99_ms"] <= 5 and found["p999_ms"] <= 20
    what = f"latency at {most / 2:,.0f}/s, half of the edge's most"
    return [Row(what, measured, "p50 1, p99 5, p99.9 20 ms", holds)]


def redirect(plan: Plan) -> list[Row]:
    """The answer leaves first, its event is committed behind it; nginx commits nothing."""
    if shutil.which("wrk") is None:
        return [Row("redirect", "skipped: it needs wrk", "0.5 of nginx", None)]
    rates: dict[str, list[float]] = {}
    with scratch() as folder:
        for _ in range(ROUNDS):
            if shutil.which("nginx") is not None:
                with _nginx(folder) as server:
                    rates.setdefault("nginx", []).append(wrk(server.port, plan.blast_seconds))
            port = free_port()
            command = [sys.executable, "-m", "bench.references.redirect", str(port)]
            with (
                scratch() as own,
                running([*command, str(own)], port, folder, core=SERVER_CORE, ready="/readyz") as s,
            ):
                rates.setdefault("own", []).append(wrk(s.port, plan.blast_seconds))
    own_rate = statistics.median(rates["own"])
    if "nginx" not in rates:
        return [Row("redirect", f"{own_rate:,.0f}/s; no nginx here", "0.5 of nginx", None)]
    nginx = statistics.median(rates["nginx"])
    ratio = own_rate / nginx
    return [
        Row("nginx return 302", f"{nginx:,.0f}/s", "reference", None),
        Row("redirect", f"{own_rate:,.0f}/s, {ratio:.2f} of nginx", "0.5 of nginx", ratio >= 0.5),
    ]


def idle(plan: Plan) -> list[Row]:
    """What 10,000 connections cost that asked once and then keep quiet."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with scratch() as own, framed("single") as requests, edge(own) as server, ExitStack() as held:
        rate = closed(server.port, requests, plan.blast_seconds) / 4
        alone = _p99(server, requests, plan.blast_seconds, rate)
        before = server.memory_mb()["rss"]
        for _ in range(IDLE_CONNECTIONS):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n")
            connection.recv(1024)
        more = server.memory_mb()["rss"] - before
        beside = _p99(server, requests, plan.blast_seconds, rate)
    what = f"{IDLE_CONNECTIONS:,} idle connections"
    measured = f"p99 {alone:.2f} ms without, {beside:.2f} ms with them"
    return [
        Row(f"{what}: memory", f"{more:.0f} MB more", "at most 100 MB", more <= 100),
        Row(f"{what}: latency at {rate:,.0f}/s", measured, "within 20 %", beside <= 1.2 * alone),
    ]


def _p99(server: Server, requests: Path, seconds: float, rate: float) -> float:
    """Median of several rounds, in ms: one stall of the machine would be either side's verdict."""
    rounds: list[float] = [
        open_loop(server.port, requests, seconds, rate)["p99_ms"] for _ in range(ROUNDS)
    ]
    return statistics.median(rounds)


# -- tools --------------------------------------------------------------------------------------


@contextmanager
def edge(folder: Path, *options: str) -> Iterator[Server]:
    """A process that only ingests, with a core to itself."""
    with serving(folder, "--role", "edge", *options, core=SERVER_CORE) as server:
        yield server


def _go(folder: Path, name: str) -> Path | None:
    """The built reference, where there is a toolchain."""
    if shutil.which("go") is None:
        return None
    binary = folder / name
    sources = [str(_REFERENCES / f"{part}.go") for part in (name, "tag")]
    subprocess.run(["go", "build", "-o", str(binary), *sources], check=True, timeout=300)
    return binary


@contextmanager
def _nginx(folder: Path) -> Iterator[Server]:
    port = free_port()
    configuration = folder / "nginx.conf"
    template = (_REFERENCES / "nginx.conf").read_text()
    configuration.write_text(template.replace("PORT", str(port)).replace("FOLDER", str(folder)))
    with running(["nginx", "-c", str(configuration)], port, folder, core=SERVER_CORE) as server:
        yield server
