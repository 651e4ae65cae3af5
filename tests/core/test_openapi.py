"""The document is OpenAPI 3.1, whoever's operations it tells of, and words are made of it."""

import json
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from enum import Enum
from typing import Annotated, Any, Literal, cast

import msgspec
import pytest
from msgspec import Meta

from penstock.core.edge import Known, Received, Reply
from penstock.core.interface import HOUR, Answer, Body, Interface, Offer, Parameter
from penstock.core.manifest import Ingest, Manifest, Route
from penstock.core.openapi import Document, document, words
from penstock.core.openapi.trying import curl, target, ways
from penstock.core.pages import OFFERS
from penstock.main import manifests
from support.notes import NOTES
from support.schemas import resolved

PLACES = re.compile(r"\{(\w+)\}")


class Inner(msgspec.Struct):
    price: Annotated[int, Meta(ge=0, le=9, description="What it costs.")]


class Note(msgspec.Struct):
    """A note."""

    text: Annotated[str, Meta(min_length=1, max_length=20)]
    kind: Literal["a", "b"]
    inner: Inner
    tags: list[Annotated[str, Meta(max_length=3)]] | None = None


def a_route(**changes: Any) -> Route:
    told = {
        "parameters": (
            Parameter(name="name", place="path", shape=str, meaning="Whose.", required=True,
                      example=("a/b c",)),
            Parameter(name="many", shape=list[int], meaning="Some.", example=("1", "2")),
        ),
        "answers": (Answer(meaning="All.", shape=list[Note]),),
    } | changes  # fmt: skip
    return Route(
        operation="tests.notes",
        methods=("GET",),
        paths=("/notes/{name}",),
        handle=cast("Callable[..., Awaitable[Any]]", None),
        body_bytes_max=10,
        summary="Notes.",
        interface=Interface(**told),
    )


def an_ingest() -> Ingest:
    takes = Body(shape=Note, lines=True, media=("text/lines",), meaning="Notes.", example=b"it's\n")
    return Ingest(
        operation="tests.note",
        paths=("/notes/{name}",),
        emits=(NOTES,),
        handle=_nothing,
        body_bytes_max=10,
        summary="Note something.",
        interface=Interface(
            parameters=(a_route().interface.parameters[0],),
            takes=takes,
            answers=(Answer(status=204, meaning="Done."),),
            errors=("odd",),
        ),
    )


def _nothing(received: Received, known: Known[Any, Any]) -> Reply:
    del received, known
    return Reply(())


def a_manifest(*routes: Route) -> Manifest:
    return Manifest(
        name="tests",
        summary="Notes.",
        settings=msgspec.Struct,
        topics=(NOTES,),
        ingest=(an_ingest(),),
        routes=routes or (a_route(),),
        package=__name__,
        errors={"odd": "It is odd."},
    )


DOCUMENTS = {
    "ours": document(manifests(), OFFERS),
    "another's": document([a_manifest()], ()),
}


