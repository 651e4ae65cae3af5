"""Entities: what people edit. An application declares a kind, and core keeps it.

A model is a frozen struct whose fields have a title, a description and bounds, as msgspec reads
them; what bounds cannot say is a check. Each save is one transaction: the entity, who did it, and
the `Changed` that takes it through the log to whoever goes by it.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import NODEFAULT, inspect

from penstock.core.edge.access import Access
from penstock.core.edge.limits import Limit
from penstock.core.entities.values import alike, plain
from penstock.core.events import Event
from penstock.core.projection import Topic

M = TypeVar("M", bound=msgspec.Struct)

OWN = ("id", "revision", "archived", "created_at", "updated_at")
"""What every entity has, and no model may name so."""
ID_DIGITS = 24
_KIND = re.compile(r"[a-z][a-z_]*")
_PREFIX = re.compile(r"[a-z]{2,8}")
_SCALARS = (
    inspect.StrType, inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.LiteralType,
    inspect.EnumType,
)  # fmt: skip


class Changed(Event, frozen=True, array_like=True, gc=False, tag="changed/1"):
    """Somebody has saved an entity, or removed it. The newest of each is what holds."""

    kind: str
    id: str
    revision: int
    """1 for a new one, and one more with each change, the last of which may be its removal."""
    body: str
    """As JSON; empty where it was removed."""
    archived: bool
    era: int
    """Of a greater one all is newer. One begins with a database, and whenever it is republished."""
    number: int
    """Of the change in its era, without gaps: a repeat has the same."""


class Republished(Event, frozen=True, array_like=True, gc=False, tag="republished/1"):
    """All that there is has been said again in this era: what was not is no more."""

    era: int
    number: int


def in_order(event: Event) -> bytes:
    """All changes of an application are in one order, on every engine."""
    del event
    return b"changes"


def changes(application: str) -> Topic[Any]:
    """What has become of its entities, for ever."""
    return Topic(f"{application}.changes", (Changed, Republished), key=in_order)


class Field(msgspec.Struct, frozen=True):
    """One of a model."""

    name: str
    type: Any
    """As msgspec reads it."""
    plain: bool
    """Whether lists may be filtered and sorted by it."""
    text: bool
    optional: bool
    """Whether it may be null; the word `null` asks a list for that then, of a text as well."""
    default: Any
    """As it is stored; `NODEFAULT` where it has to be given."""


@dataclass(frozen=True, kw_only=True)
class Entity(Generic[M]):
    """Raise `ValueError` for what cannot be kept."""

    kind: str
    model: type[M]
    path: str
    """Of all of them; one is at `{path}/{id}`."""
    prefix: str
    """Of ids: `cmp` makes `cmp_` and 24 hexadecimal digits."""
    summary: str
    """What it is, in a sentence."""
    example: M
    unique: tuple[str, ...] = ()
    """Fields that no two of a project have alike, archived ones included; null is no value."""
    checks: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    """By field, from its value to what is wrong with it, as a sentence; empty where nothing is.
    Pure.
    """
    uses: Mapping[str, str] = field(default_factory=dict)
    """By field, the kind whose id or ids it holds: they are there, and cannot be removed."""
    access: Access = "anyone"
    limits: tuple[Limit, ...] = ()
    body_bytes_max: int = 65_536

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind) or not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"{self.kind}, {self.prefix}: a kind and a prefix are small letters")
        config = self.model.__struct_config__
        if not (config.frozen and config.forbid_unknown_fields):
            raise ValueError(f"the model of {self.kind} is frozen, and forbids unknown fields")
        if config.array_like or config.tag is not None or config.omit_defaults:
            raise ValueError(f"the model of {self.kind} is an object with all its fields")
        for one in msgspec.structs.fields(self.model):
            _check(self.kind, one)
        named = {*self.unique, *self.checks, *self.uses}
        if unknown := sorted(named - self.fields.keys()):
            raise ValueError(f"{self.kind} has no {', '.join(unknown)}")
        if dear := sorted(name for name in self.unique if not self.fields[name].plain):
            raise ValueError(f"{', '.join(dear)} of {self.kind} is no single value, and not unique")

    @cached_property
    def fields(self) -> dict[str, Field]:
        info = inspect.type_info(self.model)
        assert isinstance(info, inspect.StructType)
        types = {one.name: one.type for one in msgspec.structs.fields(self.model)}
        return {
            one.encode_name: Field(
                one.encode_name,
                types[one.name],
                _is(one.type, _SCALARS),
                _is(one.type, (inspect.StrType,)) or _is_text(one.type),
                _may_be_null(one.type),
                _default(one),
            )
            for one in info.fields
        }

    def whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What is stored, with the fields that came to the model since."""
        return {
            name: body.get(name, of.default)
            for name, of in self.fields.items()
            if name in body or of.default is not NODEFAULT
        }

    def same(self, body: Mapping[str, Any], model: M) -> bool:
        """Whether what is stored is this; what it lacks yet counts as the default."""
        try:
            stored = msgspec.json.decode(msgspec.json.encode(body), type=self.model)
        except msgspec.ValidationError:  # of an older model
            return False
        return alike(plain(stored), plain(model))

    def used(self, body: Mapping[str, Any]) -> set[tuple[str, str, str]]:
        """(field, kind, id) of all that it names."""
        found = set()
        for name, kind in self.uses.items():
            value = body.get(name)
            ids = [value] if isinstance(value, str) else value or ()
            found |= {(name, kind, one) for one in ids}
        return found


