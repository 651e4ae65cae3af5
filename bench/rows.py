"""What a measurement gives, and how long it takes."""

from typing import NamedTuple

SERVER_CORE, CLIENT_CORE = 0, 1
ROUNDS = 3


class Row(NamedTuple):
    what: str
    measured: str
    target: str
    met: bool | None
    """None where there is nothing to meet."""


def verdict(target: str, *, holds: bool) -> bool | None:
    """`Row.met`, of which an empty target has none."""
    return holds if target else None


class Plan(NamedTuple):
    """How long things take: short for a look, full for the record."""

    blast_seconds: float
    standard_seconds: float
    ten_times_seconds: float
    growth_tags: tuple[int, int]
    growth_seconds: float
    backlog_tags: int
    shared_seconds: float
    warm_up_seconds: float
    attack_seconds: float


PLANS = {
    "quick": Plan(3.0, 60.0, 45.0, (200_000, 2_000_000), 20.0, 1_000_000, 60.0, 30.0, 3.0),
    "medium": Plan(5.0, 300.0, 600.0, (1_000_000, 20_000_000), 60.0, 5_000_000, 120.0, 60.0, 5.0),
    "full": Plan(5.0, 900.0, 600.0, (1_000_000, 50_000_000), 60.0, 5_000_000, 300.0, 90.0, 10.0),
}
