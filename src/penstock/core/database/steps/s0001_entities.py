"""What people edit, who did it, and what leaves for the log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision, down_revision = "0001", None

_KIND = ["application", "project", "kind"]
_ENTITY = [*_KIND, "id"]
_OF_ENTITIES = [f"entities.{name}" for name in _ENTITY]


def _texts(*names: str, key: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, primary_key=key, nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _body(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.JSON().with_variant(JSONB(), "postgresql"), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "entities",
        *_texts(*_ENTITY, key=True),
        *_numbers("revision", "created_ms", "updated_ms"),
        sa.Column("archived", sa.Boolean, nullable=False),
        _body("body"),
    )
    op.create_table(
        "taken",
        *_texts(*_KIND, "field", "digest", key=True),
        *_texts("id"),
        sa.ForeignKeyConstraint(_ENTITY, _OF_ENTITIES, ondelete="CASCADE"),
    )
    op.create_index("taken_by", "taken", _ENTITY)
    op.create_table(
        "uses",
        *_texts(*_ENTITY, "used_kind", "used_id", key=True),
        sa.ForeignKeyConstraint(_ENTITY, _OF_ENTITIES, ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["application", "project", "used_kind", "used_id"], _OF_ENTITIES),
    )
    op.create_index("uses_of", "uses", ["application", "project", "used_kind", "used_id"])
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        *_texts(*_ENTITY, "action", "who", "request_id"),
        *_numbers("revision", "at_ms"),
        _body("before", nullable=True),
        _body("after", nullable=True),
    )
    op.create_index("audit_of", "audit", [*_ENTITY, "number"])
    op.create_table(
        "numbers", *_texts("application", key=True), *_numbers("era", "number", "whole")
    )
    op.create_table(
        "outbox",
        *_texts("application", key=True),
        sa.Column("era", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        *_texts("project"),
        _body("event"),
    )
    oldest = op.create_table("oldest", *_texts("step"))
    op.execute(oldest.insert().values(step=revision))
