"""An application that decides: of each order it says that it came, its timer, and its job."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.events import Event
from penstock.core.manifest import Manifest
from penstock.core.projection import Done, Due, Elapsed, Failed, Fold, Job, Record, Step, Topic
from penstock.core.projection.flush import Flush
from penstock.core.projection.job import Retry
from support.purses import Settings

_notes: dict[str, int] = {}
"""Files that have a byte for each of what they are called by: they outlive whoever is killed."""


@contextmanager
def noting(folder: Path) -> Iterator[None]:
    for name in ("attempts", "again"):
        _notes[name] = os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    yield
    while _notes:
        os.close(_notes.popitem()[1])


def note(name: str, count: int) -> None:
    os.write(_notes[name], b"." * count)


class Ordered(Event, frozen=True, array_like=True, gc=False, tag="ordered/1"):
    key: str
    number: int


class Sent(Event, frozen=True, array_like=True, gc=False, tag="sent/1"):
    """What the job of an order returns."""

    key: str
    number: int


class Said(Event, frozen=True, array_like=True, gc=False, tag="said/1"):
    number: int
    what: str


class Send(msgspec.Struct, frozen=True):
    key: str
    number: int


class Heard(msgspec.Struct, frozen=True):
    """How often of each."""

    ordered: int = 0
    elapsed: int = 0
    sent: int = 0
    done: int = 0


OUTPUTS = Heard.__struct_fields__


def step(heard: Heard, record: Record[Any]) -> Step[Heard]:
    """Say what was heard; of an order, let its timer and its job come."""
    event, due = record.event, list[Due]()
    match event:
        case Ordered(key, number):
            what = "ordered"
            at_ms = record.at_ms + number % 20
            due = [Due(f"timer {number}", at_ms), Due(f"job {number}", at_ms, Send(key, number))]
        case Sent(_, number):
            what = "sent"
        case Elapsed() | Done():
            what, number = type(event).__name__.lower(), int(event.name.split()[1])
        case _:
            raise ValueError("nothing is ever given up")
    after = msgspec.structs.replace(heard, **{what: getattr(heard, what) + 1})
    return Step(after, [Said(number, what)], due)


async def _send(work: Send, reach: object) -> Sequence[Event]:
    """Take a moment, in which one may be killed."""
    del reach
    note("attempts", 1)
    await asyncio.sleep(work.number % 5 / 1000)
    return [Sent(work.key, work.number)]


ORDERS: Topic[Any] = Topic(
    "gate.orders", (Ordered, Sent, Elapsed, Done, Failed), key=lambda event: event.key.encode()
)
SAID: Topic[Said] = Topic("gate.said", (Said,))
_often = Retry(1_000_000, 0.001, 0.01)
"""However many of its processes are killed, no job is given up for it."""
FOLD: Fold[Any, Heard] = Fold(
    space="gate.heard",
    topic=ORDERS,
    state=Heard,
    step=step,
    emits=(SAID,),
    jobs=(Job(name="gate.send", work=Send, run=_send, retry=_often),),
    flush=Flush(wait_seconds=0.0, block_records=40),
)
MANIFEST = Manifest(
    name="gate",
    summary="Orders.",
    settings=Settings,
    topics=(ORDERS, SAID),
    projections=(FOLD,),
    package="support.purses",
)
