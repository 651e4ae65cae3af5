"""Entities become operations: list, create, read, replace, remove, archive, and their history.

What they are for clients is made of the declaration, as everything else that clients are told.
"""

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from penstock.core.edge import NO_CONTENT, Received, Reply, Response
from penstock.core.edge.reading import check_type
from penstock.core.entities import ID_DIGITS, Entity, Entry, Kept, asked
from penstock.core.errors import (
    BadField,
    Conflict,
    InUse,
    NotFound,
    PenstockError,
    Rejected,
    Taken,
)
from penstock.core.interface import Answer, Body, Interface, Parameter
from penstock.core.manifest import Context, Manifest, Route

Answering = Callable[[Received, Context], Awaitable[Response | Reply]]

_ETAG, _LOCATION, _REQUEST_ID = b"etag", b"location", b"x-request-id"
_EXAMPLE_ID = "0123456789abcdef01234567"
_At = Annotated[str, Meta(description="In UTC, with milliseconds.")]
_Revision = Annotated[
    int, Meta(ge=1, description="1 for a new one, and one more with each change.")
]
_Archived = Annotated[bool, Meta(description="Kept, and no longer in use.")]

_IF_MATCH = Parameter(
    name="If-Match",
    place="header",
    shape=str,
    meaning="The revision that is to be changed, as the `ETag` of an answer has it; where another "
    "one is there by now the answer is 409. Without one, whichever is there is changed.",
)
_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    shape=Annotated[str, Meta(min_length=1, max_length=64)],
    meaning="A repeat under it makes no second one, and is answered with the first as it is now.",
)
_PAGE = (
    Parameter(
        name="limit",
        shape=Annotated[int, Meta(ge=1, le=asked.LIMIT_MAX)],
        meaning="How many at most. Default: 100.",
    ),
    Parameter(
        name="offset",
        shape=Annotated[int, Meta(ge=0)],
        meaning="How many of the first are left out. Default: 0.",
    ),
)


def routes(manifest: Manifest) -> Iterator[Route]:
    """What an application's entities are asked and changed by."""
    for entity in manifest.entities:
        yield from _Offers(manifest.name, entity).routes()


_FILTERED = {
    False: "Only those that have this.",
    True: "Only those that have this; `null`: only those that have none.",
}


