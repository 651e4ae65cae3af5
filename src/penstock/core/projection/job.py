"""Jobs: what a fold wants done in the world outside, and how it hears of it."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import msgspec

from penstock.core.errors import PenstockError
from penstock.core.events import Event
from penstock.core.projection.due import Heard
from penstock.core.reach import Reach

W = TypeVar("W", bound=msgspec.Struct)


class Permanent(PenstockError):
    """Trying again will not help: the work is a dead letter at once."""


class ComputeFailed(PenstockError):
    """What was to be computed was not: it raised, took too much memory, or killed its process."""


class Retry(NamedTuple):
    """How often, and after how long: each time about twice as long, up to the longest."""

    attempts: int = 10
    seconds: float = 5.0
    seconds_max: float = 3_600.0

    def wait(self, attempts: int) -> float:
        """Behind so many of them, in seconds. Drawn, so that what failed at once is not tried again
        at once.
        """
        longest = min(self.seconds_max, self.seconds * 2.0 ** min(attempts - 1, 62))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


@dataclass(frozen=True, kw_only=True)
class Job(Generic[W]):
    """Work that a fold wants by `Due(work=…)`, whose type tells which job it is.

    It is done at least once, for whoever does it may be killed before that is written down; that it
    is done is heard once. Projects have turns, so that none waits for all that another wants. What
    was under way when its process ended is tried again alone. Raise `ValueError` for one that
    cannot work.
    """

    name: str
    work: type[W]
    """A frozen struct; what a step says is due of it is kept as MessagePack."""
    run: Callable[[W, Reach], Awaitable[Sequence[Event]]]
    """The work and what there is of the world outside → events of the fold's topic, which are added
    behind `Done`, all or none. It raises `Permanent` or `OutOfBounds`, or anything else to be tried
    again, and must not block.
    """
    compute: Callable[[W], W] | None = None
    """The work → the work with what takes long to compute, as `run` gets it. Pure. It is done in a
    process of its own, for as many as are done at once; what kills that has failed, as an attempt
    that is counted. A function of a module, by its name, as the work's type is.
    """
    memory_bytes_max: int = 1 << 30
    """That `compute` may take."""
    result_bytes_max: int = 4 << 20
    """Of what it returns, as MessagePack."""
    concurrency: int = 10
    """So many at once, in one process."""
    seconds_max: float = 60.0
    """An attempt that takes longer is ended, and has failed."""
    retry: Retry = field(default_factory=Retry)
    work_bytes_max: int = 65_536

    def __post_init__(self) -> None:
        if not 0 < len(self.name.encode()) < 256:
            raise ValueError(f"the job {self.name!r} needs a name of 1 to 255 bytes")
        if not self.work.__struct_config__.frozen:
            raise ValueError(f"{self.name}: declare {self.work.__name__} with frozen=True")
        if min(self.concurrency, self.retry.attempts) < 1 or self.seconds_max <= 0:
            raise ValueError(f"{self.name} could never run")
        apart = () if self.compute is None else (self.compute, self.work)
        if hidden := [of.__qualname__ for of in apart if "<" in of.__qualname__]:
            raise ValueError(f"{self.name}: another process cannot find {', '.join(hidden)}")


class Ended(Heard, frozen=True, array_like=True, gc=False):
    """A job will not be tried any more."""

    job: str
    at_ms: int
    """When its last attempt was to begin."""
    attempts: int


class Done(Ended, frozen=True, array_like=True, gc=False, tag="done/1"):
    """It ended well. What it returned follows, once this is heard."""

    keys: tuple[bytes, ...] = ()
    returned: tuple[bytes, ...] = ()
    """As the log is to have it. In this one record it is there whole or not at all, on brokers too,
    and whoever hears it can say it again.
    """


class Failed(Ended, frozen=True, array_like=True, gc=False, tag="failed/1"):
    """It was given up; its work is a dead letter, and may be tried again by hand."""

    reason: str
