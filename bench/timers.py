"""A million timers of a fold: what waiting costs, how late they come, and a start with them.

`python -m bench.timers [timers]`. Each part runs in a process of its own, so that memory is its
own too. How many are fired is counted in processor time and by the clock, as in `bench.fold`.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.clock import SystemClock, careful
from penstock.core.events import Event
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Due, Elapsed, Fold, Record, Step, Topic
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.runner import Consumer
from penstock.core.projection.stores import Stores
from penstock.core.state.rocksdb import RocksState
from penstock.core.telemetry import logger

TIMERS = 1_000_000
BLOCK = 10_000
SPREAD_SECONDS = 10
A_SECOND = 5_000
"""Timers that are to come in each of those seconds."""
FAR_MS = 253_402_300_799_000
MEGABYTES_MAX = 60
LATE_SECONDS_MAX = 1.0
FIRED_MUST_REACH = 10_000
RESTART_SECONDS_MAX = 5.0


class Held(Event, frozen=True, array_like=True, gc=False, tag="held/1"):
    key: str
    until_ms: int


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    records: int = 0


TOPIC: Topic[Any] = Topic("bench.holds", (Held, Elapsed), key=lambda event: event.key.encode())


def step(hold: Hold, record: Record[Held | Elapsed]) -> Step[Hold]:
    event, after = record.event, Hold(hold.records + 1)
    if isinstance(event, Elapsed) or not event.until_ms:
        return Step(after)
    return Step(after, due=(Due("hold", event.until_ms),))


fold: Fold[Any, Hold] = Fold(
    space="bench.holds",
    topic=TOPIC,
    state=Hold,
    step=step,
    flush=Flush(wait_seconds=0.0, block_records=BLOCK),
)


class Opened:
    """One process's stores, and the fold in them."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.clock = careful(SystemClock())
        folder.mkdir(exist_ok=True)
        began = time.perf_counter()
        self.log = opened.enter_context(closing(SqliteLog(folder / "log.db", self.clock, Limits())))
        self.state = opened.enter_context(closing(RocksState(folder / "state")))
        self.stores = Stores(None, self.state, DeadLetters(self.state), self.clock, log=self.log)
        self.cursor = FoldCursor(
            fold, FoldSink(fold, self.stores), self.log, self.clock, logger("error")
        )
        self.reader = opened.enter_context(closing(self.log.reader()))
        self.cursor.begin()
        self.cursor.advance(self.reader)
        self.cursor.due(0.0)
        self.opened_seconds = time.perf_counter() - began

    def hold(self, count: int, until_ms: int) -> None:
        encode = TOPIC.codec().encode
        for first in range(0, count, BLOCK):
            numbers = range(first, min(first + BLOCK, count))
            made = [encode(Held(f"key-{n}", until_ms and until_ms + n)) for n in numbers]
            stored(self.log, [Append(TOPIC.name, made)])
            self.cursor.advance(self.reader)

    def settle(self) -> None:
        while self.cursor.due(0.0) <= 0:
            self.cursor.advance(self.reader)


def load(room: Opened, count: int, until_ms: int) -> dict[str, float]:
    room.hold(count, until_ms)
    return {"megabytes": megabytes()}


def start(room: Opened, count: int) -> dict[str, float]:
    del count
    return {"seconds": room.opened_seconds, "megabytes": megabytes()}


def fire(room: Opened, count: int) -> dict[str, float]:
    """All are due at once: they were set in a moment that is past by now."""
    room.hold(count, 1)
    cpu, wall = time.process_time(), time.perf_counter()
    room.settle()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert room.log.end(TOPIC.name, 0) == 2 * count
    return {"per_cpu_second": count / cpu, "per_second": count / wall}


def late(room: Opened, count: int) -> dict[str, float]:
    """Beside all that wait, some come each second to a fold that runs as it does in a server."""
    del count
    encode, number = TOPIC.codec().encode, A_SECOND * SPREAD_SECONDS
    room.settle()
    consumer = Consumer(fold, room.cursor.sink, room.log, room.clock, logger("error"))
    begin_ms = room.clock.now_ms() + 3_000
    made = [encode(Held(f"late-{n}", begin_ms + n * 1000 // A_SECOND)) for n in range(number)]
    first = room.log.end(TOPIC.name, 0)
    consumer.start()
    stored(room.log, [Append(TOPIC.name, made)])
    deadline = time.monotonic() + 120
    while room.log.end(TOPIC.name, 0) < first + 2 * number and time.monotonic() < deadline:
        time.sleep(0.1)
    consumer.stop()
    batch = room.reader.read(TOPIC.name, 0, first, 2 * number)
    decode = TOPIC.codec().decode
    waits = [
        (at_ms - event.at_ms) / 1000
        for event, at_ms in zip(map(decode, batch.payloads), batch.times_ms, strict=True)
        if isinstance(event, Elapsed)
    ]
    assert len(waits) == number
    return {"p99": sorted(waits)[number * 99 // 100], "max": max(waits)}


def megabytes() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


PARTS: dict[str, Any] = {
    "plain": lambda room, count: load(room, count, 0),
    "waiting": lambda room, count: load(room, count, FAR_MS),
    "start": start,
    "fire": fire,
    "late": late,
}


def part(name: str, folder: str, count: int) -> None:
    with ExitStack() as opened:
        print(json.dumps(PARTS[name](Opened(Path(folder), opened), count)))


def run(name: str, folder: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.timers", name, folder, str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=900)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(what: str, figure: float, bound: float, unit: str) -> str:
    reached = figure >= bound if "/s" in unit else figure <= bound
    verdict = "reached" if reached else "MISSED"
    return f"{what}: {figure:,.2f} {unit}; {bound:,} {verdict}"


def main(count: int = TIMERS) -> None:
    with tempfile.TemporaryDirectory() as at:
        plain, waiting = run("plain", f"{at}/plain", count), run("waiting", f"{at}/timers", count)
        more = waiting["megabytes"] - plain["megabytes"]
        print(told(f"{count:,} waiting, more memory than keys alone", more, MEGABYTES_MAX, "MB"))
        idle, again = run("start", f"{at}/plain", count), run("start", f"{at}/timers", count)
        more = again["megabytes"] - idle["megabytes"]
        print(told("the same after a restart", more, MEGABYTES_MAX, "MB"))
        print(told("restart", again["seconds"], RESTART_SECONDS_MAX, "s"))
        found = run("late", f"{at}/timers", count)
        print(told(f"late beside them, {A_SECOND:,}/s, p99", found["p99"], LATE_SECONDS_MAX, "s"))
        found = run("fire", f"{at}/fire", count)
        print(told("fired, by the clock", found["per_second"], FIRED_MUST_REACH, "/s"))
        print(told("fired, of processor time", found["per_cpu_second"], FIRED_MUST_REACH, "/s"))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments and arguments[0] in PARTS:
        part(arguments[0], arguments[1], int(arguments[2]))
    else:
        main(*map(int, arguments))
