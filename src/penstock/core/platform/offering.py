"""Manifests become endpoints of an edge."""

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.core.edge import Answering, Received, Reply, Response
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.endpoints import AnswerEndpoint, Endpoint
from penstock.core.ingesting import gate, ingest_endpoints, pages, ways
from penstock.core.interface import Offer
from penstock.core.manifest import Manifest, Route
from penstock.core.platform.answering import ApplicationContext
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
) -> None:
    """What events come in by; `applications` have settings of their own."""
    manifests = list(manifests)
    offers = [offer for manifest in manifests for offer in manifest.ingest]
    endpoints = ingest_endpoints(settings, applications, manifests)
    for offer, endpoint in zip(offers, endpoints, strict=True):
        offer_at(edge, offer, endpoint)


def offer_routes(edge: Dispatcher, manifest: Manifest, context: ApplicationContext) -> None:
    """What one application answers from the stores, by what its routes may reach."""
    for route in manifest.routes:
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
        )
        offer_at(edge, route, endpoint)


def _answering(route: Route, context: ApplicationContext) -> Answering:
    async def answer(received: Received) -> Response | Reply:
        return await route.handle(received, context.of(received.project))

    return answer
