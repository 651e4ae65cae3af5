"""What events come in by: offers of manifests as endpoints, wherever their bodies are judged."""

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.core import engines
from penstock.core.edge import Ingesting
from penstock.core.edge.endpoints import IngestEndpoint, Way
from penstock.core.manifest import Ingest, Manifest
from penstock.core.settings import Settings


def _ingesting(offer: Ingest, settings: Any) -> Ingesting:
    handle = offer.handle
    return lambda received: handle(received, settings)


def ingest_endpoints(
    settings: Settings, applications: Mapping[str, Any], manifests: Iterable[Manifest]
) -> list[IngestEndpoint]:
    """What events come in by, in the order of the manifests; `applications` have own settings."""
    return [
        IngestEndpoint(
            operation=offer.operation,
            body_bytes_max=offer.body_bytes_max,
            topic=offer.emits[0].name,
            ways={
                kind: Way(topic.name, codec.encode, codec.of, topic.key)
                for topic in offer.emits
                for codec in (engines.codec_of(settings, topic),)
                for kind in topic.events
            },
            ingest=_ingesting(offer, applications[manifest.name]),
            respond_first=offer.respond_first,
        )
        for manifest in manifests
        for offer in manifest.ingest
    ]
