"""Events are facts: frozen structs, encoded once at the edge and decoded once per projection.

On the wire an event names the fact and its version (`tag_recorded/1`). A version is append-only:
new fields go to the end and have a default, so every record ever written stays readable.

The embedded log keeps events as MessagePack arrays. Logs that others read too may have them as JSON
objects, or as Avro. Whatever a codec writes, it reads all three, told apart by their first byte.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from penstock.core.errors import Misconfigured, PenstockError


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=False):
    """Base of all events. Subclass with `tag="<fact>/<version>"`."""


E = TypeVar("E", bound=Event)
Format = Literal["msgpack", "json", "avro"]
Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]

_FORMS: dict[bytes, Format] = {b"{": "json", b"\x00": "avro"}
"""By a record's first byte; an array of MessagePack has another one."""
_MALFORMED = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Undecodable(PenstockError):
    """A stored record is not one of the topic's events."""


class Schemas(Protocol):
    """Numbers of Avro schemas, as records carry them."""

    def number(self, schema: str) -> int:
        """Under which this schema of the topic is known; from now on, if it was not yet."""
        ...

    def schema(self, number: int) -> str:
        """Raise `LookupError` for a number that nobody gave."""
        ...


class Codec(Generic[E]):
    """Bytes of one topic's records, and back."""

    def __init__(
        self,
        types: Sequence[type[E]],
        form: Format = "msgpack",
        *,
        schemas: Schemas | None = None,
    ) -> None:
        """Without `schemas` those of the code are numbered by what they say."""
        self._types = types
        self._schemas = schemas
        self._form: Format = form
        self._decoders: dict[Format, Decode] = {}
        self.encode, self._decode = self._make(form)

    def decode(self, payload: bytes) -> E:
        """Raise `Undecodable` for bytes that are not an event of this topic."""
        try:
            event: E = self._decode(payload)
        except (*_MALFORMED, Undecodable) as error:
            return self._decode_otherwise(payload, error)
        return event

    def _decode_otherwise(self, payload: bytes, error: Exception) -> E:
        """It is not of the form that is written here, or of none."""
        form = _FORMS.get(payload[:1], "msgpack")
        if form == self._form:
            raise Undecodable(f"decoding a record: {error}") from error
        try:
            if form not in self._decoders:
                self._decoders[form] = self._make(form)[1]
            event: E = self._decoders[form](payload)
        except (*_MALFORMED, Misconfigured) as other:
            raise Undecodable(f"decoding a record: {other}") from other
        return event

    def _make(self, form: Format) -> tuple[Encode, Decode]:
        if form == "avro":
            from penstock.core.events.avro import Avro  # noqa: PLC0415 - an extra

            avro = Avro(self._types, self._schemas)
            return avro.encode, avro.decode
        return _as_objects(self._types) if form == "json" else _as_arrays(self._types)


def _as_arrays(types: Sequence[type[Event]]) -> tuple[Encode, Decode]:
    return msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_union(types)).decode


def _as_objects(types: Sequence[type[Event]]) -> tuple[Encode, Decode]:
    """`type` is the fact, the other members are its fields by name: arrays tell nobody else."""
    written: dict[type[Any], Any] = {
        event: mirror(event, tag_field="type", tag=event.__struct_config__.tag) for event in types
    }
    read: dict[type[Any], Any] = {form: event for event, form in written.items()}
    encoder = msgspec.json.Encoder().encode
    decoder = msgspec.json.Decoder(_union(list(read))).decode
    values = msgspec.structs.astuple

    def encode(event: Any) -> bytes:
        return encoder(written[type(event)](*values(event)))

    def decode(payload: bytes) -> Any:
        form: Any = decoder(payload)
        return read[type(form)](*values(form))

    return encode, decode


def mirror(event: type[Event], **config: Any) -> type[msgspec.Struct]:
    """A struct of the same fields that is an object and not an array."""
    fields: list[Any] = [(of.name, of.type, *_default(of)) for of in msgspec.structs.fields(event)]
    return msgspec.defstruct(event.__name__, fields, gc=False, **config)


def _default(of: msgspec.structs.FieldInfo) -> list[Any]:
    if of.default_factory is not msgspec.NODEFAULT:
        return [msgspec.field(default_factory=of.default_factory)]
    return [] if of.required else [of.default]


def _union(types: Sequence[Any]) -> Any:
    union: Any = types[0]
    for other in types[1:]:
        union = union | other
    return union
