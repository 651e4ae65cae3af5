"""What events come in by: offers of manifests as endpoints, wherever their bodies are judged."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from penstock.core import engines
from penstock.core.edge import FailurePolicy, Ingesting
from penstock.core.edge.access import KEY_HEADERS, Keys, admitting
from penstock.core.edge.endpoints import IngestEndpoint, Way
from penstock.core.edge.gate import Gate
from penstock.core.edge.knowing import Knowledge
from penstock.core.edge.limits import Limits
from penstock.core.edge.nearby import Nearby
from penstock.core.edge.origins import EVERYONE, Origins
from penstock.core.events import Event
from penstock.core.manifest import Ingest, Manifest, Route
from penstock.core.projection import Topic
from penstock.core.projection.due import Heard
from penstock.core.settings import Settings


class Nears(NamedTuple):
    """The near folds of an application, as its operations have them."""

    nearby: Nearby
    hears: frozenset[str]
    """Their topics."""
    get: Mapping[str, Callable[[bytes], Any]]
    """By space, what is known of a key."""


def _ingesting(offer: Ingest, known: Knowledge[Any, Any], nears: Nears | None) -> Ingesting:
    handle = offer.handle
    if not offer.near:
        return lambda received: handle(received, known)
    get = {} if nears is None else nears.get  # elsewhere nobody is asked
    asking = known.asking({fold.space: get[fold.space] for fold in offer.near if get})
    return lambda received: handle(received, asking.of(received.project))


def hearing(emits: Iterable[Topic[Any]], nears: Nears | None) -> Nearby | None:
    """Who is to know of the events before the log does."""
    if nears is None or nears.hears.isdisjoint(topic.name for topic in emits):
        return None
    return nears.nearby


def _policy(offer: Ingest, settings: Any) -> FailurePolicy | None:
    policy = offer.respond_first
    return policy(settings) if callable(policy) else policy


def pages(offer: Ingest | Route, settings: Settings, own: Any) -> Origins | None:
    """None where no page of another origin may ask. Raise `Misconfigured`."""
    allowed = offer.origins
    if isinstance(allowed, tuple):
        told = ",".join(allowed)
    elif callable(allowed):
        told = allowed(own)
    else:
        told = {"any": EVERYONE, "none": "", "setting": settings.origins}[allowed]
    takes = [one.name for one in offer.interface.parameters if one.place == "header"]
    takes += KEY_HEADERS if isinstance(offer.access, Keys) else ()
    return Origins(told, credentials=offer.credentials, takes=takes) or None


def gate(offer: Ingest | Route, settings: Any) -> Gate | None:
    """None where everybody is let in, always. Raise `Misconfigured`."""
    admit = admitting(offer.access, settings, offer.operation)
    limits = offer.limits(settings) if callable(offer.limits) else offer.limits
    return Gate(admit, Limits(limits) if limits else None) if admit or limits else None


def ways(settings: Settings, emits: Iterable[Topic[Any]]) -> dict[type[Event], Way]:
    """Where events go, by their type."""
    return {
        kind: Way(topic.name, codec.encode, codec.of, topic.key)
        for topic in emits
        for codec in (engines.codec_of(settings, topic),)
        for kind in topic.events
        if not issubclass(kind, Heard)  # they are the platform's to say
    }


def ingest_endpoints(
    settings: Settings,
    applications: Mapping[str, Any],
    manifests: Iterable[Manifest],
    nears: Mapping[str, Nears] = MappingProxyType({}),
) -> list[IngestEndpoint]:
    """What events come in by, in the order of the manifests; `applications` have own settings, and
    some have `nears`, but where bodies are judged in a process beside.
    """
    known = {name: Knowledge(own, None) for name, own in applications.items()}
    return [
        IngestEndpoint(
            operation=offer.operation,
            body_bytes_max=offer.body_bytes_max,
            topic=offer.emits[0].name,
            ways=ways(settings, offer.emits),
            ingest=_ingesting(offer, known[manifest.name], nears.get(manifest.name)),
            near=hearing(offer.emits, nears.get(manifest.name)),
            asks=nears[manifest.name].nearby if offer.near and manifest.name in nears else None,
            refusal=offer.refusal,
            pages=pages(offer, settings, applications[manifest.name]),
            gate=gate(offer, applications[manifest.name]),
            respond_first=_policy(offer, applications[manifest.name]),
        )
        for manifest in manifests
        for offer in manifest.ingest
    ]
