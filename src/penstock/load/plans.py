"""The standard runs (AU-132, AU-92) as a table, and what a user may change about them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.load.audiences.population import COOKIE_COUNT, ProductIdType
from penstock.load.audiences.stream import Skew, Spell

DAY_TAGS = 86_400_000
_CONNECTIONS = 64
"""For a thousand tags a second; also of a closed loop, and the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. Without a rate it is a closed loop: as fast as the server answers."""

    rate: int | None
    tags: int
    seconds: float | None = None
    """Ends a closed loop before its tags are used up."""
    profile_wait: float = 10.0
    aggregate_wait: float = 60.0
    aggregate_start: float | None = None
    """Seconds until the first aggregate query; None follows the reference formula (AU-122)."""
    tail_wait: float = 60.0
    tail_cookies: int = 2_000
    kill_every: float | None = None

    @property
    def connections(self) -> int:
        """So many for tags that a schedule does not wait for them: with too few, a moment's delay
        of the server makes a queue in the client, which then measures itself.
        """
        return max(_CONNECTIONS, _CONNECTIONS * (self.rate or 0) // 1_000)

    @property
    def aggregates_after(self) -> float:
        if self.aggregate_start is not None:
            return self.aggregate_start
        closed = 120.0 * 1000 / self.rate if self.rate else 0.0
        return closed + self.aggregate_wait


PLANS = {
    "smoke": Plan(
        rate=200,
        tags=12_000,
        profile_wait=2.0,
        aggregate_wait=6.0,
        aggregate_start=10.0,
        tail_wait=6.0,
    ),
    "standard": Plan(rate=1_000, tags=900_000),
    "burst": Plan(rate=5_000, tags=50_000),
    "soak": Plan(rate=None, tags=DAY_TAGS),
    "crash": Plan(rate=1_000, tags=900_000, kill_every=60.0),
    "tail": Plan(rate=1_000, tags=60_000, tail_cookies=100_000),
}

_CHANGEABLE = (
    "profile_wait",
    "aggregate_wait",
    "aggregate_start",
    "tail_wait",
    "tail_cookies",
    "kill_every",
)


def tailored(
    run: str,
    *,
    rate: int | None = None,
    duration: float | None = None,
    changes: Mapping[str, object] | None = None,
) -> Plan:
    """A standard run with some of its terms changed; None leaves a term as it is."""
    plan = PLANS[run]
    given = {
        name: value for name in _CHANGEABLE if (value := (changes or {}).get(name)) is not None
    }
    if "kill_every" in given and plan.kill_every is None:
        raise ValueError("only a crash run kills")
    plan = replace(plan, **given)  # type: ignore[arg-type]  # click has checked each type
    if plan.rate is None and rate is None:
        return replace(plan, seconds=duration)
    new_rate = rate or plan.rate or 1
    seconds = duration or plan.tags / (plan.rate or new_rate)
    return replace(plan, rate=new_rate, tags=max(1, round(seconds * new_rate)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a run is told besides its plan."""

    url: str
    ingest_url: tuple[str, ...] = ()
    """Where single tags go, in turns; empty: to `url`."""
    ca: Path | None = None
    """Certificates that vouch for `https://` servers; None: those that the system trusts."""
    seed: int = 1
    skew: Skew = "uniform"
    spell: Spell = "always3"
    product_id: ProductIdType = "int"
    cookies: int = COOKIE_COUNT
    connections: int | None = None
    """For tags, at most; None: what the plan's rate asks for."""
    start_index: int = 0
    preload: int = 0
    raw_time: bool = False
    send_expected: bool = False
    timeouts: tuple[float, float, float] = (0.2, 0.2, 60.0)
    """Seconds for tags, profiles and aggregates."""
    pid: int | None = None
    pid_file: Path | None = None
    data: Path | None = None
    serve: str | None = None
    kill_command: str | None = None

    @property
    def first(self) -> int:
        """Index of the first tag of the run proper."""
        return self.start_index + self.preload

    def check(self, plan: Plan) -> None:
        """Raise ValueError where the plan cannot be run with these options."""
        means = (self.serve, self.kill_command, self.pid_file, self.pid)
        if plan.kill_every is not None and all(mean is None for mean in means):
            raise ValueError(
                "a crash run needs --serve, --kill-command, --pid-file or --pid to kill by"
            )