class _Offers:
    def __init__(self, application: str, entity: Entity[Any]) -> None:
        self.application = application
        self.entity = entity
        self._name = entity.kind.replace("_", " ")
        self._whole = self._kept()

    def routes(self) -> Iterator[Route]:
        takes = Body(
            shape=self.entity.model,
            meaning=f"All of a {self._name}'s own fields; others are answered 400.",
            example=msgspec.json.encode(self.entity.example),
        )
        saves = (BadField, Rejected, Taken)
        a = f"a {self._name}"
        yield self._route(
            "list", "GET", _list, self._listed(), f"List: {self.entity.summary}", below=""
        )
        made = _interface(self._one("It is made.", 201), (_KEY,), saves, takes)
        yield self._route("create", "POST", _create, made, f"Make {a}.", below="")
        read = _interface(self._one("As it is."), (self._id,), (NotFound,))
        yield self._route("read", "GET", _read, read, f"One {self._name}.")
        held, changed = (self._id, _IF_MATCH), self._one("As it is now.")
        replaced = _interface(changed, held, (*saves, Conflict, NotFound), takes)
        yield self._route("replace", "PUT", _replace, replaced, f"Replace what {a} is.")
        gone = Answer(status=204, meaning="It is no more; its history stays.")
        removed = _interface(gone, held, (Conflict, InUse, NotFound, Rejected))
        yield self._route("remove", "DELETE", _remove, removed, f"Remove {a} that nothing uses.")
        for name, method, does in (
            ("archive", "PUT", f"Put {a} away: it is kept, and no longer in use."),
            ("unarchive", "DELETE", f"Take {a} into use again."),
        ):
            archived = _interface(changed, held, (Conflict, NotFound, Rejected))
            answer = partial(_archive, name == "archive")
            yield self._route(name, method, answer, archived, does, below="/{id}/archive")
        done = Answer(meaning="The newest first.", shape=History)
        told = _interface(done, (self._id, *_PAGE), (NotFound, BadField, Rejected))
        who = f"Who has done what to {a}, also to one that was removed."
        yield self._route("history", "GET", _history, told, who, below="/{id}/history")

    def _route(
        self,
        name: str,
        method: str,
        answer: Callable[[Entity[Any], Received, Context], Awaitable[Response]],
        interface: Interface,
        summary: str,
        *,
        below: str = "/{id}",
    ) -> Route:
        takes = interface.takes is not None
        return Route(
            operation=f"{self.application}.{self.entity.kind}.{name}",
            methods=(method,),
            paths=(self.entity.path + below,),
            hosts="console",
            handle=partial(answer, self.entity),
            body_bytes_max=self.entity.body_bytes_max if takes else 1_024,
            summary=summary,
            interface=interface,
            access=self.entity.access,
            limits=self.entity.limits,
        )

    # -- shapes ---------------------------------------------------------------------------------

    @property
    def _id(self) -> Parameter:
        return Parameter(
            name="id",
            place="path",
            shape=Annotated[str, Meta(pattern=f"^{self.entity.prefix}_[0-9a-f]{{{ID_DIGITS}}}$")],
            meaning="Its id.",
            required=True,
            example=(f"{self.entity.prefix}_{_EXAMPLE_ID}",),
        )

    def _kept(self) -> type[msgspec.Struct]:
        model = self.entity.model
        own = [(of.name, of.type) for of in msgspec.structs.fields(model)]
        about = f"A {self._name} as it is kept. {model.__doc__ or ''}".strip()
        fields: list[Any] = [
            ("id", Annotated[str, Meta(description="Its name for programs, for ever.")]),
            ("revision", _Revision),
            ("archived", _Archived),
            ("created_at", _At),
            ("updated_at", _At),
        ]
        return msgspec.defstruct(
            f"Kept{model.__name__}", fields + own, namespace={"__doc__": about}
        )

    def _one(self, meaning: str, status: int = 200) -> Answer:
        return Answer(status=status, meaning=meaning, shape=self._whole)

    def _listed(self) -> Interface:
        shape = msgspec.defstruct(
            f"{self.entity.model.__name__}List",
            [
                ("items", GenericAlias(list, (self._whole,))),
                ("total", Annotated[int, Meta(description="How many there are in all.")]),
            ],
            namespace={"__doc__": f"Some of what there is. {self.entity.summary}"},
        )
        filters = [
            Parameter(name=name, shape=of.type, meaning=_FILTERED[of.optional])
            for name, of in self.entity.fields.items()
            if of.plain
        ]
        sorts = " or ".join(f"`{name}`" for name in asked.sorts(self.entity))
        own = (
            *_PAGE,
            Parameter(
                name="sort",
                shape=str,
                meaning=f"{sorts}; with `-` before it, from the last. Default: `created_at`.",
            ),
            Parameter(
                name="archived",
                shape=Literal["true", "false", "any"],
                meaning="Those that are archived, or not. Default: `false`.",
            ),
        )
        answer = Answer(meaning="Those that were asked for.", shape=shape)
        return _interface(answer, (*own, *filters), (BadField, Rejected))


class Done(msgspec.Struct, frozen=True):
    """Something that was done to an entity."""

    action: Annotated[str, Meta(description="create, replace, archive, unarchive or remove.")]
    revision: _Revision
    who: Annotated[str, Meta(description="Whose key it was; empty where anybody may.")]
    at: _At
    request_id: Annotated[str, Meta(description="Of the request; its answer has it as well.")]
    before: Annotated[
        dict[str, Any] | None, Meta(description="`archived` and `body`; null of a new one.")
    ]
    after: Annotated[
        dict[str, Any] | None, Meta(description="The same; null of one that was removed.")
    ]


