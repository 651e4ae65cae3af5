"""A small application of the tests' own that decides at the edge: so many clicks for each shop."""

from typing import Any

import msgspec

from penstock.core.edge import Known, Received, Reply, Response
from penstock.core.events import Event
from penstock.core.interface import Answer, Interface, Parameter
from penstock.core.manifest import Context, Ingest, Manifest, Route
from penstock.core.projection import Fold, Record, Step, Topic
from penstock.core.projection.flush import Flush
from support.purses import Settings

CAP = 50


class Clicked(Event, frozen=True, array_like=True, gc=False, tag="clicked/1"):
    shop: str
    by: str = ""


class Clicks(msgspec.Struct, frozen=True, array_like=True):
    count: int = 0
    last: str = ""


def step(clicks: Clicks, record: Record[Clicked]) -> Step[Clicks]:
    by = record.event.by
    if by == "poison":
        raise ValueError("nobody can count this")
    return Step(None if by == "forget" else Clicks(clicks.count + 1, by))


CLICKED: Topic[Clicked] = Topic("tests.clicked", (Clicked,), key=lambda event: event.shop.encode())
clicks: Fold[Clicked, Clicks] = Fold(
    space="tests.clicks",
    topic=CLICKED,
    state=Clicks,
    step=step,
    near=True,
    flush=Flush.immediate(),
)


def click(received: Received, known: Known[Settings, None]) -> Reply:
    """One click of each line; all of them, or none."""
    key = received.headers.get(b"idempotency-key", b"").decode()
    lines = [line.split() for line in received.body.decode().splitlines() if line]
    wanted: dict[str, int] = {}
    for shop, *_ in lines:
        wanted[shop] = wanted.get(shop, 0) + 1
    if any(known.get(clicks, shop.encode()).count + n > CAP for shop, n in wanted.items()):
        return Reply((), response=Response.json("enough", 429))
    return Reply([Clicked(*line) for line in lines], idempotency_key=key)


def note(received: Received, known: Known[Settings, None]) -> Reply:
    """A click that nobody asks about."""
    del known
    return Reply((Clicked(*received.body.decode().split()),))


def curious(received: Received, known: Known[Settings, None]) -> Reply:
    """Its operation does not say that it asks."""
    return Reply((Clicked(received.body.decode(), str(known.get(clicks, b"a").count)),))


async def look(received: Received, context: Context) -> Response:
    found: Clicks = await context.get(clicks, received.parameters[0].encode())
    return Response.json({"count": found.count})


def _operation(name: str, handle: Any, **more: Any) -> Ingest:
    return Ingest(
        operation=f"tests.{name}",
        paths=(f"/{name}",),
        emits=(CLICKED,),
        handle=handle,
        body_bytes_max=100_000,
        summary="Click.",
        interface=Interface(
            answers=(Answer(meaning="Clicked."), Answer(status=429, meaning="Too often."))
        ),
        **more,
    )


def offered(fold: Fold[Clicked, Clicks]) -> Manifest:
    return Manifest(
        name="tests",
        summary="Clicks, capped.",
        settings=Settings,
        topics=(CLICKED,),
        ingest=(
            _operation("click", click, near=(fold,)),
            _operation("first", click, near=(fold,), respond_first="fail_open"),
            _operation("note", note),
            _operation("curious", curious),
        ),
        routes=(
            Route(
                operation="tests.look",
                paths=("/look/{shop}",),
                handle=look,
                body_bytes_max=0,
                summary="What is known of a shop.",
                interface=Interface(
                    parameters=(Parameter(name="shop", place="path", shape=str, meaning="Whose."),),
                    answers=(Answer(meaning="The count."),),
                ),
            ),
        ),
        projections=(fold,),
        package="support.purses",
    )


manifest = offered(clicks)
