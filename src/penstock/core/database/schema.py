"""The tables of the database, as the newest of `steps` leaves them."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)
from sqlalchemy.dialects.postgresql import JSONB

METADATA = MetaData()
_KIND = ("application", "project", "kind")
_ENTITY = (*_KIND, "id")
_OF_ENTITIES = [f"entities.{name}" for name in _ENTITY]


def _texts(*names: str, key: bool = False) -> list[Column[str]]:
    return [Column(name, String, primary_key=key, nullable=False) for name in names]


def _body(name: str, *, nullable: bool = False) -> Column[object]:
    kind = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    return Column(name, kind, nullable=nullable)


ENTITIES = Table(
    "entities",
    METADATA,
    *_texts(*_ENTITY, key=True),
    Column("revision", BigInteger, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    _body("body"),
)
TAKEN = Table(
    "taken",
    METADATA,
    *_texts(*_KIND, "field", "digest", key=True),
    *_texts("id"),
    ForeignKeyConstraint(_ENTITY, _OF_ENTITIES, ondelete="CASCADE"),
    Index("taken_by", *_ENTITY),
)
"""Values of unique fields, as SHA-256 of their JSON since a value may be too long for an index."""
USES = Table(
    "uses",
    METADATA,
    *_texts(*_ENTITY, "used_kind", "used_id", key=True),
    ForeignKeyConstraint(_ENTITY, _OF_ENTITIES, ondelete="CASCADE"),
    ForeignKeyConstraint(["application", "project", "used_kind", "used_id"], _OF_ENTITIES),
    Index("uses_of", "application", "project", "used_kind", "used_id"),
)
"""Which entity names which; what is named cannot be removed."""
AUDIT = Table(
    "audit",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    *_texts(*_ENTITY, "action"),
    Column("revision", BigInteger, nullable=False),
    *_texts("who", "request_id"),
    Column("at_ms", BigInteger, nullable=False),
    _body("before", nullable=True),
    _body("after", nullable=True),
    Index("audit_of", *_ENTITY, "number"),
)
"""What was done to whom by whom; for ever."""
NUMBERS = Table(
    "numbers",
    METADATA,
    *_texts("application", key=True),
    Column("era", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("whole", BigInteger, nullable=False),
)
"""Of the newest change of each application. Whoever makes one holds the row until it is committed,
so that the order of numbers is that of commits. `whole`: of the one that ends a republication, if
the era began with one.
"""
OUTBOX = Table(
    "outbox",
    METADATA,
    *_texts("application", key=True),
    Column("era", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    *_texts("project"),
    _body("event"),
)
"""Changes that the log may not have yet."""
OLDEST = Table("oldest", METADATA, *_texts("step"))
"""One row: the oldest step whose programs may go on with this schema."""
