"""The edge of this tree against that of another commit, in alternating rounds of one run."""

import os
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.clients import closed
from bench.requests import framed
from bench.rows import SERVER_CORE, Plan, Row
from bench.servers import scratch, serving

ROOT = Path(__file__).parent.parent
BEFORE = "8dccca5"
"""The last commit whose edge stood on uvicorn's connection."""
_ROUNDS = 3
_LOADS = {
    "single tags, 64 connections": ("single", 64),
    "single tags, 256 connections": ("single", 256),
    "batches of 1,000": ("batch", 4),
}


def against(plan: Plan) -> list[Row]:
    """Medians of both; the commit is `BENCH_AGAINST`, where that is set."""
    commit = os.environ.get("BENCH_AGAINST", BEFORE)
    rates: dict[str, dict[str, list[float]]] = {}
    with scratch() as folder, tree(commit, folder) as before:
        trees: dict[str, Mapping[str, str]] = {"before": {"PYTHONPATH": str(before)}, "now": {}}
        for load, (requests_kind, connections) in _LOADS.items():
            with framed(requests_kind) as requests:
                for _ in range(_ROUNDS):
                    for name, environment in trees.items():
                        with (
                            scratch() as own,
                            serving(
                                own, "--role", "edge", core=SERVER_CORE, environment=environment
                            ) as server,
                        ):
                            rate = closed(server.port, requests, plan.blast_seconds, connections)
                            rates.setdefault(load, {}).setdefault(name, []).append(rate)
    return [_row(load, found, commit) for load, found in rates.items()]


def _row(load: str, rates: Mapping[str, list[float]], commit: str) -> Row:
    before, now = (statistics.median(rates[name]) for name in ("before", "now"))
    measured = f"{now:,.0f}/s, {now / before:.2f} of {before:,.0f}/s"
    return Row(f"{load}, against {commit}", measured, "0.98", now >= 0.98 * before)


@contextmanager
def tree(commit: str, folder: Path) -> Iterator[Path]:
    """The source of that commit."""
    tree = folder / "before"
    git = ["git", "-C", str(ROOT)]
    subprocess.run([*git, "worktree", "add", "--detach", str(tree), commit], check=True)
    try:
        yield tree / "src"
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)
