"""What records on Kafka are made with."""

from collections.abc import Sequence
from typing import TypeVar, cast

from penstock.core.events import Codec, Event, Format
from penstock.core.log.kafka.registry import Registry
from penstock.core.settings import Settings

E = TypeVar("E", bound=Event)


def codec(settings: Settings, topic: str, types: Sequence[type[E]]) -> Codec[E]:
    """Raise `Misconfigured`, for one when the registry does not know the schema and is away."""
    form = cast("Format", settings.kafka_format)
    if not settings.kafka_schema_registry:
        return Codec(types, form)
    kept = settings.folder / "schemas.json"
    return Codec(
        types, form, schemas=Registry(settings.kafka_schema_registry, f"{topic}-value", kept)
    )
