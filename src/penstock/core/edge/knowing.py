"""What a pure handler may know: a `core.edge.Known`, all of it in memory."""

import threading
from collections.abc import Callable, Mapping
from copy import copy
from time import monotonic
from typing import Any, Generic, TypeVar, cast

from penstock.core.edge import Keeping
from penstock.core.projects import DEFAULT_PROJECT, key_of

T = TypeVar("T")
S = TypeVar("S")
C = TypeVar("C")

KEYS_MAX = 32_768
"""So many a window keeps count of, and of as many in the one before: some six megabytes."""
WINDOWS_MAX = 64
"""Lengths are written in code; whoever makes them of what arrives gets the newest only."""


class Knowledge(Generic[S, C]):
    """Of one application in one process."""

    def __init__(self, settings: S, catalogue: C, *, now: Callable[[], float] = monotonic) -> None:
        """`now`: seconds of a clock that nobody sets."""
        self.settings = settings
        self.catalogue = catalogue
        self._now = now
        self.near: Mapping[str, Callable[[bytes], Any]] = {}
        self.project = DEFAULT_PROJECT
        self._windows: dict[float, _Window] = {}
        self._lock = threading.Lock()  # bodies that are dear are judged on a thread of their own

    def asking(self, near: Mapping[str, Callable[[bytes], Any]]) -> "Knowledge[S, C]":
        """The same for an operation that asks of folds, which are told apart by their spaces."""
        other = copy(self)
        other.near = near
        return other

    def of(self, project: str) -> "Knowledge[S, C]":
        """The same for a request of this project."""
        if project == self.project:
            return self
        other = copy(self)
        other.project = project
        return other

    def get(self, fold: Keeping[T], key: bytes) -> T:
        get = self.near.get(fold.space)
        if get is None:
            raise LookupError(
                f"the operation does not say that it asks {fold.space}: name the fold in its `near`"
            )
        return cast("T", get(key_of(self.project, key)))

    def tally(self, key: bytes, seconds: float) -> int:
        now = self._now()
        with self._lock:
            window = self._windows.get(seconds)
            if window is None:
                window = self._open(seconds, now)
            if now >= window.end:
                window.turn(now)
            count = window.counts.get(key, 0) + 1
            if count == 1 and len(window.counts) >= KEYS_MAX:
                window.shed()
            window.counts[key] = count
            before = window.before.get(key)
            return count if before is None else count + int(before * (window.end - now) / seconds)

    def _open(self, seconds: float, now: float) -> "_Window":
        if seconds <= 0:
            raise ValueError("a tally is of a time that passes")
        if len(self._windows) >= WINDOWS_MAX:
            del self._windows[next(iter(self._windows))]
        window = self._windows[seconds] = _Window(seconds, now)
        return window


class _Window:
    """So many of each key since it began, and in as long a time before."""

    __slots__ = ("before", "counts", "end", "seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self.end = now + seconds
        self.counts: dict[bytes, int] = {}
        self.before: dict[bytes, int] = {}

    def turn(self, now: float) -> None:
        is_next = now < self.end + self.seconds
        self.before, self.counts = (self.counts if is_next else {}), {}
        self.end = self.end + self.seconds if is_next else now + self.seconds

    def shed(self) -> None:
        """Forget who came once, which is no news of anybody; and all where none did."""
        often = {key: count for key, count in self.counts.items() if count > 1}
        self.counts = often if len(often) < KEYS_MAX // 2 else {}
