"""Instants on the wire: printing and strict parsing, always as epoch milliseconds."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

MINUTE_MS = 60_000
DAY_MS = 86_400_000
STREAM_START_MS = 1_646_092_800_000

_TAG_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,3}))?Z", re.ASCII)


class Instants(Protocol):
    """When each tag of a history happened; never decreasing along the index."""

    def at(self, index: int) -> int:
        """Epoch milliseconds of the tag at `index`."""

    def first_at(self, ms: int) -> int:
        """The lowest index, not below zero, whose instant is not before `ms`."""


class EveryMillisecond:
    """The reference stream (AU-120): tag i happens i milliseconds after the fixed start."""

    def at(self, index: int) -> int:
        return STREAM_START_MS + index

    def first_at(self, ms: int) -> int:
        return max(0, ms - STREAM_START_MS)


class Listed:
    """Instants given one by one, in ascending order."""

    def __init__(self, instants: Sequence[int]) -> None:
        self._instants = instants

    def at(self, index: int) -> int:
        return self._instants[index]

    def first_at(self, ms: int) -> int:
        return bisect_left(self._instants, ms)


@lru_cache(maxsize=4096)
def second_text(second: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS` of an epoch second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def milli_text(ms: int) -> str:
    """A profile range end: always three fraction digits, no zone."""
    second, fraction = divmod(ms, 1000)
    return f"{second_text(second)}.{fraction:03d}"


def tag_time(ms: int, *, drop_zero_fraction: bool) -> str:
    """A tag's time in either dialect of the reference stream (AU-04, AU-05)."""
    if drop_zero_fraction and ms % 1000 == 0:
        return f"{second_text(ms // 1000)}Z"
    return f"{milli_text(ms)}Z"


def parse_tag_time(text: str) -> int | None:
    """Epoch milliseconds of a tag's time, or None where no answer may spell it so (AU-06)."""
    match = _TAG_TIME.fullmatch(text)
    if match is None:
        return None
    second = _parse_second(match[1])
    return None if second is None else second * 1000 + int((match[2] or "").ljust(3, "0"))


@lru_cache(maxsize=4096)
def _parse_second(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None
