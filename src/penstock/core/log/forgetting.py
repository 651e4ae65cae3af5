"""What of the embedded log is to go: by age and size, and not before every projection has it.

Age goes by the log's own times, of which some were written while its clock was wrong. A time counts
if it is not before those of earlier blocks, nor after the present; any other block is as old as the
next one whose time counts. So a clock that was ahead or behind takes nothing away early.

A projection that has not come so far holds up what it lacks, until the topic has twice what is to
be kept: then the disk, and the promise to forget, come first, and what is lost is told by name.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import chain, pairwise, takewhile
from typing import NamedTuple

from penstock.core.clock import CarefulClock
from penstock.core.log import Extent
from penstock.core.log.extents import Front
from penstock.core.log.kept import Kept
from penstock.core.log.sqlite import SqliteLog
from penstock.core.log.sqlite_reader import SqliteReader
from penstock.core.telemetry import Logger

INTERVAL_SECONDS = 5.0
PATIENCE = 2
"""Times what is to be kept: as long, or as much, is waited for projections."""
_BLOCKS_MAX = 20_000
"""That go by one decision."""
_COUNTED_AT_ONCE, _COUNTED_MAX = 5_000, 50_000
"""Blocks that one turn looks at: those of an old log are counted by and by."""

Needs = Callable[[str], Mapping[str, int]]
"""Topic → projections that read it, and the oldest number that each may yet ask for."""


class Present(NamedTuple):
    """What time it is, at the earliest and at the latest."""

    now_ms: int
    latest_ms: int


class Verdict(NamedTuple):
    start: int
    """Where the topic is to begin."""
    until_ms: int
    held: int = 0
    """Up to here more would go if every projection had it."""


def verdict(
    blocks: Iterator[tuple[Front, int]], extent: Extent, kept: Kept, present: Present, needed: int
) -> Verdict:
    """By the topic's oldest blocks, each with the number that follows it, and by what is still
    `needed` of it. Pure.
    """
    start, until_ms, left = extent.start, extent.until_ms, extent.bytes
    for number, (block, following) in enumerate(blocks):
        right = until_ms <= block.at_ms <= present.latest_ms
        times = _times(block, left, kept, present, right=right)
        if times > (1 if following <= needed else PATIENCE):
            start, until_ms = following, block.at_ms if right else until_ms
        elif right or not kept.hours:
            return Verdict(start, until_ms, held=following if times > 1 else 0)
        if number >= _BLOCKS_MAX and start == following:
            break
        left -= block.size
    return Verdict(start, until_ms)


def _times(block: Front, left: int, kept: Kept, present: Present, *, right: bool) -> float:
    """By how many times the block, or what is left with it, is beyond what is to be kept."""
    by_size = left / kept.bytes if kept.bytes else 0.0
    age_ms = present.now_ms - block.at_ms
    return max(by_size, age_ms / kept.ms if kept.hours and right else 0.0)


def _followed(blocks: Iterator[Front], end: int) -> Iterator[tuple[Front, int]]:
    """Those before `end`, each with the number that follows it."""
    known = takewhile(lambda block: block.first < end, blocks)
    for block, following in pairwise(chain(known, [Front(end, 0, 0)])):
        yield block, following.first


class Forgetting:
    """Decides every so often; the log's own thread trims."""

    def __init__(
        self,
        log: SqliteLog,
        kept: Mapping[str, Kept],
        needs: Needs,
        *,
        clock: CarefulClock,
        logger: Logger,
    ) -> None:
        self.waits: Mapping[str, list[str]] = {}
        """Topics of which more would go, and the projections that are waited for. For any thread;
        replaced whole.
        """
        self._log = log
        self._kept = kept
        self._needs = needs
        self._clock = clock
        self._logger = logger

    def turn(self) -> None:
        """Count what was added, and have trimmed what is to go."""
        waits = {}
        # Before anything is read: should the log be cleared meanwhile, this is another one.
        logs = {topic: self._log.identity(topic) for topic in self._kept}
        with closing(self._log.reader()) as reader:
            for topic, kept in self._kept.items():
                extent = self._counted(reader, logs[topic], topic)
                if kept.is_bounded and (
                    missing := self._decide(reader, logs[topic], topic, extent)
                ):
                    waits[topic] = missing
        for topic, missing in waits.items():
            if topic not in self.waits:
                waited = ", ".join(missing)
                self._logger.warning("log.trimming_waits", topic=topic, projections=waited)
        self.waits = waits

    def _counted(self, reader: SqliteReader, log: str, topic: str) -> Extent:
        was = extent = self._log.extent(topic, 0)
        for _ in range(0, _COUNTED_MAX, _COUNTED_AT_ONCE):
            more = reader.counted(topic, extent, _COUNTED_AT_ONCE)
            if more is None:
                break
            extent = more
        if extent != was:
            self._log.count(log, topic, was, extent)
        return extent

    def _decide(self, reader: SqliteReader, log: str, topic: str, extent: Extent) -> list[str]:
        """Projections that are waited for."""
        kept = self._kept[topic]
        needs, end = self._needs(topic), reader.end(topic)
        needed = min(needs.values(), default=end)
        present = Present(self._clock.now_ms(), self._clock.latest_ms())
        with closing(reader.fronts(topic, extent.start)) as blocks:
            found = verdict(_followed(blocks, end), extent, kept, present, needed)
        if found.start > extent.start:
            self._log.trim(log, topic, found.start, found.until_ms)
            for name, first in needs.items():
                if (lost := max(first, extent.start)) < found.start:
                    self._logger.error(
                        "log.trimmed_unprojected", projection=name, first=lost, next=found.start
                    )
        return [name for name, first in needs.items() if first < found.held]
