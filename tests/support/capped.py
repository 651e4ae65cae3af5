"""A small application of the tests' own that decides at the edge: so many clicks for each shop."""

import os
from typing import Any

import msgspec

from penstock.core.clock import SystemClock
from penstock.core.doors import doors
from penstock.core.edge import Known, Received, Reply, Response, judging
from penstock.core.events import Event
from penstock.core.ingesting import ingest_endpoints
from penstock.core.interface import Answer, Interface
from penstock.core.manifest import Context, Ingest, Manifest, Route
from penstock.core.platform import Platform
from penstock.core.projection import Fold, Record, Step, Topic
from penstock.core.projection.flush import Flush
from penstock.core.server import serve
from penstock.core.settings import Settings as CoreSettings
from penstock.core.settings import load
from penstock.core.telemetry import logger
from penstock.core.worker import work
from support.purses import Settings

CAP = 50


class Clicked(Event, frozen=True, array_like=True, gc=False, tag="clicked/1"):
    shop: str
    by: str = ""
    more: str = ""


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


async def visit(received: Received, context: Context) -> Reply:
    """Looks first, and clicks."""
    found: Clicks = await context.get(clicks, received.body)
    return Reply((Clicked(received.body.decode(), f"visit {found.count}"),))


def _operation(
    name: str, handle: Any, fold: Fold[Clicked, Clicks], *near: Fold[Clicked, Clicks], **more: Any
) -> Ingest:
    return Ingest(
        near=near,
        operation=f"tests.{name}",
        paths=(f"/{name}",),
        emits=(fold.topic,),
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
        topics=(fold.topic,),
        ingest=(
            _operation("click", click, fold, fold),
            _operation("first", click, fold, fold, respond_first="fail_open"),
            _operation("note", note, fold),
            _operation("curious", curious, fold),
        ),
        routes=(
            Route(
                operation="tests.visit",
                methods=("POST",),
                paths=("/visit",),
                handle=visit,
                emits=(fold.topic,),
                body_bytes_max=100,
                summary="Click, behind a look.",
                interface=Interface(answers=(Answer(status=204, meaning="Clicked."),)),
            ),
        ),
        projections=(fold,),
        package="support.purses",
    )


manifest = offered(clicks)


def judges() -> None:
    """Judges bodies for a process that serves it, which alone knows what a fold knows."""
    endpoints = ingest_endpoints(CoreSettings(), {manifest.name: Settings()}, [manifest])
    work(lambda _: judging.answer({endpoint.operation: endpoint for endpoint in endpoints}))


def _told(url: str) -> None:
    os.write(1, f"{url}\n".encode())


def edge(folder: str) -> None:
    """An edge apart, as a process of its own; its first line says where it serves."""
    given = {"port": 0, "data": folder, "disk_free_bytes_min": 0}
    settings, applications = load({}, {manifest.name: Settings}, given)
    with doors(settings) as found:
        platform = Platform(
            settings,
            applications,
            [manifest],
            clock=SystemClock(),
            logger=logger("warning"),
            roles=("edge",),
        )
        serve(platform, found, _told)
