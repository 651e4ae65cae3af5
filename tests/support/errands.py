"""A fold whose jobs do what their work says, and a bench that waits for them."""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from typing import Any

import msgspec

from penstock.core.events import Event
from penstock.core.log import Append
from penstock.core.projection import Done, Due, Failed, Fold, Job, Record, Step, Topic
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.job import Permanent, Retry
from penstock.core.projection.workers import Workers
from penstock.core.projects import DEFAULT_PROJECT, order_of
from penstock.core.reach import Reach
from support.folded import Bench
from support.logs import ANSWER_SECONDS, submit

_names = count()


class Asked(Event, frozen=True, array_like=True, gc=False, tag="asked/1"):
    key: str
    name: str = "send"
    trick: str = ""
    """What the job does; see `_run`. `none`: it is not wanted any more."""
    at_ms: int = 0


class Sent(Event, frozen=True, array_like=True, gc=False, tag="sent/1"):
    key: str
    what: str


class Errand(msgspec.Struct, frozen=True):
    key: str
    trick: str
    found: str = "it"
    """What was computed."""
    at: int = 0
    """The process that did it."""


_RAISED = {
    "half": ValueError("half \udcff"),
    "half never": Permanent("half \udcff"),
    "wide": ValueError("\u20ac" * 1_000),
}
"""Words that no encoding has, and many that take more than a byte each."""


def say(trick: str) -> None:
    if (error := _RAISED.get(trick)) is not None:
        raise error


def find(work: Errand) -> Errand:
    """What takes long."""
    say(work.trick)
    match work.trick:
        case "raise":
            raise ValueError("there is none")
        case "say never":
            raise Permanent("there never was one")
        case "leave":
            raise SystemExit(1)
        case "die":
            os._exit(9)
        case "fill":
            return replaced(work, str(len(bytes(1 << 40))))
        case "much":
            return replaced(work, "x" * 5_000_000)
        case "compute for ever":
            while True:
                pass
    return replaced(work, "found")


def replaced(work: Errand, found: str) -> Errand:
    return msgspec.structs.replace(work, found=found, at=os.getpid())


class Told(msgspec.Struct, frozen=True, array_like=True):
    of: Sequence[str] = ()
    """What was heard of errands."""


class Stray(Event, frozen=True, array_like=True, gc=False, tag="stray/1"):
    """Of no topic of the fold."""


class Doer:
    """What the jobs have of the world: they note here that they ran, and may be held up."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.by: list[int] = []
        """Processes that computed for them."""
        self.at_once = 0
        self.most = 0
        self.go = threading.Event()
        self.mended = False
        """Whether all do well from now on, as soon as they may go."""


async def _really(work: Errand, reach: Reach) -> Sequence[Event]:
    """Where a platform runs it: it asks for a URL, or says what it is set to."""
    if work.trick.startswith("http"):
        await reach.http.request("GET", work.trick)
        return []
    return [Sent(work.key, str(reach.settings))]


async def _run(work: Errand, reach: Any) -> Sequence[Event]:
    if isinstance(reach, Reach):
        return await _really(work, reach)
    doer: Doer = reach
    doer.ran.append(work.key)
    doer.by.append(work.at)
    doer.at_once += 1
    doer.most = max(doer.most, doer.at_once)
    try:
        say(work.trick)
        match work.trick if not doer.mended else "hold":
            case "fail":
                raise ValueError("nobody answered")
            case "never":
                raise Permanent("nobody lives there")
            case "exit":
                raise SystemExit(1)
            case "hang":
                await asyncio.Event().wait()
            case "hold":
                await asyncio.to_thread(doer.go.wait, ANSWER_SECONDS)
            case "stray":
                return [Stray()]
            case "quiet":
                return []
            case "many":
                await asyncio.to_thread(doer.go.wait, ANSWER_SECONDS)
                return [Sent(work.key, "it"), *(Sent(name, f"of {work.key}") for name in "xyz")]
    finally:
        doer.at_once -= 1
    return [Sent(work.key, "half \udcff" if work.trick == "half said" else work.found)]


def step(told: Told, record: Record[Any]) -> Step[Told]:
    match record.event:
        case Asked(key, name, trick, at_ms):
            wanted = None if trick == "none" else at_ms
            return Step(told, due=[Due(name, wanted, Errand(key, trick))])
        case Sent(_, what):
            return Step(Told([*told.of, what]))
        case Failed() as failed:
            return Step(Told([*told.of, f"failed {failed.attempts}: {failed.reason}"]))
        case Done():
            return Step(Told([*told.of, "done"]))
    raise ValueError("it is none of these")


def fold(**job: Any) -> Fold[Any, Told]:
    """One under a name of its own."""
    name = f"tests.errands{next(_names)}"
    topic: Topic[Any] = Topic(name, (Asked, Sent, Done, Failed), key=lambda e: e.key.encode())
    flush = Flush(wait_seconds=0.0, block_records=40)
    send: Job[Errand] = Job(name="tests.send", work=Errand, run=_run, retry=Retry(3, 10.0, 15.0))
    jobs = (replace(send, **job),)
    return Fold(space=name, topic=topic, state=Told, step=step, jobs=jobs, flush=flush)


class Errands(Bench):
    """A process that has the fold, as often as it is started anew."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.doer = Doer()
        self._started: list[Workers] = []

    def owner(
        self, fold: Fold[Any, Any], workers: Workers | None = None, partition: int = 0
    ) -> FoldCursor:
        """As in a process of its own, if it is given no workers."""
        if workers is None:
            workers = Workers(self.lines.logger)
            reach: Any = self.doer
            workers.start(reach)
            self._started.append(workers)
        self.workers = workers
        sink = FoldSink(fold, self.stores._replace(workers=workers))
        logger = self.lines.logger
        cursor = FoldCursor(fold, sink, self.log, self.clock, logger, partition=partition)
        cursor.begin()
        return cursor

    def ask(self, fold: Fold[Any, Any], *asked: Asked, project: str = DEFAULT_PROJECT) -> None:
        encode = fold.topic.codec().of(project)
        keys = [order_of(project, fold.topic.key(one)) for one in asked] if self.log.keyed else ()
        submit(self.log, Append(fold.topic.name, [encode(one) for one in asked], keys))

    def carry_on(self, cursor: FoldCursor) -> None:
        """All that is due; what is under way goes on."""
        with closing(self.log.reader()) as reader:
            while cursor.due(0.0) <= 0:
                cursor.advance(reader)

    def settle(self, cursor: FoldCursor) -> FoldCursor:
        """Until nothing is due, and nothing under way."""
        stirred, deadline = threading.Event(), time.monotonic() + ANSWER_SECONDS
        cursor.sink.stir = stirred.set
        while True:
            stirred.clear()
            self.clock.seconds += 60  # whatever failed may be tried again
            self.carry_on(cursor)
            if self.workers.idle:
                return cursor
            assert time.monotonic() < deadline, "it never ends"
            stirred.wait(0.01)  # or what has ended already is to be tried again

    def told(self, fold: Fold[Any, Any], key: str = "a") -> list[str]:
        value = self.state.get_many(fold.space, [key.encode()])[0]
        return list(fold.read(value).of) if value else []

    def ended(self, fold: Fold[Any, Any]) -> list[Any]:
        """What the log says of errands that ended."""
        return [e for e in self.events(fold.topic) if isinstance(e, Done | Failed)]

    def close(self) -> None:
        self.doer.go.set()
        for workers in self._started:
            workers.close(0.0)
        super().close()
