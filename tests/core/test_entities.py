"""What may be declared of entities, and asked about them."""

from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from penstock.core.edge import Received
from penstock.core.entities import Entity, Wanted, asked, changes
from penstock.core.errors import BadField, Rejected
from penstock.core.manifest import Manifest
from support.shop import ITEM, SHELF, Name, Settings, manifest


def model(*fields: Any, **config: Any) -> type[msgspec.Struct]:
    shape = {"frozen": True, "forbid_unknown_fields": True, **config}
    return msgspec.defstruct("Model", [("name", Name, "A"), *fields], **shape)


def entity(of: type[msgspec.Struct], **more: Any) -> Entity[Any]:
    return Entity(
        kind="thing", model=of, path="/api/things", prefix="thg", summary="Things.", example=of(),
        **more,
    )  # fmt: skip


TITLED = Meta(title="T", description="D.")


@pytest.mark.parametrize(
    ("of", "more", "reason"),
    [
        (model(frozen=False), {}, "is frozen, and forbids"),
        (model(forbid_unknown_fields=False), {}, "is frozen, and forbids"),
        (model(array_like=True), {}, "an object with all its fields"),
        (model(omit_defaults=True), {}, "an object with all its fields"),
        (model(rename="upper"), {}, "name of thing has one name"),
        (model(("id", Annotated[str, TITLED], "")), {}, "id of thing is what every entity has"),
        (model(("size", int, 1)), {}, "size of thing lacks a title or a description"),
        (
            model(("size", Annotated[int | None, TITLED], 1)),
            {},
            "size of thing may be null, and so null is its default",
        ),
        (model(), {"unique": ("size",)}, "thing has no size"),
        (model(), {"checks": {"size": str}}, "thing has no size"),
        (model(), {"uses": {"size": "thing"}}, "thing has no size"),
        (
            model(("tags", Annotated[list[str], TITLED], msgspec.field(default_factory=list))),
            {"unique": ("tags",)},
            "tags of thing is no single value",
        ),
    ],
)
def test_what_cannot_be_kept_is_no_entity(
    of: type[msgspec.Struct], more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        entity(of, **more)


@pytest.mark.parametrize("named", [{"kind": "Thing"}, {"prefix": "t"}, {"kind": "a-b"}])
def test_kinds_and_prefixes_are_small_letters(named: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="small letters"):
        replace(SHELF, **named)


@pytest.mark.parametrize(
    ("entities", "reason"),
    [
        ((ITEM,), "item uses shelf, undeclared"),
        ((SHELF, replace(SHELF, path="/api/others", prefix="oth")), "shelf is the kind of two"),
        ((SHELF, replace(SHELF, kind="other", prefix="oth")), "/api/shelves is the path of two"),
        ((SHELF, replace(SHELF, kind="other", path="/api/others")), "shf is the prefix of two"),
    ],
)
def test_entities_that_cannot_be_told_apart_are_refused(
    entities: tuple[Entity[Any], ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Manifest(
            name="shop", summary="A shop.", settings=Settings, topics=(), entities=entities,
            package="support.shop",
        )  # fmt: skip


def test_entities_bring_the_topic_of_their_changes_once() -> None:
    assert manifest.topics == (changes("shop"),)
    assert not manifest.topics[0].kept.is_bounded
    assert replace(manifest).topics == (changes("shop"),)


# -- what is asked --------------------------------------------------------------------------------


def received(query: bytes = b"", id_: str = "", body: bytes = b"", **headers: str) -> Received:
    lines = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Received("GET", (id_,), query, lines, body, "", 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", None),
        (b'{"name":"A","code":"a","id":"x"}', "id"),
        (b'{"name":"A","code":"a","colour":"red"}', "colour"),
        (b'{"name":"A"}', "code"),
        (b'{"name":7,"code":"a"}', "name"),
        (b'{"name":"","code":"a"}', "name"),
        (b'{"name":"A","code":"NO"}', "code"),
        (b'{"name":"A","code":"a","height":3}', "height"),
        (b'{"name":"A","code":"a","load":-1}', "load"),
        (b'{"name":"A\\u0000","code":"a"}', "name"),
        (b'{"name":"A","code":"a","room":"cellar"}', "room"),
        (b'{"name":"\\ud800","code":"a"}', None),
        (b'{"name":"A","code":"a","load":1e999}', None),
        (b"[" * 5_000, None),
        (b'{"name":"\xff","code":"a"}', None),
    ],
)
def test_what_is_no_entity_is_refused_and_told_where(body: bytes, field: str | None) -> None:
    with pytest.raises(Rejected) as refused:
        asked.model(SHELF, body)
    assert refused.value.code == ("bad_field" if field else refused.value.code)
    assert refused.value.field == (field or refused.value.field)


THING = entity(
    model(
        ("tags", Annotated[tuple[str, ...], TITLED], ()),
        ("extra", Annotated[dict[str, Any], TITLED], {}),
        ("sizes", Annotated[dict[Annotated[str, Meta(max_length=2)], list[int]], TITLED], {}),
        ("number", Annotated[int | None, TITLED], None),
        ("whole", Annotated[int, TITLED], 0),
        ("text", Annotated[str | None, TITLED], None),
        ("room", Annotated[Literal["front", None], TITLED], None),  # noqa: PYI061 - one literal
    )
)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"tags":["a",7]}', "tags"),
        (b'{"tags":["\\u0000"]}', "tags"),
        (b'{"sizes":{"a":["x"]}}', "sizes"),
        (b'{"sizes":{"abc":[1]}}', "sizes"),
        (b'{"sizes":7}', "sizes"),
        (b'{"number":9223372036854775808}', "number"),
        (b'{"extra":{"a":-9223372036854775809}}', "extra"),
        *((b'{"extra":{"a":' + b"[" * n + b"]" * n + b"}}", "extra") for n in (101, 500, 900)),
        (b'{"extra":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}", "extra"),
    ],
)
def test_the_field_is_named_however_deep_in_it_something_is_wrong(body: bytes, field: str) -> None:
    with pytest.raises(BadField) as refused:
        asked.model(THING, body)
    assert refused.value.field == field


