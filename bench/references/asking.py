"""Payments out of purses, answered by what a fold decides; all roles in one process.

`python -m bench.references.asking PORT FOLDER`.
"""

import msgspec

from bench.references.hosting import host
from penstock.core.edge import Known, Received, Reply, Response
from penstock.core.events import Event
from penstock.core.interface import Answer, Interface
from penstock.core.manifest import Ask, Ingest, Manifest
from penstock.core.projection import Fold, Record, Step, Topic
from penstock.core.projection.flush import Flush


class Paid(Event, frozen=True, array_like=True, gc=False, tag="paid/1"):
    purse: str
    payment: int
    cents: int


class Purse(msgspec.Struct, frozen=True, array_like=True, gc=False):
    spent: int = 0
    payment: int = -1
    """The last one that was heard."""


class Settings(msgspec.Struct, frozen=True):
    """It has none."""


PAYMENTS: Topic[Paid] = Topic("bench.payments", (Paid,), key=lambda event: event.purse.encode())


def step(purse: Purse, record: Record[Paid]) -> Step[Purse]:
    return Step(Purse(purse.spent + record.event.cents, record.event.payment))


PURSES: Fold[Paid, Purse] = Fold(
    space="bench.purses", topic=PAYMENTS, state=Purse, step=step, flush=Flush.immediate()
)
_decode = msgspec.json.Decoder(tuple[str, int, int]).decode


def pay(received: Received, known: Known[Settings, None]) -> Reply:
    del known
    return Reply((Paid(*_decode(received.body)),))


def render(purse: Purse, paid: Paid) -> Response:
    return Response.json({"spent": purse.spent, "payment": paid.payment})


MANIFEST = Manifest(
    name="bench",
    summary="Payments.",
    settings=Settings,
    topics=(PAYMENTS,),
    ingest=(
        Ingest(
            operation="bench.pay",
            paths=("/pay",),
            emits=(PAYMENTS,),
            handle=pay,
            ask=Ask(fold=PURSES, render=render, seconds=10.0),
            body_bytes_max=1_000,
            summary="Pay, and be told what has been spent.",
            interface=Interface(answers=(Answer(status=200, meaning="Paid."),)),
        ),
    ),
    projections=(PURSES,),
    package=__package__,
)


if __name__ == "__main__":
    host(MANIFEST, roles=("edge", "api", "work"))
