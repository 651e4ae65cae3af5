"""What a process trims, and what another one tells it that it needs yet."""

import asyncio
from pathlib import Path
from typing import Any

from penstock.core.intervals import Interval
from penstock.core.manifest import Run
from penstock.core.operations import Operations
from penstock.core.platform import Platform
from penstock.core.projection import needs
from penstock.core.reach import Reach
from penstock.main import build
from support.clock import MovedClock
from support.logs import add, wait_until
from support.purses import MOVES, Moved, manifest

KEPT = {"PENSTOCK_DISK_FREE_BYTES_MIN": "0", "PENSTOCK_KEPT_HOURS": "*=24"}
TAGS = "audiences.tags"
NOTHING: Any = None
"""It asks for none of it."""


def schedule(platform: Platform, name: str) -> None:
    """Its turn."""
    [found] = [one for one in platform.ours if one.name == f"penstock.{name}"]
    run = Run(schedule=found.name, interval=Interval(0, 0), attempt=1, token=0, context=NOTHING)
    asyncio.run(found.run(run, Reach(NOTHING)))  # type: ignore[arg-type] # a coroutine it is


def test_a_process_trims_its_log_and_tells_what_is_kept(tmp_path: Path) -> None:
    clock = MovedClock()
    platform = build(KEPT, {"data": str(tmp_path)}, others=(manifest,), clock=clock)
    try:
        assert platform.log is not None
        for _ in range(2):
            add(platform.log, MOVES.codec().encode(Moved("a", 1)), topic=MOVES.name)
            clock.pass_hours(13)
        schedule(platform, "trimming")
        wait_until(lambda: platform.follow.start(MOVES.name, 0) == 1)
        moves, decisions, *_ = Operations(platform).topics()
        assert (moves.kept, moves.start, moves.end) == ("24 hours", 1, 2)
        assert moves.since_ms == clock.ms - 13 * 3_600_000
        assert moves.bytes
        assert (decisions.since_ms, decisions.bytes) == (0, 0)
    finally:
        platform.close()


def test_an_edge_alone_waits_until_somebody_told_what_is_needed(tmp_path: Path) -> None:
    clock = MovedClock()
    edge = build(KEPT, {"data": str(tmp_path)}, roles=("edge",), clock=clock)
    try:
        assert edge.log is not None
        assert edge.forgetting is not None
        add(edge.log, b"old", topic=TAGS)
        clock.pass_hours(25)
        schedule(edge, "trimming")
        assert edge.forgetting.waits == {TAGS: [needs.UNKNOWN]}
        work = build(KEPT, {"data": str(tmp_path)}, roles=("api", "work"), clock=clock)
        try:
            assert work.forgetting is None
            schedule(work, "needs")  # its projections have not begun
            assert Operations(work).topics()[0].kept == "24 hours"
        finally:
            work.close()
        schedule(edge, "trimming")
        wait_until(lambda: edge.follow.start(TAGS, 0) == 1)
        assert edge.forgetting.waits == {}
    finally:
        edge.close()
