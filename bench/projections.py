"""Eight projections of one topic in one process: read and decoded together, and each for itself.

`python -m bench.projections [records]`. Each takes an eighth of the events, as the indexes of a
product's events do. What counts is the processor time of the whole process: beside others on the
machine, the clock on the wall says nothing.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench.rows import Row, verdict
from penstock.core.clock import SystemClock
from penstock.core.events import Event
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Index, Record, Topic
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.flush import Flush
from penstock.core.projection.reading import readings
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import IndexSink
from penstock.core.projection.stores import Stores
from penstock.core.state import Entry
from penstock.core.state.rocksdb import RocksState
from penstock.core.telemetry import logger

RECORDS = 200_000
PROJECTIONS = 8
ROUNDS = 3
MUST_REACH = 3.0
_BLOCK = 10_000
_PATIENCE_SECONDS = 300.0


class Seen(Event, frozen=True, array_like=True, gc=False, tag="seen/1"):
    """What a product's collector takes of a page view."""

    kind: int
    visitor: str
    session: str
    user: str
    url: str
    title: str
    referrer: str
    source: str
    medium: str
    campaign: str
    browser: str
    system: str
    device: str
    country: str
    city: str
    language: str
    width: int
    height: int
    milliseconds: int
    properties: dict[str, str]


SEEN: Topic[Seen] = Topic("bench.seen", (Seen,), key=lambda event: event.visitor.encode())


def _index(kind: int) -> Index[Seen]:
    def entries(records: Sequence[Record[Seen]]) -> list[Entry]:
        return [
            Entry(record.event.visitor.encode(), b"%020d" % record.number, b"")
            for record in records
            if record.event.kind == kind
        ]

    return Index(
        space=f"bench.kind_{kind}",
        topic=SEEN,
        entries=entries,
        flush=Flush(wait_seconds=0.0, block_records=_BLOCK),
    )


INDEXES = [_index(kind) for kind in range(PROJECTIONS)]


def rate(records: int, *, together: bool) -> float:
    """Records per second of processor time, until all eight have all of them."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        log = SqliteLog(Path(folder) / "log.db", clock, Limits())
        state = RocksState(Path(folder) / "state")
        with closing(state), closing(log):
            encode = SEEN.codec().encode
            for first in range(0, records, _BLOCK):
                numbers = range(first, min(first + _BLOCK, records))
                stored(log, [Append(SEEN.name, [encode(seen(n)) for n in numbers])])
            stores = Stores(None, state, DeadLetters(state), clock, log=log)
            shared = readings(log, INDEXES, stores.codec)[SEEN.name] if together else None
            consumers = [
                Consumer(index, IndexSink(index, stores), log, clock, logger(), reading=shared)
                for index in INDEXES
            ]
            for index in INDEXES:  # a space is made with its first entry, which takes a while
                state.put(index.space, Entry(b"first", b"", b""))
            began, deadline = time.process_time(), time.monotonic() + _PATIENCE_SECONDS
            for consumer in consumers:
                consumer.start()
            while any(c.cursors[0].position < records for c in consumers):
                if time.monotonic() > deadline:
                    raise TimeoutError("the projections do not come to the end of the log")
                time.sleep(0.01)
            spent = time.process_time() - began
            for consumer in consumers:
                consumer.stop()
    return records / spent


def seen(number: int) -> Seen:
    return Seen(
        number % PROJECTIONS, f"visitor-{number * 7919 % 50_000}", f"session-{number // 9}", "",
        f"https://shop.example/page/{number % 997}", f"Page {number % 997}",
        "https://search.example/", "search", "organic", "", "Firefox 130", "Linux", "desktop",
        "PL", "Warszawa", "pl-PL", 1920, 1080, number % 5_000, {"plan": "free", "theme": "dark"},
    )  # fmt: skip


def rows(records: int = RECORDS) -> list[Row]:
    apart = max(rate(records, together=False) for _ in range(ROUNDS))
    together = max(rate(records, together=True) for _ in range(ROUNDS))
    target = f"at least {MUST_REACH} of them apart"
    return [
        Row(
            f"{PROJECTIONS} projections of one topic",
            f"{together:,.0f} records per second of processor time, {together / apart:.1f} of "
            f"{apart:,.0f} apart",
            target,
            verdict(target, holds=together >= MUST_REACH * apart),
        )
    ]


if __name__ == "__main__":
    for row in rows(*map(int, sys.argv[1:])):
        print(f"{row.what}: {row.measured} ({row.target})")
