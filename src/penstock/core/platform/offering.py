"""Manifests become endpoints of an edge."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from penstock.core import engines
from penstock.core.edge import Answering, Asking, Received, Reply, Response
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.endpoints import AnswerEndpoint, Endpoint
from penstock.core.editing import offers
from penstock.core.errors import NotReady, told_of
from penstock.core.events import Codec
from penstock.core.ingesting import Nears, gate, hearing, ingest_endpoints, pages, ways
from penstock.core.interface import Offer
from penstock.core.manifest import Ask, Manifest, Route
from penstock.core.platform.answering import ApplicationContext
from penstock.core.platform.asking import Asked
from penstock.core.settings import Settings


def offer_at(edge: Dispatcher, offer: Offer, endpoint: Endpoint) -> None:
    """At all its places. Raise `Misconfigured` where one is another's."""
    for path in offer.paths:
        both = offer.slash and not path.endswith(("/", "...}"))
        for spelled in (path, path + "/") if both else (path,):
            for method in offer.methods:
                edge.add(method, spelled, endpoint, offer.hosts)


def offer_ingest(
    edge: Dispatcher,
    settings: Settings,
    applications: Mapping[str, Any],
    manifests: Iterable[Manifest],
    contexts: Mapping[str, Asked],
    *,
    nears: Mapping[str, Nears],
) -> None:
    """What events come in by; `applications` have settings of their own, and `contexts` where they
    may be asked what they decided; some have `nears`.
    """
    manifests = list(manifests)
    offers = [(manifest.name, offer) for manifest in manifests for offer in manifest.ingest]
    endpoints = ingest_endpoints(settings, applications, manifests, nears)
    for (name, offer), endpoint in zip(offers, endpoints, strict=True):
        if offer.ask is not None:
            codec = engines.codec_of(settings, offer.ask.fold.topic)
            asking = _asking(offer.ask, contexts.get(name), codec)
            offer_at(edge, offer, replace(endpoint, ask=asking))
        else:
            offer_at(edge, offer, endpoint)


def offer_routes(
    edge: Dispatcher, manifest: Manifest, context: ApplicationContext, nears: Nears | None
) -> None:
    """What one application answers from the stores, by what its routes may reach."""
    for route in (*manifest.routes, *offers.routes(manifest)):
        endpoint = AnswerEndpoint(
            operation=route.operation,
            body_bytes_max=route.body_bytes_max,
            answer=_answering(route, context),
            reads_body=route.reads_body(context.settings),
            refusal=route.refusal,
            pages=pages(route, edge.settings, context.settings),
            gate=gate(route, context.settings),
            topic=route.emits[0].name if route.emits else "",
            ways=ways(edge.settings, route.emits),
            near=hearing(route.emits, nears),
        )
        offer_at(edge, route, endpoint)


def _asking(ask: Ask[Any, Any], context: Asked | None, codec: Codec[Any]) -> Asking:
    """The event is safe whatever becomes of this, so nothing is an error any more."""
    fold, key = ask.fold, ask.fold.key_of

    async def answer(payload: bytes) -> Response:
        if context is None:
            return ask.late
        project, event = codec.read(payload)
        own = context.of(project)
        try:
            if not await own.heard(fold, event, ask.seconds):
                return ask.late
            return ask.render(await own.get(fold, key(event)), event) or ask.late
        except NotReady:
            return ask.late
        except (Exception, SystemExit, KeyboardInterrupt) as defect:  # noqa: BLE001 - no failure of theirs
            own.warn("ask.failed", fold=fold.name, error=told_of(defect))
            return ask.late

    return answer


def _answering(route: Route, context: ApplicationContext) -> Answering:
    async def answer(received: Received) -> Response | Reply:
        return await route.handle(received, context.of(received.project))

    return answer