class By(msgspec.Struct, frozen=True):
    """Who does something, and by which request."""

    who: str
    request_id: str
    id: str = ""
    """What a new entity is to be called, behind its prefix."""
    repeats: bool = False
    """Whether it may have been asked before: then a new one that is there already is this one."""


class Kept(msgspec.Struct, frozen=True):
    """An entity as the database has it."""

    id: str
    revision: int
    archived: bool
    created_ms: int
    updated_ms: int
    body: dict[str, Any]


class Entry(msgspec.Struct, frozen=True):
    """What was done to an entity once."""

    action: str
    revision: int
    who: str
    at_ms: int
    request_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Wanted(msgspec.Struct, frozen=True):
    """Which entities, in which order."""

    limit: int = 100
    offset: int = 0
    sort: str = "created_at"
    descending: bool = False
    archived: bool | None = False
    filters: Mapping[str, Any] = {}


class Entities(Protocol):
    """Those of an application, as far as they are of a project. Everything raises `NotReady` while
    the database is away, and what names an id `NotFound`.
    """

    def listed(self, entity: Entity[Any], wanted: Wanted) -> tuple[list[Kept], int]:
        """Those, and how many there are without limit and offset."""
        ...

    def get(self, entity: Entity[Any], id_: str) -> Kept: ...

    def create(self, entity: Entity[M], model: M, by: By) -> Kept:
        """Raise `BadField`, `Taken`, or `KeyReused`."""
        ...

    def replace(self, entity: Entity[M], id_: str, model: M, expected: int | None, by: By) -> Kept:
        """The same; `Conflict` where `expected` is not its revision. No change, no revision."""
        ...

    def archive(
        self, entity: Entity[Any], id_: str, expected: int | None, by: By, *, archived: bool
    ) -> Kept: ...

    def remove(self, entity: Entity[Any], id_: str, expected: int | None, by: By) -> None:
        """Raise `InUse` with what uses it."""
        ...

    def history(
        self, entity: Entity[Any], id_: str, limit: int, offset: int
    ) -> tuple[list[Entry], int]:
        """The newest first; of what was removed too."""
        ...


def check_together(entities: Sequence[Entity[Any]]) -> None:
    """That those of an application can be told apart, and use no others. Raise `ValueError`."""
    for told in ("kind", "prefix", "path"):
        values = Counter(getattr(entity, told) for entity in entities)
        if twice := [value for value, times in values.items() if times > 1]:
            raise ValueError(f"{', '.join(twice)} is the {told} of two entities")
    kinds = {entity.kind for entity in entities}
    for entity in entities:
        if unknown := sorted({*entity.uses.values()} - kinds):
            raise ValueError(f"{entity.kind} uses {', '.join(unknown)}, undeclared")


def _check(kind: str, one: msgspec.structs.FieldInfo) -> None:
    """Raise `ValueError`."""
    name = one.encode_name
    if name in OWN:
        raise ValueError(f"{name} of {kind} is what every entity has; give it another name")
    if one.name != name:
        raise ValueError(f"{one.name} of {kind} has one name, in code and in JSON")
    about = inspect.type_info(one.type)
    told = about.extra_json_schema or {} if isinstance(about, inspect.Metadata) else {}
    if not told.get("title") or not told.get("description"):
        raise ValueError(f"{name} of {kind} lacks a title or a description for people")
    optional = isinstance(about, inspect.Metadata) and _may_be_null(about.type)
    if optional and one.default is not None:
        raise ValueError(f"{name} of {kind} may be null, and so null is its default")


def _bare(of: inspect.Type) -> inspect.Type:
    return _bare(of.type) if isinstance(of, inspect.Metadata) else of


def _may_be_null(of: inspect.Type) -> bool:
    bare = _bare(of)
    if isinstance(bare, inspect.LiteralType):
        return None in bare.values
    return isinstance(bare, inspect.UnionType) and bare.includes_none


def _is(of: inspect.Type, kinds: tuple[type[inspect.Type], ...]) -> bool:
    """Whether it is one of these, or null."""
    bare = _bare(of)
    if isinstance(bare, inspect.UnionType):
        others = [one for one in bare.types if not isinstance(_bare(one), inspect.NoneType)]
        return len(others) == 1 and _is(others[0], kinds)
    return isinstance(bare, kinds)


def _is_text(of: inspect.Type) -> bool:
    bare = _bare(of)
    if isinstance(bare, inspect.UnionType):
        return any(_is_text(one) for one in bare.types)
    values = bare.values if isinstance(bare, inspect.LiteralType) else ()
    if isinstance(bare, inspect.EnumType):
        values = tuple(one.value for one in bare.cls)
    told = [value for value in values if value is not None]
    return bool(told) and all(isinstance(value, str) for value in told)


def _default(one: inspect.Field) -> Any:
    if one.default is not NODEFAULT:
        return plain(one.default)
    if one.default_factory is not NODEFAULT:
        return plain(one.default_factory())
    return NODEFAULT
