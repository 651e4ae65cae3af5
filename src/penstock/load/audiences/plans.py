"""The standard runs (AU-132, AU-92) as a table, and what a user may change about them."""

from dataclasses import dataclass

from penstock.load import plans
from penstock.load.audiences.population import COOKIE_COUNT, ProductIdType
from penstock.load.audiences.stream import Skew, Spell

DAY_TAGS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(plans.Plan):
    profile_wait: float = 10.0
    aggregate_wait: float = 60.0
    aggregate_start: float | None = None
    """Seconds until the first aggregate query; None follows the reference formula (AU-122)."""
    tail_cookies: int = 2_000

    @property
    def aggregates_after(self) -> float:
        if self.aggregate_start is not None:
            return self.aggregate_start
        closed = 120.0 * 1000 / self.rate if self.rate else 0.0
        return closed + self.aggregate_wait


PLANS = {
    "smoke": Plan(
        rate=200,
        events=12_000,
        profile_wait=2.0,
        aggregate_wait=6.0,
        aggregate_start=10.0,
        tail_wait=6.0,
    ),
    "standard": Plan(rate=1_000, events=900_000),
    "burst": Plan(rate=5_000, events=50_000),
    "soak": Plan(rate=None, events=DAY_TAGS),
    "crash": Plan(rate=1_000, events=900_000, kill_every=60.0),
    "tail": Plan(rate=1_000, events=60_000, tail_cookies=100_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(plans.Options):
    skew: Skew = "uniform"
    spell: Spell = "always3"
    product_id: ProductIdType = "int"
    cookies: int = COOKIE_COUNT
    raw_time: bool = False
    timeouts: tuple[float, float, float] = (0.2, 0.2, 60.0)
    """Seconds for tags, profiles and aggregates."""
