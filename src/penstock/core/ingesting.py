"""What events come in by: offers of manifests as endpoints, wherever their bodies are judged."""

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.core import engines
from penstock.core.edge import FailurePolicy, Ingesting, Known
from penstock.core.edge.access import admitting
from penstock.core.edge.endpoints import IngestEndpoint, Way
from penstock.core.edge.gate import Gate
from penstock.core.edge.knowing import Knowledge
from penstock.core.edge.limits import Limits
from penstock.core.events import Event
from penstock.core.manifest import Ingest, Manifest, Route
from penstock.core.projection import Topic
from penstock.core.settings import Settings


def _ingesting(offer: Ingest, known: Known[Any, Any]) -> Ingesting:
    handle = offer.handle
    return lambda received: handle(received, known)


def _policy(offer: Ingest, settings: Any) -> FailurePolicy | None:
    policy = offer.respond_first
    return policy(settings) if callable(policy) else policy


def gate(offer: Ingest | Route, settings: Any) -> Gate | None:
    """None where everybody is let in, always. Raise `Misconfigured`."""
    admit = admitting(offer.access, settings)
    limits = offer.limits(settings) if callable(offer.limits) else offer.limits
    return Gate(admit, Limits(limits) if limits else None) if admit or limits else None


def ways(settings: Settings, emits: Iterable[Topic[Any]]) -> dict[type[Event], Way]:
    """Where events go, by their type."""
    return {
        kind: Way(topic.name, codec.encode, codec.of, topic.key)
        for topic in emits
        for codec in (engines.codec_of(settings, topic),)
        for kind in topic.events
    }


def ingest_endpoints(
    settings: Settings, applications: Mapping[str, Any], manifests: Iterable[Manifest]
) -> list[IngestEndpoint]:
    """What events come in by, in the order of the manifests; `applications` have own settings."""
    known = {name: Knowledge(own, None) for name, own in applications.items()}
    return [
        IngestEndpoint(
            operation=offer.operation,
            body_bytes_max=offer.body_bytes_max,
            topic=offer.emits[0].name,
            ways=ways(settings, offer.emits),
            ingest=_ingesting(offer, known[manifest.name]),
            refusal=offer.refusal,
            gate=gate(offer, applications[manifest.name]),
            respond_first=_policy(offer, applications[manifest.name]),
        )
        for manifest in manifests
        for offer in manifest.ingest
    ]
