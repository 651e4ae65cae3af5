"""Ingest beside trimming: the disk in use while a short time is kept, and what it costs those who
send.

Two servers stand all the while, one of which keeps a topic for a short time and the other for ever.
They are sent to in turns, each pair of rounds in the other order than the one before, for this
machine drifts; what is told is the median over the pairs. `python -m bench.trimming [seconds kept]`
is the same for as long as one likes: 3600 and 600 stand for an hour.
"""

import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.clients import open_loop
from bench.requests import framed
from bench.rows import PLANS, Plan, Row
from bench.servers import Server, scratch, serving

RATE = 5_000
"""Tags a second."""
_TAKEN_MIN = 0.98 * RATE
_ROUND_SECONDS_MAX = 60.0
_PAIRS_MIN = 3
_FLAT = 1.1
"""What is in use at the end, at most, of what was once twice as long was kept as is to be."""
_FILES = ("log.db", "log.db-wal")


class _Round(NamedTuple):
    at: float
    """Seconds since the first."""
    p99_ms: float
    taken: float
    bytes: int
    """Of the log's files, at its end."""


def trimming(plan: Plan) -> list[Row]:
    return measured(plan.trimming_seconds, plan.trimming_kept_seconds)


def measured(seconds: float, kept_seconds: float) -> list[Row]:
    rounds = max(_PAIRS_MIN, round(seconds / 2 / _ROUND_SECONDS_MAX))
    length = seconds / 2 / rounds
    with ExitStack() as opened:
        folders = [opened.enter_context(scratch()) for _ in range(2)]
        hours = f"audiences.tags={kept_seconds / 3_600}"
        kept = opened.enter_context(serving(folders[0], environment={"PENSTOCK_KEPT_HOURS": hours}))
        ever = opened.enter_context(serving(folders[1]))
        requests = opened.enter_context(framed("single"))
        for server in (kept, ever):
            open_loop(server.port, requests, min(10.0, length), RATE)
        began = time.monotonic()
        pairs = []
        for turn in range(rounds):
            order = (kept, ever) if turn % 2 == 0 else (ever, kept)
            found = {server.port: _round(server, requests, length, began) for server in order}
            pairs.append((found[kept.port], found[ever.port]))
            _tell(*pairs[-1])
        start = _start(kept)
    return _rows(pairs, kept_seconds, start)


def _round(server: Server, requests: Path, seconds: float, began: float) -> _Round:
    found = open_loop(server.port, requests, seconds, RATE)
    p99 = statistics.quantiles(found["latencies_ms"], n=100)[-1]
    return _Round(time.monotonic() - began, p99, found["per_second"], _bytes(server))


def _bytes(server: Server) -> int:
    """As every process of this machine would find them."""
    files = [path for name in _FILES for path in server.folder.rglob(name)]
    return sum(path.stat().st_size for path in files)


def _start(server: Server) -> int:
    start: int = server.get("/api/pipeline")["topics"][0]["start"]
    return start


def _rows(pairs: list[tuple[_Round, _Round]], kept_seconds: float, start: int) -> list[Row]:
    trimmed, ever = zip(*pairs, strict=True)
    ratios = sorted(one.p99_ms / other.p99_ms for one, other in pairs)
    ratio, taken = statistics.median(ratios), min(one.taken for one in (*trimmed, *ever))
    what = f"trimming at {RATE:,} tags/s, {kept_seconds:.0f} s kept"
    # Twice: the table's last block is held for a moment, and a round of the other is no traffic.
    full = [one.bytes for one in trimmed if one.at > 2 * kept_seconds] or [trimmed[-1].bytes]
    flat = max(full) / full[0]
    curve = ", ".join(f"{one.at:.0f} s: {one.bytes / 1e6:.0f}" for one in trimmed)
    return [
        Row(
            f"{what}: ingest",
            f"p99 {statistics.median(one.p99_ms for one in ever):.2f} ms without, "
            f"{statistics.median(one.p99_ms for one in trimmed):.2f} ms with it: {ratio:.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}); {taken:,.0f}/s taken",
            "within 20 %",
            ratio <= 1.2 and taken >= _TAKEN_MIN,
        ),
        Row(
            f"{what}: disk",
            f"{full[0] / 1e6:.0f} MB, then at most {flat:.2f} times that; "
            f"{ever[-1].bytes / 1e6:.0f} MB without; {start:,} records trimmed; MB by time: "
            f"{curve}",
            "flat",
            flat <= _FLAT and start > 0,
        ),
    ]


def _tell(kept: _Round, ever: _Round) -> None:
    print(
        f"after {kept.at:.0f} s: p99 {kept.p99_ms:.2f} ms, {kept.bytes / 1e6:.0f} MB with it; "
        f"{ever.p99_ms:.2f} ms, {ever.bytes / 1e6:.0f} MB without",
        file=sys.stderr,
        flush=True,
    )


def main(seconds: float, kept_seconds: float) -> None:
    for row in measured(seconds, kept_seconds):
        print(f"{row.what}\n  {row.measured}\n  {row.target}: {'met' if row.met else 'MISSED'}")


if __name__ == "__main__":
    plan = PLANS["quick"]
    given = [float(word) for word in sys.argv[1:]]
    main(*(given or [plan.trimming_seconds, plan.trimming_kept_seconds]))