@pytest.mark.parametrize("n", [*range(940, 1_001), 2_000, 20_000])
def test_no_depth_is_a_fault_of_ours(n: int) -> None:
    with pytest.raises(Rejected):
        asked.model(THING, b'{"extra":{"a":' + b"[" * n + b"]" * n + b"}}")


def test_what_is_not_too_deep_or_too_large_is_taken() -> None:
    whole = (-(1 << 63), (1 << 63) - 1)
    for number in whole:
        found = asked.model(
            THING, b'{"whole":%d,"extra":{"a":%s}}' % (number, b"[" * 100 + b"]" * 100)
        )
        assert found.whole == number
        query = f"whole={number}&number={number}".encode()
        assert asked.wanted(THING, received(query)).filters == {"whole": number, "number": number}


def test_null_is_null_wherever_it_may_be() -> None:
    query = b"number=null&text=null&room=null&name=null"
    assert asked.wanted(THING, received(query)).filters == {
        "number": None, "text": None, "room": None, "name": "null",
    }  # fmt: skip
    assert asked.wanted(THING, received(b"text=nul")).filters == {"text": "nul"}
    with pytest.raises(BadField):
        asked.wanted(THING, received(b"whole=null"))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("offset=-1", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("sort=colour", "sort"),
        ("archived=maybe", "archived"),
        ("height=tall", "height"),
        ("height=99999999999999999999", "height"),
        ("height=-9223372036854775809", "height"),
        ("load=nan", "load"),
        ("lit=perhaps", "lit"),
        ("room=cellar", "room"),
        ("name=%00", "name"),
        ("name=%ff", ""),
        ("colour=red", ""),
        ("limit=1&limit=2", ""),
    ],
)
def test_what_is_no_question_is_refused(query: str, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        asked.wanted(SHELF, received(query.encode()))
    assert (refused.value.code, refused.value.field) == (
        "bad_field" if field else "bad_request", field,
    )  # fmt: skip


def test_a_question_is_what_it_says() -> None:
    query = b"limit=5&offset=2&sort=-height&archived=any&lit=true&load=2.5&height=-4&name=%C5%81+a"
    assert asked.wanted(SHELF, received(query)) == Wanted(
        5, 2, "height", descending=True, archived=None,
        filters={"name": "Ł a", "height": -4, "load": 2.5, "lit": True},
    )  # fmt: skip
    assert asked.wanted(SHELF, received()) == Wanted()


@pytest.mark.parametrize(
    "id_",
    ["", "x", "shf_", "shf_" + "0" * 23, "shf_" + "G" * 24, "itm_" + "0" * 24, "shf_\0", "a" * 999],
)
def test_what_is_no_id_names_nothing(id_: str) -> None:
    assert asked.id_of(SHELF, received(id_=id_)) == ""
    assert asked.id_of(SHELF, received(id_="shf_" + "0" * 24)) == "shf_" + "0" * 24


def test_a_revision_is_a_number_or_whichever_there_is() -> None:
    assert asked.expected(received()) is None
    assert asked.expected(received(if_match="*")) is None
    assert (
        asked.expected(received(if_match='"12"')) == asked.expected(received(if_match="12")) == 12
    )
    for given in ("x", '"1", "2"', "W/1", "-1", "9" * 99):
        with pytest.raises(Rejected):
            asked.expected(received(if_match=given))
