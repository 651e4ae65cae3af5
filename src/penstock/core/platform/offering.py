"""Manifests become endpoints of an edge."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from penstock.core.edge import Received, Response
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.ingesting import ingest_endpoints
from penstock.core.manifest import Manifest, Route
from penstock.core.platform.answering import ApplicationContext
from penstock.core.settings import Settings


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
        edge.add(offer.method, offer.path, endpoint)


def offer_routes(edge: Dispatcher, manifest: Manifest, context: ApplicationContext) -> None:
    """What one application answers from the stores, by what its routes may reach."""
    for route in manifest.routes:
        endpoint = AnswerEndpoint(
            operation=route.operation,
            body_bytes_max=route.body_bytes_max,
            answer=_answering(route, context),
            reads_body=route.reads_body(context.settings),
        )
        edge.add(route.method, route.path, endpoint)


def _answering(
    route: Route, context: ApplicationContext
) -> Callable[[Received], Awaitable[Response]]:
    async def answer(received: Received) -> Response:
        return await route.handle(received, context.of(received.project))

    return answer
