"""Steps of a fold on one core: states and position written, events appended and synced.

`python -m bench.fold [steps]`. What counts is the processor time of the whole process, its log's
thread and the engine's included: beside others on the machine, the clock on the wall says nothing.
"""

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from penstock.core.clock import SystemClock
from penstock.core.events import Event
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Fold, Record, Step, Topic
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.stores import Stores
from penstock.core.state.rocksdb import RocksState
from penstock.core.telemetry import logger

STEPS = 500_000
KEYS = 20_000
BLOCK = 10_000
ROUNDS = 3
MUST_REACH = 50_000


class Moved(Event, frozen=True, array_like=True, gc=False, tag="moved/1"):
    purse: str
    cents: int


class Decided(Event, frozen=True, array_like=True, gc=False, tag="decided/1"):
    purse: str
    cents: int
    left: int


class Purse(msgspec.Struct, frozen=True, array_like=True, gc=False):
    cents: int = 0
    records: int = 0


MOVES: Topic[Moved] = Topic("bench.moves", (Moved,), key=lambda event: event.purse.encode())
DECISIONS: Topic[Decided] = Topic("bench.decisions", (Decided,))


def step(purse: Purse, record: Record[Moved]) -> Step[Purse]:
    """Every step changes its state and says one event."""
    event = record.event
    left = purse.cents + event.cents
    return Step(Purse(left, purse.records + 1), (Decided(event.purse, event.cents, left),))


fold: Fold[Moved, Purse] = Fold(
    space="bench.purses",
    topic=MOVES,
    state=Purse,
    step=step,
    emits=(DECISIONS,),
    flush=Flush(wait_seconds=0.0, block_records=BLOCK),
)


class Measured(NamedTuple):
    per_cpu_second: float
    per_second: float


def measure(folder: Path, steps: int) -> Measured:
    clock = SystemClock()
    log, state = SqliteLog(folder / "log.db", clock, Limits()), RocksState(folder / "state")
    with closing(state), closing(log):
        encode = MOVES.codec().encode
        for first in range(0, steps, BLOCK):
            numbers = range(first, min(first + BLOCK, steps))
            made = [encode(Moved(f"purse-{n * 7919 % KEYS}", n % 9 - 2)) for n in numbers]
            stored(log, [Append(MOVES.name, made)])
        stores = Stores(None, state, DeadLetters(state), clock, log=log)
        cursor = Cursor(fold, FoldSink(fold, stores), log, clock, logger())
        with closing(log.reader()) as reader:
            cursor.resume(reader)
            cpu, wall = time.process_time(), time.perf_counter()
            while cursor.step(reader, BLOCK):
                pass
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        assert log.end(DECISIONS.name, 0) == cursor.position == steps
    return Measured(steps / cpu, steps / wall)


def main(steps: int = STEPS) -> None:
    best = Measured(0.0, 0.0)
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            best = max(best, measure(Path(folder), steps))
    verdict = "reached" if best.per_cpu_second >= MUST_REACH else "MISSED"
    print(
        f"{best.per_cpu_second:,.0f} steps per second of processor time, {best.per_second:,.0f} "
        f"by the clock, best of {ROUNDS}; {MUST_REACH:,} {verdict}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