def operations(made: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in it."""
    if isinstance(value, dict):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from inside(inner)


@pytest.mark.parametrize("made", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_has_what_openapi_3_1_asks_for(made: Document) -> None:
    assert json.loads(json.dumps(made)) == made
    assert re.fullmatch(r"3\.1\.\d+", made["openapi"])
    assert made["info"].keys() >= {"title", "version"}
    assert {"name", "identifier"} == made["info"]["license"].keys()
    tags = [tag["name"] for tag in made["tags"]]
    assert len(set(tags)) == len(tags)
    found = list(operations(made))
    names = [operation["operationId"] for _, _, operation in found]
    assert len(set(names)) == len(names)
    for path, method, operation in found:
        assert path.startswith("/")
        assert method in {"get", "put", "post", "delete", "patch"}
        assert set(operation["tags"]) <= set(tags)
        assert any(status.startswith("2") for status in operation["responses"])


@pytest.mark.parametrize("made", DOCUMENTS.values(), ids=DOCUMENTS)
def test_parameters_have_a_schema_and_those_of_the_path_are_all_there(made: Document) -> None:
    for path, _, operation in operations(made):
        parameters = operation["parameters"]
        places = [(parameter["in"], parameter["name"]) for parameter in parameters]
        assert len(set(places)) == len(places)
        assert {name for place, name in places if place == "path"} == set(PLACES.findall(path))
        for parameter in parameters:
            assert parameter["in"] in {"path", "query", "header"}
            assert parameter["required"] or parameter["in"] != "path"
            assert isinstance(parameter["schema"], dict)
            assert parameter["description"]


@pytest.mark.parametrize("made", DOCUMENTS.values(), ids=DOCUMENTS)
def test_bodies_have_a_media_type_and_a_schema_and_answers_say_what_they_mean(
    made: Document,
) -> None:
    for _, _, operation in operations(made):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        assert all(body["content"] for body in bodies)
        answers = operation["responses"]
        assert all(re.fullmatch(r"[1-5]\d\d|default", status) for status in answers)
        assert all(answer["description"] for answer in answers.values())
        headers = [
            header for answer in answers.values() for header in answer.get("headers", {}).values()
        ]
        assert all(header["schema"] and header["description"] for header in headers)
        for body in [*bodies, *answers.values()]:
            for media, content in body.get("content", {}).items():
                assert re.match(r"\w+/[\w.+-]+", media)
                assert isinstance(content["schema"], dict)


@pytest.mark.parametrize("made", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_reference_leads_to_a_shape_and_every_shape_is_used(made: Document) -> None:
    references = {found["$ref"] for found in inside(made) if "$ref" in found}
    assert all(resolved(made, reference) for reference in references)
    assert {reference.rpartition("/")[2] for reference in references} == set(
        made["components"]["schemas"]
    )


@pytest.mark.parametrize("made", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_error_of_an_operation_says_what_its_code_means(made: Document) -> None:
    for _, _, operation in operations(made):
        for answer in operation["responses"].values():
            if "x-errors" in answer:
                schema = answer["content"]["application/json"]["schema"]
                assert schema["properties"]["error"]["enum"] == list(answer["x-errors"])
                assert all(answer["x-errors"].values())


def test_what_goes_into_the_log_may_be_refused_for_want_of_it() -> None:
    answers = DOCUMENTS["another's"]["paths"]["/notes/{name}"]["post"]["responses"]
    codes = {
        status: list(told["x-errors"]) for status, told in answers.items() if "x-errors" in told
    }
    assert codes == {
        "400": ["odd", "bad_encoding"],
        "408": ["timeout"],
        "413": ["too_large"],
        "415": ["unsupported_type"],
        "503": ["overloaded", "not_ready"],
    }


def test_what_answers_from_views_may_be_refused_while_they_are_wrong() -> None:
    answers = DOCUMENTS["another's"]["paths"]["/notes/{name}"]["get"]["responses"]
    assert {"damaged", "disproved"} < answers["503"]["x-errors"].keys()


def test_fields_are_told_in_words_with_their_bounds() -> None:
    rows = words.fields(DOCUMENTS["another's"], {"$ref": "#/components/schemas/Note"})
    assert [(row.name, row.takes, row.required) for row in rows] == [
        ("text", "text of 1 to 20 characters", True),
        ("kind", "`a` or `b`", True),
        ("inner.price", "whole number from 0 to 9", True),
        ("tags", "list of text of 0 to 3 characters or `null`", False),
    ]


def test_an_example_is_a_command_that_a_shell_understands() -> None:
    assert target(a_route()) == "/notes/a%2Fb%20c?many=1&many=2"
    assert curl(a_route(), "http://x") == "curl 'http://x/notes/a%2Fb%20c?many=1&many=2'"
    assert curl(an_ingest(), "http://x") == (
        "curl -X POST http://x/notes/a%2Fb%20c \\\n  -H 'Content-Type: text/lines' \\\n"
        "  --data-binary 'it'\"'\"'s\n'"
    )


def test_an_example_is_tried_in_the_hour_of_the_shell() -> None:
    since = Parameter(name="since", shape=str, meaning="When.", example=(f"{HOUR}:30",))
    offer = a_route(parameters=(*a_route().interface.parameters, since))
    assert curl(offer, "http://x") == (
        "HOUR=$(date -u +%Y-%m-%dT%H)\n"
        'curl "http://x/notes/a%2Fb%20c?many=1&many=2&since=${HOUR}:30"'
    )
    echoed = subprocess.run(
        ["bash", "-c", f"curl() {{ echo \"${{!#}}\"; }}; {curl(offer, 'http://x')}; echo $HOUR"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    asked, now = echoed.stdout.splitlines()
    assert asked.endswith(f"since={now}:30")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d", now)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"errors": ("bad_luck",)}, "answers bad_luck"), ({"parameters": ()}, "tells other param")],
)
def test_a_manifest_that_tells_what_is_not_so_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        a_manifest(a_route(**changes))


class Size(Enum):
    SMALL = "small"


def test_no_curl_has_an_empty_segment_or_lacks_what_is_required() -> None:
    shapes: list[tuple[Any, tuple[str, ...], str]] = [
        (str, (), "whose"),
        (str, ("",), "whose"),
        (Annotated[str, Meta(examples=["ada"])], (), "ada"),
        (Literal["b", "a"], (), "a"),
        (Size, (), "small"),
        (Annotated[int, Meta(ge=7)], (), "7"),
        (list[Annotated[str, Meta(examples=["a b"])]], (), "a%20b"),
        (str, ("mine",), "mine"),
    ]
    for shape, example, told in shapes:
        whose = Parameter(name="whose", place="path", shape=shape, meaning="", example=example)
        named = replace(whose, name="name", place="query", required=True)
        left = replace(named, name="left", required=False, example=())
        offer = replace(
            a_route(parameters=(whose, named, left)), paths=("/notes/{whose}/all", "/{whose...}")
        )
        [first, second] = [target(offer, way) for way in ways(offer)]
        asked = "name" if told == "whose" else told.replace("%20", "+")
        assert first == f"/notes/{told}/all?name={asked}"
        assert second.partition("?")[0] == f"/{told}"
    offers: list[Offer] = [*OFFERS]
    for known in manifests():
        offers += [*known.ingest, *known.routes]
    for shown in offers:
        for way in ways(shown):
            path = target(shown, way).partition("?")[0]
            assert "{" not in path
            assert path == "/" or all(path.removesuffix("/").split("/")[1:]), path
