"""Entities in the database: each change one transaction, with its audit and its outbox."""

from collections.abc import Callable
from hashlib import sha256
from math import inf
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from penstock.core.clock import Clock
from penstock.core.database import Database
from penstock.core.database.schema import AUDIT, ENTITIES, TAKEN, USES
from penstock.core.editing import outbox
from penstock.core.editing.listing import ordered, selected
from penstock.core.entities import By, Entity, Entry, Kept, Wanted
from penstock.core.entities.values import plain
from penstock.core.errors import BadField, Conflict, InUse, KeyReused, NotFound, Taken

M = TypeVar("M", bound=msgspec.Struct)
T = TypeVar("T")
_USERS_NAMED = 10
_ATTEMPTS = 3


class Keeping:
    """An application's entities of one project; see `core.entities.Entities`."""

    def __init__(
        self,
        database: Database,
        application: str,
        project: str,
        clock: Clock,
        changed: Callable[[], None],
        *,
        until: float = inf,
    ) -> None:
        """`changed` is called after every change, once it is durable; after `until`, of
        `time.monotonic`, there is none.
        """
        self._database = database
        self._own = {"application": application, "project": project}
        self._clock = clock
        self._changed = changed
        self._until = until

    def listed(self, entity: Entity[Any], wanted: Wanted) -> tuple[list[Kept], int]:
        which = and_(self._all(entity), *selected(entity, wanted, self._database.embedded))
        order = ordered(entity, wanted, self._database.embedded)
        with self._database.read() as connection:
            count = connection.scalar(select(func.count()).select_from(ENTITIES).where(which))
            rows = connection.execute(
                select(ENTITIES)
                .where(which)
                .order_by(*order)
                .limit(wanted.limit)
                .offset(wanted.offset)
            )
            return [outbox.kept(row) for row in rows.mappings()], count or 0

    def get(self, entity: Entity[Any], id_: str) -> Kept:
        with self._database.read() as connection:
            return self._found(connection, entity, id_)

    def create(self, entity: Entity[M], model: M, by: By) -> Kept:
        id_, body = f"{entity.prefix}_{by.id}", plain(model)

        def change(connection: Connection) -> Kept:
            if by.repeats and (known := self._made(connection, entity, id_, model)):
                return known
            now_ms = self._clock.now_ms()
            kept = Kept(id_, 1, archived=False, created_ms=now_ms, updated_ms=now_ms, body=body)
            connection.execute(insert(ENTITIES).values(self._row(entity, kept)))
            self._point(connection, entity, kept)
            self._tell(connection, entity, "create", by, before=None, after=kept)
            return kept

        return self._write(change)

    def replace(self, entity: Entity[M], id_: str, model: M, expected: int | None, by: By) -> Kept:
        body = plain(model)

        def change(connection: Connection) -> Kept:
            before = self._held(connection, entity, id_, expected)
            if entity.same(before.body, model):
                return before
            after = self._saved(connection, entity, before, body=body)
            self._forget(connection, entity, id_)
            self._point(connection, entity, after)
            self._tell(connection, entity, "replace", by, before=before, after=after)
            return after

        return self._write(change)

    def archive(
        self, entity: Entity[Any], id_: str, expected: int | None, by: By, *, archived: bool
    ) -> Kept:
        def change(connection: Connection) -> Kept:
            before = self._held(connection, entity, id_, expected)
            if before.archived == archived:
                return before
            after = self._saved(connection, entity, before, archived=archived)
            action = "archive" if archived else "unarchive"
            self._tell(connection, entity, action, by, before=before, after=after)
            return after

        return self._write(change)

    def remove(self, entity: Entity[Any], id_: str, expected: int | None, by: By) -> None:
        def change(connection: Connection) -> None:
            before = self._held(connection, entity, id_, expected, removes=True)
            self._check_unused(connection, entity, id_)
            connection.execute(delete(ENTITIES).where(self._one(ENTITIES, entity, id_)))
            gone = msgspec.structs.replace(before, revision=before.revision + 1)
            self._tell(connection, entity, "remove", by, before=before, after=gone, removed=True)

        self._write(change)

    def history(
        self, entity: Entity[Any], id_: str, limit: int, offset: int
    ) -> tuple[list[Entry], int]:
        which = self._one(AUDIT, entity, id_)
        with self._database.read() as connection:
            count = connection.scalar(select(func.count()).select_from(AUDIT).where(which))
            if not count:
                raise NotFound(f"there is no {entity.kind} {id_}, and was none")
            columns = [AUDIT.c[name] for name in Entry.__struct_fields__]
            rows = connection.execute(
                select(*columns)
                .where(which)
                .order_by(AUDIT.c.number.desc())
                .limit(limit)
                .offset(offset)
            )
            return [Entry(**row) for row in rows.mappings()], count

    # -- reading --------------------------------------------------------------------------------

    def _all(self, entity: Entity[Any]) -> ColumnElement[bool]:
        return self._of(ENTITIES, entity)

    def _of(self, table: Any, entity: Entity[Any]) -> ColumnElement[bool]:
        named = {**self._own, "kind": entity.kind}
        return and_(*(table.c[name] == value for name, value in named.items()))

    def _one(self, table: Any, entity: Entity[Any], id_: str) -> ColumnElement[bool]:
        return and_(self._of(table, entity), table.c.id == id_)

    def _found(self, connection: Connection, entity: Entity[Any], id_: str) -> Kept:
        return self._read(connection, entity, id_, select(ENTITIES))

    def _read(
        self, connection: Connection, entity: Entity[Any], id_: str, statement: Select[Any]
    ) -> Kept:
        statement = statement.where(self._one(ENTITIES, entity, id_))
        row = connection.execute(statement).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no {entity.kind} {id_}")
        return outbox.kept(row)

    def _held(
        self,
        connection: Connection,
        entity: Entity[Any],
        id_: str,
        expected: int | None,
        *,
        removes: bool = False,
    ) -> Kept:
        """Nobody else changes it until the end of the transaction; others may come to use it, but
        not where it is to be removed: of two that use each other, neither waits for the other.
        """
        held = select(ENTITIES).with_for_update(key_share=not removes)
        found = self._read(connection, entity, id_, held)
        if expected is not None and expected != found.revision:
            raise Conflict(
                f"{id_} is at revision {found.revision} by now, and not {expected}; read it again"
            )
        return found

    def _made(self, connection: Connection, entity: Entity[M], id_: str, model: M) -> Kept | None:
        """What the same request has made before, if it has. Raise `KeyReused`."""
        first = and_(self._one(AUDIT, entity, id_), AUDIT.c.revision == 1)
        made = connection.scalar(select(AUDIT.c.after).where(first))
        if made is None:
            return None
        if not entity.same(made["body"], model):
            raise KeyReused
        return self._found(connection, entity, id_)

    def _check_unused(self, connection: Connection, entity: Entity[Any], id_: str) -> None:
        used = and_(
            *(USES.c[name] == value for name, value in self._own.items()),
            USES.c.used_kind == entity.kind,
            USES.c.used_id == id_,
            ~and_(USES.c.kind == entity.kind, USES.c.id == id_),
        )
        users = connection.execute(
            select(USES.c.kind, USES.c.id).where(used).order_by(USES.c.kind, USES.c.id)
        ).all()
        if users:
            more = len(users) - _USERS_NAMED
            named = ", ".join(f"{kind} {of}" for kind, of in users[:_USERS_NAMED])
            raise InUse(
                f"{id_} is used by {named}{f' and {more} more' if more > 0 else ''}; archive it "
                "instead"
            )

    # -- writing --------------------------------------------------------------------------------

    def _write(self, change: Callable[[Connection], T]) -> T:
        for _ in range(_ATTEMPTS):
            try:
                with self._database.write(self._until) as connection:
                    found = change(connection)
            except IntegrityError:  # somebody was quicker; a second look says with what
                continue
            self._changed()
            return found
        raise Conflict("others change the same at the same time; try again")

    def _row(self, entity: Entity[Any], kept: Kept) -> dict[str, Any]:
        return {**self._own, "kind": entity.kind, **msgspec.structs.asdict(kept)}

    def _saved(
        self, connection: Connection, entity: Entity[Any], before: Kept, **changed: Any
    ) -> Kept:
        """With its next revision."""
        after = msgspec.structs.replace(
            before,
            revision=before.revision + 1,
            updated_ms=max(self._clock.now_ms(), before.updated_ms),
            **changed,
        )
        connection.execute(
            update(ENTITIES)
            .where(self._one(ENTITIES, entity, before.id))
            .values(msgspec.structs.asdict(after))
        )
        return after

    def _forget(self, connection: Connection, entity: Entity[Any], id_: str) -> None:
        for table in (TAKEN, USES):
            connection.execute(delete(table).where(self._one(table, entity, id_)))

    def _point(self, connection: Connection, entity: Entity[Any], kept: Kept) -> None:
        """Write down what it takes for itself, and what it uses. Raise `Taken` and `BadField`."""
        key = {**self._own, "kind": entity.kind, "id": kept.id}
        for name in entity.unique:
            value = kept.body.get(name)
            if value is None:
                continue
            digest = sha256(msgspec.json.encode(value)).hexdigest()
            of = and_(self._of(TAKEN, entity), TAKEN.c.field == name, TAKEN.c.digest == digest)
            if (other := connection.scalar(select(TAKEN.c.id).where(of))) is not None:
                raise Taken(f"{name} is that of {other} already", field=name)
            connection.execute(insert(TAKEN).values(**key, field=name, digest=digest))
        pointed = set()
        for name, kind, id_ in sorted(entity.used(kept.body)):
            there = and_(
                *(ENTITIES.c[of] == value for of, value in self._own.items()),
                ENTITIES.c.kind == kind,
                ENTITIES.c.id == id_,
            )
            if connection.scalar(select(ENTITIES.c.revision).where(there)) is None:
                raise BadField(f"there is no {kind} {id_[:64]}", field=name)
            pointed.add((kind, id_))
        if pointed:
            connection.execute(
                insert(USES),
                [{**key, "used_kind": kind, "used_id": id_} for kind, id_ in sorted(pointed)],
            )

    def _tell(
        self,
        connection: Connection,
        entity: Entity[Any],
        action: str,
        by: By,
        *,
        before: Kept | None,
        after: Kept,
        removed: bool = False,
    ) -> None:
        now_ms = self._clock.now_ms()
        connection.execute(
            insert(AUDIT).values(
                **self._own,
                kind=entity.kind,
                id=after.id,
                action=action,
                revision=after.revision,
                who=by.who,
                request_id=by.request_id,
                at_ms=now_ms,
                before=None if before is None else _told(before),
                after=None if removed else _told(after),
            )
        )
        outbox.add(
            connection, **self._own, kind=entity.kind, kept=after, now_ms=now_ms, removed=removed
        )


def _told(kept: Kept) -> dict[str, Any]:
    return {"archived": kept.archived, "body": kept.body}
