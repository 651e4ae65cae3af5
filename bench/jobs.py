"""Jobs that do nothing, and one project's single job behind the flood of another.

`python -m bench.jobs [jobs]`. A fold runs as it does in a server; what is counted is jobs whose end
was heard, by the clock and in processor time of the whole process.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from bench.timers import told
from penstock.core.clock import SystemClock, careful
from penstock.core.events import Event
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Done, Due, Failed, Fold, Job, Record, Step, Topic
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.runner import Consumer
from penstock.core.projection.stores import Stores
from penstock.core.projection.workers import Workers
from penstock.core.projects import DEFAULT_PROJECT
from penstock.core.reach import Reach
from penstock.core.reach.http import Client
from penstock.core.settings import Settings
from penstock.core.state.rocksdb import RocksState
from penstock.core.telemetry import logger

JOBS = 20_000
FLOOD = 100_000
MUST_REACH = 2_000
DELAY_SECONDS_MAX = 2.0
_PATIENCE_SECONDS = 300
_PORTION = 10_000


class Asked(Event, frozen=True, array_like=True, gc=False, tag="asked/1"):
    key: str


class Nothing(msgspec.Struct, frozen=True):
    key: str


class Told(msgspec.Struct, frozen=True, array_like=True, gc=False):
    done: int = 0


TOPIC: Topic[Any] = Topic("bench.errands", (Asked, Done, Failed), key=lambda e: e.key.encode())


async def run(work: Nothing, reach: Any) -> Sequence[Event]:
    del work, reach
    return ()


def step(state: Told, record: Record[Any]) -> Step[Told]:
    event = record.event
    if isinstance(event, Asked):
        return Step(state, due=(Due("do", 0, Nothing(event.key)),))
    return Step(Told(state.done + 1))


fold: Fold[Any, Told] = Fold(
    space="bench.errands",
    topic=TOPIC,
    state=Told,
    step=step,
    jobs=(Job(name="bench.nothing", work=Nothing, run=run, concurrency=64),),
    flush=Flush(wait_seconds=0.0, block_records=10_000),
)


class Server:
    def __init__(self, folder: Path) -> None:
        clock, lines = careful(SystemClock()), logger("error")
        self.log, self.state = (
            SqliteLog(folder / "log.db", clock, Limits()),
            RocksState(folder / "s"),
        )
        self.workers = Workers(lines)
        self.client = Client(Settings(), clock)
        self.workers.start(Reach(self.client))
        stores = Stores(
            None, self.state, DeadLetters(self.state), clock, log=self.log, workers=self.workers
        )
        self.consumer = Consumer(fold, FoldSink(fold, stores), self.log, clock, lines)
        self.consumer.start()

    def ask(self, keys: Sequence[str], project: str = DEFAULT_PROJECT) -> None:
        encode = TOPIC.codec().of(project)
        for first in range(0, len(keys), _PORTION):
            made = [encode(Asked(key)) for key in keys[first : first + _PORTION]]
            stored(self.log, [Append(TOPIC.name, made)])

    def done(self, key: str) -> bool:
        value = self.state.get_many(fold.space, [key.encode()])[0]
        return value is not None and fold.read(value).done > 0

    def wait(self, keys: Sequence[str]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not all(self.done(key) for key in keys):
            assert time.monotonic() < deadline, "they never end"
            time.sleep(0.01)

    def close(self) -> None:
        self.workers.close()
        self.consumer.stop()
        self.client.close()
        self.state.close()
        self.log.close()


def rate(folder: Path, jobs: int) -> tuple[float, float]:
    """Per second, by the clock and of processor time."""
    with closing(Server(folder)) as server:
        cpu, wall = time.process_time(), time.perf_counter()
        keys = [f"key-{n}" for n in range(jobs)]
        server.ask(keys)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while server.log.end(TOPIC.name, 0) < 2 * jobs and time.monotonic() < deadline:
            time.sleep(0.02)
        server.wait(keys[-1:])
        return jobs / (time.perf_counter() - wall), jobs / (time.process_time() - cpu)


def delay(folder: Path, flood: int) -> float:
    """How long another project's single job takes while the flood is worked off."""
    with closing(Server(folder)) as server:
        server.ask([f"flood-{n}" for n in range(flood)], "one")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while server.log.end(TOPIC.name, 0) < flood + 1_000 and time.monotonic() < deadline:
            time.sleep(0.02)  # it is stepped, and jobs are ending
        worst = 0.0
        for n in range(5):
            began = time.perf_counter()
            server.ask([f"single-{n}"], "two")
            server.wait([f"single-{n}"])
            worst = max(worst, time.perf_counter() - began)
        left = 2 * flood - server.log.end(TOPIC.name, 0)
        print(f"({left:,} of the flood were still waiting)")
        return worst


def main(jobs: int = JOBS, flood: int = FLOOD) -> None:
    with tempfile.TemporaryDirectory() as at:
        (Path(at) / "a").mkdir()
        (Path(at) / "b").mkdir()
        by_clock, by_cpu = rate(Path(at) / "a", jobs)
        print(told("jobs that do nothing, by the clock", by_clock, MUST_REACH, "/s"))
        print(told("the same, of processor time", by_cpu, MUST_REACH, "/s"))
        worst = delay(Path(at) / "b", flood)
        print(told(f"a single job beside {flood:,}, worst of 5", worst, DELAY_SECONDS_MAX, "s"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
