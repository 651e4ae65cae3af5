"""What is asked about entities, out of a request. Pure."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from typing import Any, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from penstock.core.edge import Received
from penstock.core.entities import ID_DIGITS, By, Entity, Field, Wanted
from penstock.core.errors import BadField, Rejected

M = TypeVar("M", bound=msgspec.Struct)
LIMIT_MAX = 1_000
_OFFSET_MAX = 1 << 40
_WHOLE = range(-(1 << 63), 1 << 63)
_DEPTH_MAX = 100
"""Of lists and objects in each other; SQLite reads no JSON of more than a thousand."""
_IDEMPOTENCY_KEY = b"idempotency-key"
_REVISION = re.compile(rb'"?([0-9]{1,18})"?')
_SORTED = ("id", "revision", "created_at", "updated_at")
_AT = re.compile(r" - at (?:`key` in )?`\$\.?(([^.[]*).*)`$")
_ARCHIVED = {"true": True, "false": False, "any": None}


def model(entity: Entity[M], body: bytes) -> M:
    """Raise `BadField` with what is wrong, and where."""
    try:
        found = msgspec.json.decode(body, type=entity.model)
        builtins = msgspec.to_builtins(found)
    except msgspec.ValidationError as error:
        said = str(error)
        where = _AT.search(said)
        name, inside = (where[2], where[1] != where[2]) if where else (_unknown(said), True)
        message = said if where is None or inside else said[: where.start()]
        raise BadField(message, field=name) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"the body is no JSON: {error}") from error
    for name, value in builtins.items():
        for one in _leaves(value, name):
            _check_storable(one, name)
    for name, check in entity.checks.items():
        if wrong := check(getattr(found, name)):
            raise BadField(wrong, field=name)
    return found


def _check_storable(value: Any, name: str) -> None:
    """Whether every database takes it. Raise `BadField`."""
    if isinstance(value, str) and "\0" in value:
        raise BadField("a text has no character U+0000", field=name)
    if isinstance(value, float) and not math.isfinite(value):
        raise BadField("the number is too large", field=name)
    if isinstance(value, int) and value not in _WHOLE:
        raise BadField("the number is too large", field=name)


def _unknown(said: str) -> str:
    found = re.search(r"(?:unknown|required) field `(.*)`", said)
    return found[1] if found else ""


def _leaves(value: Any, name: str, depth: int = 0) -> Iterator[Any]:
    """What is in it, and in that. Raise `BadField` where it is too deep for a database."""
    if depth > _DEPTH_MAX:
        raise BadField(f"it is nested more than {_DEPTH_MAX} deep", field=name)
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield key
            yield from _leaves(inside, name, depth + 1)
    elif isinstance(value, Collection) and not isinstance(value, str):
        for inside in value:
            yield from _leaves(inside, name, depth + 1)
    else:
        yield value


def id_of(entity: Entity[Any], received: Received) -> str:
    """As it was asked for: empty where nothing can have that id."""
    given = received.parameters[0]
    rest = given.removeprefix(f"{entity.prefix}_")
    is_one = rest != given and re.fullmatch(rf"[0-9a-f]{{{ID_DIGITS}}}", rest)
    return given if is_one else ""


def by(received: Received) -> By:
    """A request that is sent again under its Idempotency-Key makes the same entity."""
    made = blake2b(received.id, digest_size=ID_DIGITS // 2).hexdigest()
    request_id = received.request_id or str(UUID(bytes=received.id))
    return By(received.who.id, request_id, made, _IDEMPOTENCY_KEY in received.headers)


def expected(received: Received) -> int | None:
    """The revision that `If-Match` names; None where any will do. Raise `Rejected`."""
    given = received.headers.get(b"if-match", b"*").strip()
    if given == b"*":
        return None
    found = _REVISION.fullmatch(given)
    if found is None:
        raise Rejected("If-Match names one revision, as the ETag of an answer does")
    return int(found[1])


def page(received: Received) -> tuple[int, int]:
    """Limit and offset. Raise `Rejected`."""
    given = _query(received)
    found = _bounds(given)
    _nothing_else(given)
    return found


def wanted(entity: Entity[Any], received: Received) -> Wanted:
    """Raise `Rejected`, as for a parameter that is none."""
    given = _query(received)
    limit, offset = _bounds(given)
    archived = given.pop("archived", "false")
    if archived not in _ARCHIVED:
        raise BadField("archived is true, false or any", field="archived")
    order = given.pop("sort", "created_at")
    by_field, descending = order.removeprefix("-"), order.startswith("-")
    if by_field not in sorts(entity):
        raise BadField(f"sort by one of {', '.join(sorts(entity))}", field="sort")
    filters = {}
    for name, of in entity.fields.items():
        if of.plain and name in given:
            filters[name] = _converted(given.pop(name), of, name)
    _nothing_else(given)
    return Wanted(limit, offset, by_field, descending, _ARCHIVED[archived], filters)


def sorts(entity: Entity[Any]) -> list[str]:
    return [*_SORTED, *(name for name, of in entity.fields.items() if of.plain)]


def _query(received: Received) -> dict[str, str]:
    try:
        text = received.query.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except ValueError as error:
        raise Rejected("the query is no list of parameters") from error
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Rejected("a parameter is given twice")
    return found


def _bounds(given: dict[str, str]) -> tuple[int, int]:
    limit = _whole(given.pop("limit", "100"), "limit", 1, LIMIT_MAX)
    return limit, _whole(given.pop("offset", "0"), "offset", 0, _OFFSET_MAX)


def _whole(text: str, name: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or not least <= int(text) <= most:
        raise BadField(f"{name} is a whole number from {least} to {most}", field=name)
    return int(text)


def _converted(text: str, of: Field, name: str) -> Any:
    if of.optional and text == "null":
        return None
    try:
        value = msgspec.to_builtins(msgspec.convert(text, of.type, strict=False))
    except msgspec.ValidationError as error:
        raise BadField(str(error), field=name) from error
    _check_storable(value, name)
    return value


def _nothing_else(given: Mapping[str, str]) -> None:
    if given:
        raise Rejected(f"there is no parameter {', '.join(sorted(given))[:200]}")
