"""Values of every kind, in whichever database: what is the same, and what null is."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from penstock.core.editing.keeping import Keeping
from penstock.core.entities import Entity, Wanted
from penstock.core.errors import KeyReused
from support.databases import by

TOLD = Meta(title="T", description="D.")


class Part(msgspec.Struct, frozen=True):
    size: tuple[int, int] = (1, 2)


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of everything."""

    pair: Annotated[tuple[int, str], TOLD] = (1, "x")
    tags: Annotated[tuple[str, ...], TOLD] = ()
    marks: Annotated[frozenset[str], TOLD] = frozenset()
    parts: Annotated[tuple[Part, ...], TOLD] = ()
    extra: Annotated[dict[str, Any], TOLD] = {}
    load: Annotated[float, TOLD] = 0.5
    at: Annotated[datetime, TOLD] = datetime(2026, 1, 1, tzinfo=UTC)
    raw: Annotated[bytes, TOLD] = b""
    number: Annotated[int | None, TOLD] = None
    text: Annotated[str | None, TOLD] = None
    part: Annotated[float | None, TOLD] = None
    lit: Annotated[bool | None, TOLD] = None
    room: Annotated[Literal["front", None], TOLD] = None  # noqa: PYI061 - one literal


class Less(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same before most of its fields came."""

    tags: Annotated[tuple[str, ...], TOLD] = ()


def entity(model: Any) -> Entity[Any]:
    return Entity(
        kind="thing", model=model, path="/api/things", prefix="thg", summary="Things.",
        example=model(),
    )  # fmt: skip


THING, LESS = entity(Thing), entity(Less)
THINGS = [
    Thing(pair=(2, "y")),
    Thing(tags=("a", "b")),
    Thing(marks=frozenset("abcdefgh")),
    Thing(parts=(Part(), Part((3, 4)))),
    Thing(extra={"z": (1, [2.0, None]), "a": {"t": ()}, "": True}),
    Thing(extra={"far": [1e300, 1.2345678901234567e18], "near": [(1 << 53) + 1, -1e-300]}),
    *(Thing(load=load) for load in (1e23, 2.0, 1e-300, 123456789.123456789, -0.0, 5e300)),
    Thing(at=datetime(2026, 5, 4, 3, 2, 1, 999, tzinfo=UTC)),
    Thing(raw=bytes(range(9))),
    Thing(number=-(1 << 63)),
]


def bodies(things: Keeping, **wanted: Any) -> list[Any]:
    return [kept.body for kept in things.listed(THING, Wanted(**wanted))[0]]


def test_whatever_its_fields_are_a_repeat_makes_one_and_saving_the_same_no_revision(
    shop: Keeping,
) -> None:
    for number, thing in enumerate(THINGS):
        asked = by(id_=f"{number:024}", repeats=True)
        made = shop.create(THING, thing, asked)
        assert THING.same(made.body, thing)
        assert shop.create(THING, thing, asked).revision == 1, thing
        assert shop.replace(THING, made.id, thing, None, by()).revision == 1, thing
        other = msgspec.structs.replace(thing, tags=("c",))
        with pytest.raises(KeyReused):
            shop.create(THING, other, asked)
        assert shop.replace(THING, made.id, other, None, by()).revision == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (False, 0), (1 << 53, (1 << 53) + 1), (1, "1"), ([], {}), ([1], [1, 1]), (None, 0)],
)
def test_what_is_another_is_saved(shop: Keeping, one: Any, other: Any) -> None:
    made = shop.create(THING, Thing(extra={"a": one}), by())
    saved = shop.replace(THING, made.id, Thing(extra={"a": other}), None, by())
    assert (saved.revision, saved.body["extra"]) == (2, {"a": other})


def test_a_repeat_is_one_though_a_field_came_meanwhile(shop: Keeping) -> None:
    asked = by(repeats=True)
    made = shop.create(LESS, Less(("a",)), asked)
    assert shop.create(THING, Thing(tags=("a",)), asked) == made
    assert shop.replace(THING, made.id, Thing(tags=("a",)), None, by()) == made
    assert shop.replace(THING, made.id, Thing(lit=True), None, by()).revision == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("number", 0), ("text", "null"), ("part", 0.0), ("lit", False), ("room", "front")],
)
def test_null_is_asked_for_like_a_value_whether_it_was_given_or_the_field_came_later(
    shop: Keeping, field: str, value: Any
) -> None:
    given = shop.create(THING, Thing(), by(id_="2" * 24))
    some = shop.create(THING, Thing(**{field: value}), by(id_="1" * 24))
    older = shop.create(LESS, Less(), by(id_="3" * 24))
    assert bodies(shop, sort="id", filters={field: None}) == [given.body, older.body]
    assert bodies(shop, filters={field: value}) == [some.body]
    assert bodies(shop, sort=field) == [given.body, older.body, some.body]
    assert bodies(shop, sort=field, descending=True) == [some.body, older.body, given.body]
