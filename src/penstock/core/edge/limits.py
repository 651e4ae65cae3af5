"""How often an operation may be asked: buckets of tokens, in this process.

A bucket is one number, the moment at which it is full again. A refused request takes no token, so
whoever waits as long as they are told gets through. A bucket that is full is forgotten; while more
callers come than are kept, those are forgotten first who have not asked for the longest time.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv6Network
from time import monotonic_ns
from typing import Literal

import msgspec

from penstock.core.edge import Principal
from penstock.core.errors import RateLimited

Per = Literal["client", "caller", "project"]

CALLERS_MAX = 65_536
"""So many a limit keeps account of: some ten megabytes."""
_PREFIX = 64
"""Bits of an address of IPv6 that whoever has it did not choose."""
_SECOND = 1_000_000_000


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """So many requests in so many seconds, and at first, or after a pause, so many at once."""

    per: Per
    """`client`: address, of IPv6 the network of 64 bits. `caller`: who asks with a key, and of
    anybody else the address. `project`: all who ask for the same one."""
    rate: int
    seconds: int = 1
    """86,400: a day, which begins with the first request."""
    burst: int = 0
    """0: as many as the rate says."""

    def __post_init__(self) -> None:
        if self.rate < 1 or self.seconds < 1 or self.burst < 0:
            raise ValueError("a limit allows at least one request in at least one second")

    @property
    def name(self) -> str:
        return f"{self.per}-{self.seconds}s"


class _Buckets:
    """Of one limit: of each caller when its bucket is full again, in nanoseconds."""

    def __init__(self, limit: Limit, callers_max: int) -> None:
        self.limit = limit
        self.token = limit.seconds * _SECOND // limit.rate
        self.depth = self.token * (limit.burst or limit.rate)
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._half = callers_max // 2

    def full_at(self, caller: str) -> int:
        """0 where it is not known. Whoever asks stays known, refused or not."""
        known = self._young.get(caller)
        if known is None and (known := self._old.get(caller)) is not None:
            self.keep(caller, known)
        return known or 0

    def keep(self, caller: str, full_at: int) -> None:
        if len(self._young) >= self._half and caller not in self._young:
            self._old, self._young = self._young, {}
        self._young[caller] = full_at

    @property
    def kept(self) -> int:
        return len(self._young) + len(self._old)


class Limits:
    """Of one operation; what one of them refuses takes a token of none."""

    def __init__(
        self,
        limits: Sequence[Limit],
        *,
        now: Callable[[], int] = monotonic_ns,
        callers_max: int = CALLERS_MAX,
    ) -> None:
        """`now`: nanoseconds of a clock that nobody sets."""
        if len({limit.name for limit in limits}) < len(limits):
            raise ValueError("two limits per the same for the same time")
        self._now = now
        self._buckets = [_Buckets(limit, callers_max) for limit in limits]
        self._policy = ", ".join(
            f'"{limit.name}";q={limit.rate};w={limit.seconds}' for limit in limits
        ).encode()

    def take(self, client: str, project: str, who: Principal) -> None:
        """Raise `RateLimited`."""
        now = self._now()
        full: list[tuple[_Buckets, str, int]] = []
        late: tuple[int, _Buckets] | None = None
        for buckets in self._buckets:
            caller = _caller(buckets.limit.per, client, project, who)
            full_at = max(buckets.full_at(caller), now) + buckets.token
            wait = full_at - now - buckets.depth
            if wait > 0 and (late is None or wait > late[0]):
                late = wait, buckets
            full.append((buckets, caller, full_at))
        if late is not None:
            raise self._refused(*late)
        for buckets, caller, full_at in full:
            buckets.keep(caller, full_at)

    def _refused(self, wait: int, buckets: _Buckets) -> RateLimited:
        seconds = -(-wait // _SECOND)
        limit = buckets.limit
        each = "a second" if limit.seconds == 1 else f"in {limit.seconds} seconds"
        error = RateLimited(
            f"this {limit.per} may ask {limit.rate} times {each}; try again in {seconds} s",
            retry_after=seconds,
        )
        error.headers = (
            (b"ratelimit-policy", self._policy),
            (b"ratelimit", f'"{limit.name}";r=0;t={seconds}'.encode()),
        )
        return error

    def kept(self) -> Iterator[int]:
        """Of each limit, how many callers it keeps account of."""
        return (buckets.kept for buckets in self._buckets)


def _caller(per: Per, client: str, project: str, who: Principal) -> str:
    if per == "project":
        return project
    if per == "caller" and who.id:
        return f"{project}/{who.id}"
    return _network(client) if ":" in client else client


@lru_cache(maxsize=4_096)
def _network(address: str) -> str:
    """Whoever has one address of it has all."""
    try:
        return str(IPv6Network((address.partition("%")[0], _PREFIX), strict=False))
    except ValueError:
        return address
