"""Events as Avro, framed as Confluent's serializers do: a zero, the schema's number, the record.

Schemas are derived from the structs, so an event is still declared once. Where a registry gives
the numbers, a topic of several events has one schema, the union of their records; where it does
not, every record has its own, whose number follows from what it says, and those of the shorter
records of older versions are known as well.
A record's last field is its project; empty, and where an older schema has none, it is the default.
"""

import io
import json
import re
import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from penstock.core.errors import Misconfigured, lacking
from penstock.core.events import Encode, Event, Schemas, Undecodable, mirror
from penstock.core.events.generations import behind
from penstock.core.projects import DEFAULT_PROJECT

try:
    import fastavro
except ImportError as error:
    raise lacking("records are Avro, and fastavro", "kafka") from error

NAMESPACE = "penstock"

_MAGIC = b"\x00"
_FRAME_BYTES = 5
_SIMPLE: dict[type[inspect.Type], str] = {
    inspect.BoolType: "boolean",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.BytesType: "bytes",
    inspect.NoneType: "null",
    # As text, like in JSON.
    inspect.StrType: "string",
    inspect.DateTimeType: "string",
    inspect.DateType: "string",
    inspect.DecimalType: "string",
    inspect.UUIDType: "string",
}
_PROJECT = {"name": "project", "type": "string", "default": ""}
_PYTHON = {bool: "boolean", int: "long", float: "double", str: "string", type(None): "null"}


class _Kind(NamedTuple):
    """How one event is written and read."""

    frame: bytes
    schema: Any
    mirror: type[msgspec.Struct]


class Avro:
    def __init__(self, types: Sequence[type[Event]], schemas: Schemas | None) -> None:
        """Raise `Misconfigured` for a field that Avro has no type for."""
        self._schemas = schemas
        records = [_record(event) for event in types]
        self._events = dict(zip([f"{NAMESPACE}.{r['name']}" for r in records], types, strict=True))
        self._written: dict[int, Any] = {}
        frames = self._numbered(records)
        if schemas is not None:
            frames = self._registered(schemas, records)
        self._kinds = {
            event: _Kind(frame, fastavro.parse_schema(record), mirror(event))
            for event, record, frame in zip(types, records, frames, strict=True)
        }

    def of(self, project: str) -> Encode:
        return partial(self.encode, project=project)

    def encode(self, event: Any, project: str = "") -> bytes:
        frame, schema, form = self._kinds[type(event)]
        out = io.BytesIO()
        out.write(frame)
        values = form(*msgspec.structs.astuple(event))
        fields = msgspec.to_builtins(values, builtin_types=(bytes,))
        fields["project"] = project
        fastavro.schemaless_writer(out, schema, fields)
        return out.getvalue()

    def read(self, payload: bytes) -> tuple[str, Any]:
        """Project and event. Raise `Undecodable`."""
        if payload[:1] != _MAGIC or len(payload) < _FRAME_BYTES:
            raise Undecodable("it is not framed as Avro")
        schema = self._schema(int.from_bytes(payload[1:_FRAME_BYTES], "big"))
        body = io.BytesIO(payload)
        body.seek(_FRAME_BYTES)
        try:
            read: Any = fastavro.schemaless_reader(body, schema, None, return_record_name=True)
        except Exception as error:  # whatever malformed bytes make it raise
            raise Undecodable(f"{type(error).__name__}: {error}") from error
        if body.tell() not in (len(payload), len(payload) - behind(payload)):
            raise Undecodable("something follows the record")
        name, values = read if isinstance(read, tuple) else (schema["name"], read)
        event = self._events.get(name)
        if event is None:
            raise Undecodable(f"{name} is not an event of this topic")
        form = msgspec.convert(values, self._kinds[event].mirror)
        project = str(values.get("project") or DEFAULT_PROJECT)
        return project, event(*msgspec.structs.astuple(form))

    def _numbered(self, records: Sequence[Any]) -> list[bytes]:
        for record in records:
            for older in _versions(record):
                self._written[_number(older)] = fastavro.parse_schema(older)
        return [_frame(_number(record)) for record in records]

    def _registered(self, schemas: Schemas, records: Sequence[Any]) -> list[bytes]:
        if len(records) == 1:
            return [_frame(schemas.number(json.dumps(records[0])))]
        number = schemas.number(json.dumps(records))
        # A union's value begins with its place in it, a zigzag varint.
        return [_frame(number) + bytes([place << 1]) for place in range(len(records))]

    def _schema(self, number: int) -> Any:
        found = self._written.get(number)
        if found is None:
            try:
                if self._schemas is None:
                    raise LookupError(number)
                found = fastavro.parse_schema(json.loads(self._schemas.schema(number)))
            except LookupError as error:
                raise Undecodable(f"no schema of this topic has the number {number}") from error
            self._written[number] = found
        return found


def _frame(number: int) -> bytes:
    return _MAGIC + number.to_bytes(_FRAME_BYTES - 1, "big")


def _number(record: Any) -> int:
    """Positive, as registries have it."""
    return zlib.crc32(json.dumps(record, sort_keys=True).encode()) & 0x7FFFFFFF


def _versions(record: Any) -> list[Any]:
    """The record, and those before its last fields, which have defaults, were added; each as it is
    now, and as it was before there were projects.
    """
    fields = record["fields"][:-1]
    last = max((n for n, field in enumerate(fields, 1) if "default" not in field), default=0)
    shorter = [fields[:n] for n in range(last, len(fields) + 1)]
    return [{**record, "fields": of} for short in shorter for of in (short, [*short, _PROJECT])]


def _record(event: type[Event]) -> dict[str, Any]:
    fact = str(event.__struct_config__.tag)
    return {
        "type": "record",
        "name": re.sub(r"\W", "_", fact),
        "namespace": NAMESPACE,
        "doc": fact,
        "fields": [*(_field(event, of) for of in msgspec.structs.fields(event)), _PROJECT],
    }


def _field(event: type[Event], of: msgspec.structs.FieldInfo) -> dict[str, Any]:
    try:
        kind = _type(inspect.type_info(of.type))
    except TypeError as error:
        raise Misconfigured(
            f"PENSTOCK_KAFKA_FORMAT: {event.__name__}.{of.name} cannot be written as Avro: {error}"
        ) from error
    field = {"name": of.name, "type": kind}
    if of.required:
        return field
    value = of.default_factory() if of.default is msgspec.NODEFAULT else of.default
    told = msgspec.json.decode(msgspec.json.encode(value))
    if isinstance(kind, list):  # the default is of a union's first type
        own = "map" if isinstance(told, dict) else _PYTHON.get(type(told), "array")
        kind.sort(key=lambda one: (one["type"] if isinstance(one, dict) else one) != own)
    return {**field, "default": told}


def _type(kind: inspect.Type) -> Any:
    """Raise `TypeError` for one that Avro has no type for."""
    simple = _SIMPLE.get(type(kind))
    if simple is not None:
        return simple
    match kind:
        case inspect.UnionType():
            return [_type(one) for one in kind.types]
        case (
            inspect.ListType()
            | inspect.SetType()
            | inspect.FrozenSetType()
            | inspect.VarTupleType()
        ):
            return {"type": "array", "items": _type(kind.item_type)}
        case inspect.DictType(key_type=inspect.StrType()):
            return {"type": "map", "values": _type(kind.value_type)}
        case inspect.LiteralType():
            return _PYTHON[type(kind.values[0])]
        case inspect.EnumType():
            return _PYTHON[type(next(iter(kind.cls)).value)]
        case inspect.Metadata():
            return _type(kind.type)
    raise TypeError(f"there is no type for {type(kind).__name__}")
