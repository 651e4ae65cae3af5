"""A fold that says, sets timers and wants jobs on brokers and Redis; and a process that carries it
until it is killed where it was told to be.

Every event names itself, so that whoever reads the log knows of each how often it is there.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import msgspec

from penstock.core.clock import SystemClock
from penstock.core.events import Event
from penstock.core.log import Append, Appender, Done, Follow, Log
from penstock.core.log.kafka.follow import KafkaFollower
from penstock.core.projection import Done as JobDone
from penstock.core.projection import Due, Elapsed, Failed, Fold, Job, Record, Step, Topic
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.rebuild import Rebuild
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import Stores, sink
from penstock.core.projection.workers import Workers
from penstock.core.settings import Settings
from penstock.core.state.redis import RedisState
from support.lines import Lines
from support.logs import contents, submit

PARTITIONS = 3
PURSES = [f"purse{n}" for n in range(12)]
_BLOCK = 12
_EVERY_TIMER, _EVERY_JOB = 3, 4


class Put(Event, frozen=True, array_like=True, gc=False, tag="put/1"):
    purse: str
    n: int


class Sent(Event, frozen=True, array_like=True, gc=False, tag="sent/1"):
    """Returned by a job, to another purse than its own."""

    purse: str
    what: str


class Told(Event, frozen=True, array_like=True, gc=False, tag="told/1"):
    purse: str
    what: str


class Send(msgspec.Struct, frozen=True):
    purse: str
    n: int


class Purse(msgspec.Struct, frozen=True, array_like=True):
    put: int = 0
    rung: int = 0
    done: int = 0
    sent: int = 0


def _next(purse: str) -> str:
    return PURSES[(PURSES.index(purse) + 1) % len(PURSES)]


async def _run(send: Send, reach: Any) -> Sequence[Event]:
    del reach
    return [Sent(_next(send.purse), f"sent {send.purse} {send.n}")]


def step(purse: Purse, record: Record[Any]) -> Step[Purse]:
    match event := record.event:
        case Put(name, n):
            due = []
            if n % _EVERY_TIMER == 0:
                due.append(Due(f"rings {n}", record.at_ms + 1))
            if n % _EVERY_JOB == 0:
                due.append(Due(f"does {n}", record.at_ms, Send(name, n)))
            says = [Told(name, f"put {name} {n}"), Told(_next(name), f"of {name} {n}")]
            return Step(msgspec.structs.replace(purse, put=purse.put + 1), says, due)
        case Elapsed():
            name = event.key.decode()
            after = msgspec.structs.replace(purse, rung=purse.rung + 1)
            return Step(after, [Told(name, f"{event.name} {name}")])
        case JobDone():
            name = event.key.decode()
            after = msgspec.structs.replace(purse, done=purse.done + 1)
            return Step(after, [Told(name, f"done {event.name} {name}")])
        case Sent(name, what):
            after = msgspec.structs.replace(purse, sent=purse.sent + 1)
            return Step(after, [Told(name, what)])
    raise ValueError("it is none of these")


def wanted(puts: int) -> Counter[str]:
    """All that is to be told, of so many puts into each purse."""
    told: Counter[str] = Counter()
    for name in PURSES:
        for n in range(puts):
            told.update([f"put {name} {n}", f"of {name} {n}"])
            if n % _EVERY_TIMER == 0:
                told[f"rings {n} {name}"] += 1
            if n % _EVERY_JOB == 0:
                told.update([f"done does {n} {name}", f"sent {name} {n}"])
    return told


def fold(name: str) -> Fold[Any, Purse]:
    key = lambda event: event.purse.encode()  # noqa: E731 - as topics are declared
    topic: Topic[Any] = Topic(f"{name}.in", (Put, Sent, Elapsed, JobDone, Failed), key=key)
    out: Topic[Any] = Topic(f"{name}.out", (Told,), key=key)
    send: Job[Send] = Job(name=f"{name}.send", work=Send, run=_run)
    return Fold(
        space=name, topic=topic, state=Purse, step=step, emits=(out,), jobs=(send,),
        due_max=1 << 20,  # whoever is always killed has much waiting
        flush=Flush(wait_seconds=0.0, block_records=_BLOCK),
    )  # fmt: skip


class Kill(NamedTuple):
    """Where a process ends."""

    kind: str
    """`before` or `behind` a write, when it has `said` something that is on its way, when a job has
    its `result`, at `any` moment; or `never`, when there is nothing more to do.
    """
    at: int
    """At which of them; or after how many milliseconds."""


class _Count:
    def __init__(self, kill: Kill) -> None:
        self._kill = kill
        self._left = kill.at

    def passed(self, kind: str) -> None:
        if kind == self._kill.kind:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _State(RedisState):
    count: _Count

    def apply(self, *given: Any, **named: Any) -> None:
        self.count.passed("before")
        super().apply(*given, **named)
        self.count.passed("behind")


class _Log:
    """Where a fold appends."""

    keyed = True

    def __init__(self, log: Appender, count: _Count) -> None:
        self._log = log
        self._count = count

    def partitions(self, topic: str) -> int:
        return self._log.partitions(topic)

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        self._log.submit(appends, done)
        self._count.passed("said")


class Carrier:
    """One process, which takes every partition for its own."""

    def __init__(self, settings: Settings, name: str, kill: Kill) -> None:
        self.fold, self.lines, self.clock = fold(name), Lines(), SystemClock()
        self._closing = ExitStack()
        topics = (self.fold.topic.name, self.fold.emits[0].name)
        self.log = KafkaFollower(settings, topics)
        self._closing.callback(self.log.close)
        self.state = _State(settings.state_url)
        self._closing.callback(self.state.close)
        count = self.state.count = _Count(kill)
        self.workers = Workers(self.lines.logger)
        reach: Any = object()
        self.workers.start(reach)
        self._closing.callback(self.workers.close, 0.0)
        letters = DeadLetters(self.state)
        log: Any = _Log(self.log.appender(self.clock), count)
        self.stores = Stores(None, self.state, letters, self.clock, log=log, workers=self.workers)
        inner = FoldSink(self.fold, self.stores)
        inner.stir = lambda: count.passed("result")
        self.cursors = [
            FoldCursor(self.fold, inner, self.log, self.clock, self.lines.logger, partition=p)
            for p in range(PARTITIONS)
        ]

    def carry(self, seconds: float) -> bool:
        """Until nothing is due any more; False when the time is up before."""
        deadline = time.monotonic() + seconds
        for cursor in self.cursors:
            cursor.begin()
        with closing(self.log.reader()) as reader:
            while time.monotonic() < deadline:
                for cursor in self.cursors:
                    if cursor.due(0.0) <= 0:
                        cursor.advance(reader)
                if self.done():
                    return True
                time.sleep(0.001)
        return False

    def done(self) -> bool:
        """Nothing is left to read, and nothing waits."""
        if any(cursor.failures or cursor.behind() > 0 for cursor in self.cursors):
            return False
        return self.workers.idle and not any(self._waits(kind) for kind in (b"j", b"t"))

    def left(self) -> str:
        """What is not done, for whoever waits in vain."""
        places = [
            (c.partition, c.state, c.position, c.behind(), c.last_error) for c in self.cursors
        ]
        waits = [kind for kind in (b"j", b"t") if self._waits(kind)]
        return f"{places}, idle {self.workers.idle}, waits {waits}"

    def _waits(self, kind: bytes) -> bool:
        """Whether any job or timer does."""
        [found] = self.state.first(self.fold.space, [b""], 1, kind)
        return bool(found) and found[0][0][:1] == kind

    def close(self) -> None:
        self._closing.close()


def carry(settings: dict[str, Any], name: str, kill: Kill, seconds: float) -> None:
    """What a process does that is to be killed."""
    if kill.kind == "any":
        signal.setitimer(signal.ITIMER_REAL, kill.at / 1000)
    with closing(Carrier(Settings(**settings), name, kill)) as carrier:
        carrier.carry(seconds)


def put(log: Log, name: str, puts: range) -> None:
    """So many into each purse, in turn."""
    topic = fold(name).topic
    events = [Put(purse, n) for n in puts for purse in PURSES]
    payloads = list(map(topic.codec().encode, events))
    submit(log, Append(topic.name, payloads, [event.purse.encode() for event in events]))


def told(log: Follow, topic: Topic[Any]) -> Counter[str]:
    read = topic.codec().decode
    found = [contents(log, topic.name, p) for p in range(log.partitions(topic.name))]
    return Counter(read(payload).what for of in found for payload in of)


def differences(carrier: Carrier) -> list[str]:
    """Of the fold made again: states, and what it would have said."""
    live = Consumer(
        carrier.fold, sink(carrier.fold, carrier.stores), carrier.log, carrier.clock,
        carrier.lines.logger,
    )  # fmt: skip
    work = Rebuild(live, carrier.stores, carrier.log, carrier.clock, carrier.lines.logger)
    found: list[str] = work.run("", lambda _done, _total: None, swap=False).differences
    return found
