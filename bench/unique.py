"""What it costs to leave out records whose id belongs to an earlier one.

`python -m bench.unique [records]`. The same records go into one index with and without; half of the
last run repeat one before. What counts is the processor time of the whole process, per record.
"""

import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import msgspec

from bench.projections import SEEN, Seen, seen
from bench.rows import Row
from penstock.core.clock import SystemClock
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Index, Topic
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.flush import Flush
from penstock.core.projection.repeats import SPACES
from penstock.core.projection.sinks import IndexSink
from penstock.core.projection.stores import Stores
from penstock.core.state import Entry
from penstock.core.state.rocksdb import RocksState
from penstock.core.telemetry import logger

RECORDS = 200_000
ROUNDS = 3
_BLOCK = 10_000


def spent(records: int, *, unique: bool, repeated: bool = False) -> tuple[float, float]:
    """Microseconds of processor time for a record, and bytes of the state for an id."""
    topic: Topic[Seen] = replace(SEEN, unique=(lambda e: e.session.encode()) if unique else None)
    index: Index[Seen] = Index(
        space="bench.counted",
        topic=topic,
        entries=lambda some: [Entry(b"%d" % (one.number // 100), b"", b"1") for one in some],
        flush=Flush(wait_seconds=0.0, block_records=_BLOCK),
    )
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        log = SqliteLog(Path(folder) / "log.db", clock, Limits())
        state = RocksState(Path(folder) / "state")
        with closing(state), closing(log), closing(log.reader()) as reader:
            encode = topic.codec().encode
            for first in range(0, records, _BLOCK):
                block = range(first, min(first + _BLOCK, records))
                ids = (n % (records // 2) if repeated else n for n in block)
                events = [_seen(n, name) for n, name in zip(block, ids, strict=True)]
                stored(log, [Append(topic.name, list(map(encode, events)))])
            stores = Stores(None, state, DeadLetters(state), clock, log=log)
            cursor = Cursor(index, IndexSink(index, stores), log, clock, logger())
            cursor.resume(reader)
            began = time.process_time()
            while cursor.step(reader, _BLOCK):
                pass
            took = time.process_time() - began
            size = state.bytes_of(SPACES + topic.name)
    return took / records * 1e6, size / (records // 2 if repeated else records)


def _seen(number: int, name: int) -> Seen:
    """A page view whose session is an id of 36 characters, as clients choose them."""
    return msgspec.structs.replace(seen(number), session=str(UUID(int=name * 0x9E3779B97F4A7C15)))


def rows(records: int = RECORDS) -> list[Row]:
    without = min(spent(records, unique=False)[0] for _ in range(ROUNDS))
    found = [spent(records, unique=True) for _ in range(ROUNDS)]
    halves = min(spent(records, unique=True, repeated=True)[0] for _ in range(ROUNDS))
    alone, size = min(one for one, _ in found), found[0][1]
    told = (
        f"{without:.1f} µs of processor time for a record without, {alone:.1f} with ids that are "
        f"all different, {halves:.1f} where half are repeats; {size:.0f} bytes for an id"
    )
    return [Row("records unique by an id", told, "", None)]


if __name__ == "__main__":
    for row in rows(*map(int, sys.argv[1:])):
        print(f"{row.what}: {row.measured}")
