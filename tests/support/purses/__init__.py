"""A small application of the tests' own that decides: purses, and what may be taken out of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from penstock.core.edge import Known, Received, Reply, Response
from penstock.core.events import Event
from penstock.core.interface import Answer, Interface, Parameter
from penstock.core.manifest import Context, Ingest, Manifest, Route
from penstock.core.projection import Fold, Record, Step, Topic
from penstock.core.projection.flush import Flush


class Moved(Event, frozen=True, array_like=True, gc=False, tag="moved/1"):
    """Somebody puts something into a purse, or wants to take it out."""

    purse: str
    cents: int
    trick: str = ""
    """What the step is to do besides; see `TRICKS`."""


class Decided(Event, frozen=True, array_like=True, gc=False, tag="decided/1"):
    purse: str
    number: int
    """Of the record that it was decided on."""
    left: int
    taken: bool


class Emptied(Event, frozen=True, array_like=True, gc=False, tag="emptied/1"):
    purse: str
    number: int


class Foreign(Event, frozen=True, array_like=True, gc=False, tag="foreign/1"):
    """Of no topic of ours."""


class Purse(msgspec.Struct, frozen=True, array_like=True):
    cents: int = 0
    records: int = 0
    seen: Sequence[int] = ()
    """Comes back as a list: what a step hears must not depend on where a block was cut."""
    padding: bytes = b""


MOVES: Topic[Moved] = Topic("tests.moves", (Moved,), key=lambda event: event.purse.encode())
DECISIONS: Topic[Decided] = Topic("tests.decisions", (Decided,), key=lambda e: e.purse.encode())
EMPTIED: Topic[Emptied] = Topic("tests.emptied", (Emptied,))
TRICKS = ("raise", "spoil", "swell", "flood", "burst", "stray", "nothing", "other", "bad")
"""What a step may not do; each makes a dead letter and nothing else."""


def step(purse: Purse, record: Record[Moved]) -> Step[Purse]:
    """Take out what is there, never more; forget a purse with nothing in it."""
    event, number = record.event, record.number
    if event.trick:
        tricked: Step[Purse] = _tricked(purse, record)
        return tricked
    left = purse.cents + event.cents
    if left < 0:
        after = msgspec.structs.replace(purse, records=purse.records + 1)
        return Step(after, [Decided(event.purse, number, purse.cents, taken=False)])
    if left == 0:
        made = [Decided(event.purse, number, 0, taken=True), Emptied(event.purse, number)]
        return Step(None, made)
    seen = (*purse.seen, int(type(purse.seen) is list), number)[-6:]
    after = Purse(left, purse.records + 1, seen)
    taken = event.cents < 0
    return Step(after, [Decided(event.purse, number, left, taken=True)] if taken else ())


def _tricked(purse: Purse, record: Record[Moved]) -> Any:
    event, number = record.event, record.number
    match event.trick:
        case "spoil":
            if isinstance(purse.seen, list):
                purse.seen.append(-1)  # not pure: what it changed in place must not stay
            raise ValueError("spoilt")
        case "swell":
            return Step(msgspec.structs.replace(purse, padding=bytes(1 << 20)))
        case "flood":
            return Step(purse, [Emptied(event.purse, n) for n in range(10_000)])
        case "burst":
            return Step(purse, [Emptied("x" * 600_000, n) for n in range(2)])
        case "stray":
            return Step(purse, [Emptied(event.purse, number), Foreign()])
        case "nothing":
            return None
        case "other":
            return (Foreign(), ())
        case "bad":
            return Step(msgspec.structs.replace(purse, cents="many"))
    raise ValueError("cannot bear this")


purses: Fold[Moved, Purse] = Fold(
    space="tests.purses",
    topic=MOVES,
    state=Purse,
    step=step,
    emits=(DECISIONS, EMPTIED),
    flush=Flush(wait_seconds=0.0, block_records=40),
)


def renamed(name: str) -> Fold[Moved, Purse]:
    """The same under names of its own, for a test that shares its stores."""
    moves = replace(MOVES, name=f"{MOVES.name}.{name}")
    emits = [replace(topic, name=f"{topic.name}.{name}") for topic in purses.emits]
    return replace(purses, space=f"tests.{name}", topic=moves, emits=tuple(emits))


class Settings(msgspec.Struct, frozen=True):
    """It has none."""


def move(received: Received, known: Known[Settings, None]) -> Reply:
    del known
    name, cents = received.body.decode().split()
    return Reply((Moved(name, int(cents)),))


async def show(received: Received, context: Context) -> Response:
    await context.caught_up(purses.name, 10.0)
    purse = await context.get(purses, received.parameters[0].encode())
    return Response(200, str(purse.cents).encode())


manifest = Manifest(
    name="tests",
    summary="Purses.",
    settings=Settings,
    topics=(MOVES, DECISIONS, EMPTIED),
    ingest=(
        Ingest(
            operation="tests.move",
            paths=("/moves",),
            emits=(MOVES,),
            handle=move,
            body_bytes_max=100,
            summary="Put in, or take out.",
            interface=Interface(answers=(Answer(status=204, meaning="Done."),)),
        ),
    ),
    projections=(purses,),
    routes=(
        Route(
            operation="tests.purse",
            methods=("GET",),
            paths=("/purses/{name}",),
            handle=show,
            body_bytes_max=0,
            summary="What is in a purse.",
            interface=Interface(
                parameters=(Parameter(name="name", place="path", shape=str, meaning="Its name."),),
                answers=(Answer(status=200, meaning="Cents."),),
            ),
        ),
    ),
    package=__package__,
)
