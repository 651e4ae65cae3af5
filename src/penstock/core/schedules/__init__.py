"""Schedules: what is done at the end of every interval, by one of all processes that could do it.

One process leads the schedules of an application, by a lease. How far each has come, and what its
runs came to, stands in the state, where every write goes on from the one before it: so who was
held up and has a successor writes nothing any more. What a run returns is in the log once, by its
origin.
"""

from typing import Literal

import msgspec

from penstock.core.state import OURS

SPACES = f"{OURS}schedules."
"""How the space of an application's schedules begins."""

Result = Literal["running", "succeeded", "failed", "interrupted", "missed"]
By = Literal["clock", "hand"]


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """A run, or intervals that were passed over."""

    number: int
    """Of all runs of an application's schedules."""
    schedule: str
    start_ms: int
    end_ms: int
    """The interval; for what was missed from the first one's start to the last one's end."""
    by: By
    result: Result
    attempts: int = 0
    """That have begun."""
    begun_ms: int = 0
    """When the last of them did."""
    ended_ms: int = 0
    """0 while it is not over."""
    events: int = 0
    """That it returned."""
    repeated: bool = False
    """The log had some of them already."""
    reason: str = ""
    """Why the last attempt failed, or it was passed over."""
    owner: str = ""
    """The process."""
    token: int = 0
    wish: str = ""
    """By hand: which wish it was."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is told to operators."""

    schedule: str
    at: str
    everywhere: bool
    runs: list[Ran]
    """The newest first."""
    next_ms: int
    lacking: list[tuple[int, int]]
    """Ends of intervals, in epoch seconds from the first to the last of each stretch, that have not
    succeeded and will not be run by themselves."""
