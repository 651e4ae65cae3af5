"""A well-behaved client, an operator and the server's memory beside attackers of each kind."""

from collections.abc import Iterator
from contextlib import contextmanager

from attackers.kinds import KINDS, Kind
from attackers.trial import GIVE_BACK_SECONDS, Trial, attack, warm
from bench.rows import Plan, Row
from bench.servers import Server, free_port, penstock, running, scratch

CONNECTIONS, MANY_CONNECTIONS = 100, 1_000
_P99_MS, _OPERATOR_MS, _HELD_MS = 50, 200, 10
_ARRIVING_MB, _MORE_MB = 134, 150
"""What the settings let arrive at once, and what may come on top."""


def hostile(plan: Plan) -> list[Row]:
    return [row for name in KINDS for row in _rows(name, plan.attack_seconds)]


def _rows(name: str, seconds: float) -> Iterator[Row]:
    """Of a kind that needs more attackers to be one, with so many as well."""
    kind = KINDS[name]
    for connections in sorted({CONNECTIONS, max(CONNECTIONS, kind.connections_min)}):
        with _serving(kind) as server:
            trial = attack(server.port, server.process.pid, name, connections, seconds)
        told = (
            f"p99 {trial.p99_seconds * 1e3:,.0f} ms, {_answered(trial)}; "
            f"operators at most {trial.slowest_operator_seconds * 1e3:,.0f} ms; "
            f"loop held {trial.held_seconds * 1e3:,.0f} ms, "
            f"kept waiting {trial.waited_seconds * 1e3:,.0f} ms"
        )
        yield Row(
            f"{connections:,} attackers, each {kind.says}",
            told,
            f"{_P99_MS} ms, all; {_OPERATOR_MS} ms; {_HELD_MS} ms",
            _is_unharmed(trial),
        )
    with _serving(kind) as server:
        trial = attack(server.port, server.process.pid, name, MANY_CONNECTIONS, seconds)
    memory = trial.memory
    most, bound = memory.more / 1e6, _ARRIVING_MB + _MORE_MB
    left = (memory.after - memory.before - memory.stored) / 1e6
    yield Row(
        f"{MANY_CONNECTIONS:,} of them: memory",
        f"{most:,.0f} MB more, {left:,.0f} MB after {_after(memory.given_back_seconds)}",
        f"at most {bound} MB, given back in {GIVE_BACK_SECONDS:.0f} s",
        most <= bound and memory.given_back_seconds <= GIVE_BACK_SECONDS,
    )


def _is_unharmed(trial: Trial) -> bool:
    return (
        trial.statuses == {"204": trial.asked}
        and trial.counted == trial.asked
        and trial.balanced
        and trial.p99_seconds * 1e3 <= _P99_MS
        and trial.operator_statuses == {"200"}
        and trial.slowest_operator_seconds * 1e3 <= _OPERATOR_MS
        and trial.held_seconds * 1e3 <= _HELD_MS
    )


def _answered(trial: Trial) -> str:
    """What became of the tags, and of the operator's questions where that is not always 200."""
    share = trial.statuses.get("204", 0) / trial.asked
    told = "all answered" if share == 1 else f"{share:.0%} answered"
    if trial.counted != trial.statuses.get("204", 0) or not trial.balanced:
        told += f", {trial.counted} counted"
    if odd := trial.operator_statuses - {"200"}:
        told += f", to the operator {' and '.join(sorted(odd))}"
    return told


def _after(seconds: float) -> str:
    return f"{min(seconds, GIVE_BACK_SECONDS):.0f} s"


@contextmanager
def _serving(kind: Kind) -> Iterator[Server]:
    """Nothing is pinned: attackers, client and server share the cores, and attackers come last."""
    port = free_port()
    with scratch() as folder:
        command = penstock("serve", "--data", str(folder / "data"), "--port", str(port))
        environment = {"PENSTOCK_LOG_FORMAT": "json", **kind.environment}
        with running(
            [*kind.wrapper, *command], port, folder, ready="/readyz", environment=environment
        ) as server:
            warm(server.port)
            yield server
