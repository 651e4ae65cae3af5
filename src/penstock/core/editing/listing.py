"""Which entities a list has, and in which order: the same on both databases.

Fields lie in JSON. SQLite takes a value out of it as its own; PostgreSQL compares JSON, and texts
byte by byte, as SQLite does. What an entity does not have yet counts as the field's default.
"""

from typing import Any

from msgspec import NODEFAULT
from sqlalchemy import ColumnElement, String, cast, func, literal, literal_column
from sqlalchemy.dialects.postgresql import JSONB

from penstock.core.database.schema import ENTITIES
from penstock.core.entities import Entity, Wanted

_COLUMNS = {"created_at": "created_ms", "updated_at": "updated_ms"}


_NULL: ColumnElement[Any] = literal_column("'null'::jsonb")
"""Whether it is there, or lacks: null is null."""


def selected(entity: Entity[Any], wanted: Wanted, embedded: bool) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.archived is not None:
        found.append(ENTITIES.c.archived == wanted.archived)
    for name, value in wanted.filters.items():
        field = _field(entity, name, embedded=embedded)
        if value is None:
            found.append(field.is_(None))
        else:
            found.append(field == (literal(value) if embedded else cast(value, JSONB)))
    return found


def ordered(entity: Entity[Any], wanted: Wanted, embedded: bool) -> list[ColumnElement[Any]]:
    """Ties are in the order of ids."""
    by: ColumnElement[Any]
    if wanted.sort in entity.fields:
        by = _field(entity, wanted.sort, embedded=embedded, text=entity.fields[wanted.sort].text)
    else:
        by = ENTITIES.c[_COLUMNS.get(wanted.sort, wanted.sort)]
        by = by if embedded or wanted.sort != "id" else by.collate("C")
    tie = ENTITIES.c.id if embedded else ENTITIES.c.id.collate("C")
    if wanted.descending:
        return [by.desc().nulls_last(), tie.desc()]
    return [by.asc().nulls_first(), tie.asc()]


def _field(
    entity: Entity[Any], name: str, *, embedded: bool, text: bool = False
) -> ColumnElement[Any]:
    default = entity.fields[name].default
    lacks = default is NODEFAULT or default is None
    body = ENTITIES.c.body
    if embedded:
        value: ColumnElement[Any] = func.json_extract(body, f'$."{name}"')
        return value if lacks else func.coalesce(value, literal(default))
    if text:
        value = body.op("->>", return_type=String())(name)
        return (value if lacks else func.coalesce(value, literal(default))).collate("C")
    value = func.nullif(body.op("->", return_type=JSONB())(name), _NULL)
    return value if lacks else func.coalesce(value, cast(default, JSONB))
