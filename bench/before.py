"""What a whole server costs, in this tree and in that of another commit, in alternating rounds."""

import os
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bench.against import BEFORE, tree
from bench.growth import settle
from bench.requests import preloaded
from bench.rows import ROUNDS, Plan, Row
from bench.servers import scratch, serving

_RESTED_SECONDS = 5.0
_CATCH_UP, _MORE_MB, _MORE_SECONDS = 1.1, 10.0, 0.2


class _Cost(NamedTuple):
    start_seconds: float
    """From its command to its readiness, in an empty folder."""
    memory_mb: float
    """Resident, idle, the warehouse open."""
    caught_up: float
    """Tags a second of a backlog that an edge took in, once all roles are started on it."""


def before(plan: Plan) -> list[Row]:
    """Medians of both; the commit is `BENCH_AGAINST`, where that is set."""
    commit = os.environ.get("BENCH_AGAINST", BEFORE)
    with scratch() as folder, tree(commit, folder) as source:
        trees: dict[str, Mapping[str, str]] = {commit: {"PYTHONPATH": str(source)}, "now": {}}
        rounds = [
            {name: _cost(environment, plan.backlog_tags) for name, environment in trees.items()}
            for _ in range(ROUNDS)
        ]
    was, now = (_median([found[name] for found in rounds]) for name in trees)
    return list(_rows(commit, was, now, plan.backlog_tags))


def _median(costs: list[_Cost]) -> _Cost:
    return _Cost(*map(statistics.median, zip(*costs, strict=True)))


def _cost(environment: Mapping[str, str], backlog_tags: int) -> _Cost:
    with scratch() as folder:
        began = time.monotonic()
        with serving(folder, environment=environment) as server:
            started = time.monotonic() - began
            time.sleep(_RESTED_SECONDS)
            memory = server.memory_mb()["rss"]
    with scratch() as folder:
        with serving(folder, "--role", "edge", environment=environment) as server:
            preloaded(server.url, backlog_tags)
        with serving(folder, environment=environment) as server:
            return _Cost(started, memory, settle(server))


def _rows(commit: str, was: _Cost, now: _Cost, backlog_tags: int) -> Iterator[Row]:
    ratio = now.caught_up / was.caught_up
    yield Row(
        f"catch-up of {backlog_tags:,} tags, against {commit}",
        f"{now.caught_up:,.0f}/s, {ratio:.2f} of {was.caught_up:,.0f}/s",
        f"{_CATCH_UP} of it",
        ratio >= _CATCH_UP,
    )
    more = now.memory_mb - was.memory_mb
    yield Row(
        f"memory, idle, against {commit}",
        f"{now.memory_mb:.0f} MB, {more:+.0f} MB",
        f"at most {_MORE_MB:+.0f} MB",
        more <= _MORE_MB,
    )
    longer = now.start_seconds - was.start_seconds
    yield Row(
        f"start to readiness, against {commit}",
        f"{now.start_seconds:.2f} s, {longer:+.2f} s",
        f"at most {_MORE_SECONDS:+.1f} s",
        longer <= _MORE_SECONDS,
    )
