"""Events are facts: frozen structs, encoded once at the edge and decoded once per projection.

On the wire an event names the fact and its version (`tag_recorded/1`). A version is append-only:
new fields go to the end and have a default, so every record ever written stays readable.

The embedded log keeps events as MessagePack arrays. Logs that others read too may have them as JSON
objects, or as Avro. Whatever a codec writes, it reads all three, told apart by their first byte.

A record is an event and the project it belongs to. The platform writes that, so no application can
forget or forge it: a map of the project's name to the array, a member `project` of the object, the
last field of Avro's record. A record that names none is of the default project, and so are all that
are older than projects. In the same way a record has its generation, if there is one to tell.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from types import GenericAlias
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from penstock.core.errors import Misconfigured, PenstockError
from penstock.core.events.generations import generation, mark, named
from penstock.core.projects import DEFAULT_PROJECT


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=False):
    """Base of all events. Subclass with `tag="<fact>/<version>"`."""


E = TypeVar("E", bound=Event)
Format = Literal["msgpack", "json", "avro"]
Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]

_FORMS: dict[bytes, Format] = {b"{": "json", b"\x00": "avro"}
"""By a record's first byte; an array of MessagePack, or a map of one, has another one."""
_NAMED = b"\x81"
"""How a map of one begins, in MessagePack: an array that belongs to a project."""
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


class Form(NamedTuple):
    """One way to write records."""

    encode: Encode
    """Of the default project."""
    of: Callable[[str], Encode]
    """Of another one."""
    read: Callable[[bytes], tuple[str, Any]]
    """Project and event."""
    plain: Decode | None = None
    """Where it reads those of the default project faster, and no others."""


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
        self._forms: dict[Format, Form] = {form: self._make(form)}
        self.encode, self._of, self._read, self._plain = self._forms[form]
        """`encode` is of the default project; see `of`."""

    def of(self, project: str, count: int = 0) -> Encode:
        """What encodes the events of a project, and of this generation."""
        if count:
            encode = self._of(project)
            return lambda event: mark(encode(event), count)
        return self.encode if project == DEFAULT_PROJECT else self._of(project)

    def decode(self, payload: bytes) -> E:
        """The event, whosesoever. Raise `Undecodable` for bytes that are none of this topic."""
        return self.read(payload)[1]

    def read(self, payload: bytes) -> tuple[str, E]:
        """The project and the event. Raise `Undecodable` as `decode` does."""
        try:
            return self._read(payload)
        except (*_MALFORMED, Undecodable) as error:
            return self._read_otherwise(payload, error)

    def read_all(self, payloads: Sequence[bytes]) -> tuple[Iterable[str], list[E]]:
        """Projects and events. Raise `Undecodable` when one of them is not an event."""
        if self._plain is not None:
            try:
                return repeat(DEFAULT_PROJECT, len(payloads)), list(map(self._plain, payloads))
            except _MALFORMED:  # some are of another project, of another form, or of none
                pass
        found = list(map(self.read, payloads))
        return [project for project, _ in found], [event for _, event in found]

    def _read_otherwise(self, payload: bytes, error: Exception) -> tuple[str, E]:
        """It is not of the form that is written here, or of none."""
        form = _FORMS.get(payload[:1], "msgpack")
        if form == self._form:
            raise Undecodable(f"decoding a record: {error}") from error
        try:
            if form not in self._forms:
                self._forms[form] = self._make(form)
            return self._forms[form].read(payload)
        except (*_MALFORMED, Misconfigured) as other:
            raise Undecodable(f"decoding a record: {other}") from other

    def _make(self, form: Format) -> Form:
        if form == "avro":
            from penstock.core.events.avro import Avro  # noqa: PLC0415 - an extra

            avro = Avro(self._types, self._schemas)
            return Form(avro.encode, avro.of, avro.read)
        return _as_objects(self._types) if form == "json" else _as_arrays(self._types)


def _as_arrays(types: Sequence[type[Event]]) -> Form:
    encode = msgspec.msgpack.Encoder().encode
    plain = msgspec.msgpack.Decoder(_union(types)).decode
    of_project = msgspec.msgpack.Decoder(GenericAlias(dict, (str, _union(types)))).decode

    def of(project: str) -> Encode:
        return lambda event: encode({project: event})

    def read(payload: bytes) -> tuple[str, Any]:
        if payload[:1] != _NAMED:
            if not generation(payload):
                return DEFAULT_PROJECT, plain(payload)
            payload = named(payload)
        [(project, event)] = of_project(payload).items()
        return project, event

    return Form(encode, of, read, plain)


def _as_objects(types: Sequence[type[Event]]) -> Form:
    """`type` is the fact, the other members are its fields by name: arrays tell nobody else."""
    project = [("project", str | msgspec.UnsetType, msgspec.UNSET)]
    written = _mirrors(types, project)
    events: dict[type[Any], Any] = {form: event for event, form in written.items()}
    alone = _mirrors(types, forbid_unknown_fields=True)
    plain_events: dict[type[Any], Any] = {form: event for event, form in alone.items()}
    encoder, values = msgspec.json.Encoder().encode, msgspec.structs.astuple
    decoder = msgspec.json.Decoder(_union(list(events))).decode
    plain_decoder = msgspec.json.Decoder(_union(list(plain_events))).decode

    def of(project: str) -> Encode:
        return lambda event: encoder(written[type(event)](*values(event), project))

    def encode(event: Any) -> bytes:
        return encoder(written[type(event)](*values(event)))

    def read(payload: bytes) -> tuple[str, Any]:
        form: Any = decoder(payload)
        *fields, project = values(form)
        return project or DEFAULT_PROJECT, events[type(form)](*fields)

    def plain(payload: bytes) -> Any:
        form: Any = plain_decoder(payload)
        return plain_events[type(form)](*values(form))

    return Form(encode, of, read, plain)


def _mirrors(
    types: Sequence[type[Event]], more: Sequence[Any] = (), **config: Any
) -> dict[type[Any], Any]:
    """As objects that tell the fact with `type`."""
    return {
        event: mirror(event, more, tag_field="type", tag=event.__struct_config__.tag, **config)
        for event in types
    }


def mirror(event: type[Event], more: Sequence[Any] = (), **config: Any) -> type[msgspec.Struct]:
    """A struct of the same fields, and of some more, that is an object and not an array."""
    fields: list[Any] = [(of.name, of.type, *_default(of)) for of in msgspec.structs.fields(event)]
    return msgspec.defstruct(event.__name__, [*fields, *more], gc=False, **config)


def _default(of: msgspec.structs.FieldInfo) -> list[Any]:
    if of.default_factory is not msgspec.NODEFAULT:
        return [msgspec.field(default_factory=of.default_factory)]
    return [] if of.required else [of.default]


def _union(types: Sequence[Any]) -> Any:
    union: Any = types[0]
    for other in types[1:]:
        union = union | other
    return union
