"""What a measurement gives, and how long it takes."""

from typing import Any, NamedTuple

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
    backup_tags: int
    backup_seconds: float
    trimming_seconds: float
    trimming_kept_seconds: float


_LENGTHS: dict[str, tuple[Any, Any, Any]] = {
    "blast_seconds": (3.0, 5.0, 5.0),
    "standard_seconds": (60.0, 300.0, 900.0),
    "ten_times_seconds": (45.0, 600.0, 600.0),
    "growth_tags": ((200_000, 2_000_000), (1_000_000, 20_000_000), (1_000_000, 50_000_000)),
    "growth_seconds": (20.0, 60.0, 60.0),
    "backlog_tags": (1_000_000, 5_000_000, 5_000_000),
    "shared_seconds": (60.0, 120.0, 300.0),
    "warm_up_seconds": (30.0, 60.0, 90.0),
    "attack_seconds": (3.0, 5.0, 10.0),
    "backup_tags": (500_000, 5_000_000, 5_000_000),
    "backup_seconds": (15.0, 40.0, 60.0),
    "trimming_seconds": (180.0, 600.0, 3_600.0),
    "trimming_kept_seconds": (30.0, 120.0, 600.0),
}
PLANS = {
    name: Plan(**dict(zip(_LENGTHS, lengths, strict=True)))
    for name, lengths in zip(
        ("quick", "medium", "full"), zip(*_LENGTHS.values(), strict=True), strict=True
    )
}