class History(msgspec.Struct, frozen=True):
    """What was done to an entity."""

    items: list[Done]
    total: Annotated[int, Meta(description="How much there is in all.")]


def _interface(
    answer: Answer,
    parameters: tuple[Parameter, ...],
    errors: tuple[type[PenstockError], ...],
    takes: Body | None = None,
) -> Interface:
    codes = [kind.default_code for kind in errors]
    return Interface(
        parameters=parameters, takes=takes, answers=(answer,), errors=tuple(dict.fromkeys(codes))
    )


# -- answering ------------------------------------------------------------------------------------


async def _list(entity: Entity[Any], received: Received, context: Context) -> Response:
    wanted = asked.wanted(entity, received)
    found, total = await context.edit(lambda of: of.listed(entity, wanted))
    return Response.json({"items": [_told(entity, kept) for kept in found], "total": total})


async def _create(entity: Entity[Any], received: Received, context: Context) -> Response:
    model, by = _model(entity, received), asked.by(received)
    kept = await context.edit(lambda of: of.create(entity, model, by))
    made = _answer(entity, kept, by.request_id, 201)
    location = (_LOCATION, f"{entity.path}/{kept.id}".encode())
    return msgspec.structs.replace(made, headers=(*made.headers, location))


def _model(entity: Entity[Any], received: Received) -> Any:
    check_type(received)
    return asked.model(entity, received.body)


async def _read(entity: Entity[Any], received: Received, context: Context) -> Response:
    id_ = _named(entity, received)
    return _answer(entity, await context.edit(lambda of: of.get(entity, id_)))


async def _replace(entity: Entity[Any], received: Received, context: Context) -> Response:
    id_, expected, by = _named(entity, received), asked.expected(received), asked.by(received)
    model = _model(entity, received)
    kept = await context.edit(lambda of: of.replace(entity, id_, model, expected, by))
    return _answer(entity, kept, by.request_id)


async def _archive(
    archived: bool,
    entity: Entity[Any],
    received: Received,
    context: Context,
) -> Response:
    id_, expected, by = _named(entity, received), asked.expected(received), asked.by(received)
    kept = await context.edit(lambda of: of.archive(entity, id_, expected, by, archived=archived))
    return _answer(entity, kept, by.request_id)


async def _remove(entity: Entity[Any], received: Received, context: Context) -> Response:
    id_, expected, by = _named(entity, received), asked.expected(received), asked.by(received)
    await context.edit(lambda of: of.remove(entity, id_, expected, by))
    return Response(NO_CONTENT.status, headers=((_REQUEST_ID, by.request_id.encode()),))


async def _history(entity: Entity[Any], received: Received, context: Context) -> Response:
    id_, (limit, offset) = _named(entity, received), asked.page(received)
    found, total = await context.edit(lambda of: of.history(entity, id_, limit, offset))
    return Response.json(History([_done(entry) for entry in found], total))


def _named(entity: Entity[Any], received: Received) -> str:
    """Raise `NotFound` for what is no id."""
    if not (id_ := asked.id_of(entity, received)):
        raise NotFound(f"there is no such {entity.kind}")
    return id_


def _answer(entity: Entity[Any], kept: Kept, request_id: str = "", status: int = 200) -> Response:
    told = Response.json(_told(entity, kept), status)
    headers = [*told.headers, (_ETAG, b'"%d"' % kept.revision)]
    headers += [(_REQUEST_ID, request_id.encode())] if request_id else []
    return Response(status, told.body, tuple(headers))


def _told(entity: Entity[Any], kept: Kept) -> dict[str, Any]:
    return {
        "id": kept.id,
        "revision": kept.revision,
        "archived": kept.archived,
        "created_at": _at(kept.created_ms),
        "updated_at": _at(kept.updated_ms),
        **entity.whole(kept.body),
    }


def _done(entry: Entry) -> Done:
    return Done(
        entry.action, entry.revision, entry.who, _at(entry.at_ms), entry.request_id, entry.before,
        entry.after,
    )  # fmt: skip


def _at(ms: int) -> str:
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
