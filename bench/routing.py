"""What it costs the processor to find a route among hundreds, beside finding it where it is the
only one: two look-ups, where it is said exactly."""

import time
from collections.abc import Callable
from functools import partial

from bench.rows import Plan, Row, verdict
from penstock.core.edge.hosts import Hosts
from penstock.core.edge.routing import Routes

_ROUTES = 300
_TIMES = 20_000
_ROUNDS = 9
_MORE_US = 1.0
_HOST = "go.example"


def routing(plan: Plan) -> list[Row]:
    """Of three hundred routes, and on a claimed host; the least of rounds, in processor time."""
    del plan
    routes: Routes[int] = Routes(Hosts(f"console=*, links={_HOST}"))
    for n in range(0, _ROUTES, 3):
        routes.add("POST", f"/api/v1/kind{n}", n)
        routes.add("GET", f"/api/v1/kind{n}/{{key}}/items", n)
        routes.add("GET", f"/api/v1/kind{n}/{{key}}/parts/{{part}}", n)
    routes.add("GET", "/{rest...}", -1, hosts="links")
    rows = []
    for what, method, template, path in (
        ("said exactly", "POST", "/api/v1/kind150", b"/api/v1/kind150"),
        ("with a parameter", "GET", "/api/v1/kind150/{key}/items", b"/api/v1/kind150/x/items"),
        ("that is a link", "GET", "/{rest...}", b"/spring"),
    ):
        alone: Routes[int] = Routes()
        alone.add(method, template, 0)
        took = _microseconds(partial(routes.find, method, path, _HOST))
        more = took - _microseconds(partial(alone.find, method, path))
        target = f"{_MORE_US:g} µs more than alone"
        measured = f"{took:.2f} µs, {more:.2f} µs more than alone"
        holds = verdict(target, holds=more <= _MORE_US)
        rows.append(Row(f"a route among {_ROUTES} {what}", measured, target, holds))
    return rows


def _microseconds(work: Callable[[], object]) -> float:
    """The least of rounds: whatever else runs only adds to it."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(_TIMES):
            work()
        rounds.append((time.process_time() - began) / _TIMES * 1e6)
    return min(rounds)
