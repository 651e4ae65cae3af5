"""What any run is told: when to send how much, and where. Workloads add their own terms."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

_CONNECTIONS = 64
"""For a thousand events a second; also of a closed loop, and the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. Without a rate it is a closed loop: as fast as the server answers."""

    rate: int | None
    events: int
    seconds: float | None = None
    """Ends a closed loop before its events are used up."""
    tail_wait: float = 60.0
    """Seconds between the last event and the last questions."""
    kill_every: float | None = None

    @property
    def connections(self) -> int:
        """So many for events that a schedule does not wait for them: with too few, a moment's delay
        of the server makes a queue in the client, which then measures itself.
        """
        return max(_CONNECTIONS, _CONNECTIONS * (self.rate or 0) // 1_000)


P = TypeVar("P", bound=Plan)
_BY_RATE_AND_DURATION = {"rate", "events", "seconds"}


def tailored(
    plan: P,
    *,
    rate: int | None = None,
    duration: float | None = None,
    changes: Mapping[str, object] | None = None,
) -> P:
    """A standard run with some of its terms changed; None leaves a term as it is, and what is no
    term of it is passed over.
    """
    terms = {field.name for field in fields(plan)} - _BY_RATE_AND_DURATION
    given = {
        name: value
        for name, value in (changes or {}).items()
        if name in terms and value is not None
    }
    if "kill_every" in given and plan.kill_every is None:
        raise ValueError("only a crash run kills")
    plan = replace(plan, **given)  # type: ignore[arg-type]  # click has checked each type
    if plan.rate is None and rate is None:
        return replace(plan, seconds=duration)
    new_rate = rate or plan.rate or 1
    seconds = duration or plan.events / (plan.rate or new_rate)
    return replace(plan, rate=new_rate, events=max(1, round(seconds * new_rate)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a run is told besides its plan."""

    url: str
    ingest_url: tuple[str, ...] = ()
    """Where single events go, in turns; empty: to `url`."""
    ca: Path | None = None
    """Certificates that vouch for `https://` servers; None: those that the system trusts."""
    seed: int = 1
    connections: int | None = None
    """For events, at most; None: what the plan's rate asks for."""
    start_index: int = 0
    preload: int = 0
    send_expected: bool = False
    pid: int | None = None
    pid_file: Path | None = None
    data: Path | None = None
    serve: str | None = None
    kill_command: str | None = None

    @property
    def first(self) -> int:
        """Index of the first event of the run proper."""
        return self.start_index + self.preload

    def check(self, plan: Plan) -> None:
        """Raise ValueError where the plan cannot be run with these options."""
        means = (self.serve, self.kill_command, self.pid_file, self.pid)
        if plan.kill_every is not None and all(mean is None for mean in means):
            raise ValueError(
                "a crash run needs --serve, --kill-command, --pid-file or --pid to kill by"
            )
