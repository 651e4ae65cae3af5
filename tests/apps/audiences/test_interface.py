"""What clients are told of audiences is what the server does: examples, fields, bounds, errors."""

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from apps.audiences.served import Answer, Ask, Served
from penstock.apps.audiences.events.times import parse_tag
from penstock.core import pages
from penstock.core.clock import SystemClock
from penstock.core.interface import HOUR, Offer
from penstock.core.openapi import document
from penstock.core.openapi.trying import headers, hour, target
from penstock.core.pages import OFFERS
from penstock.main import manifests
from support.schemas import check, resolved, violations

NOW = hour(SystemClock().now_ms())
MADE = msgspec.json.encode(document(manifests(), OFFERS)).decode()
DOCUMENT = json.loads(MADE.replace(HOUR, NOW))
"""As it is served in this hour."""
OFFERED: list[Offer] = [*manifests()[0].ingest, *manifests()[0].routes, *OFFERS]
EXAMPLES = pytest.mark.parametrize("offer", OFFERED, ids=lambda offer: offer.operation)
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def examples(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Served, dict[str, Answer]]]:
    """A server, and what every example was answered in the order of the document, before all."""
    with pytest.MonkeyPatch.context() as patched:  # or an hour may end in between
        patched.setattr(pages, "hour", lambda _: NOW)
        platform = Served(tmp_path_factory.mktemp("examples"))
        answers = {}
        for offer in OFFERED:
            answers[offer.operation] = platform.ask(example_of(offer))
            platform.settle()
        yield platform, answers
        platform.close()


@pytest.fixture
def served(examples: tuple[Served, dict[str, Answer]]) -> Served:
    return examples[0]


@pytest.fixture
def answers(examples: tuple[Served, dict[str, Answer]]) -> dict[str, Answer]:
    return examples[1]


def example_of(offer: Offer) -> Ask:
    path, _, query = target(offer).partition("?")
    takes = offer.interface.takes
    body = b"" if takes is None else takes.example.replace(HOUR.encode(), NOW.encode())
    return Ask(path, query.replace(HOUR, NOW), body, offer.methods[0], dict(headers(offer)))


def operation_of(offer: Offer) -> Any:
    return DOCUMENT["paths"][offer.paths[0]][offer.methods[0].lower()]


@EXAMPLES
def test_every_example_is_answered_as_the_document_tells(
    answers: Mapping[str, Answer], offer: Offer
) -> None:
    got = answers[offer.operation]
    told = operation_of(offer)["responses"][str(got.status)]
    assert got.status == offer.interface.answers[0].status
    media = next(iter(told.get("content", {"": {}})))
    assert got.headers.get("content-type", "") == media
    if media == "application/json":
        value = check(DOCUMENT, told["content"][media]["schema"], got.body)
        example = told["content"][media].get("example", value)
        assert value == example


@EXAMPLES
def test_every_body_of_an_example_is_of_the_shape_that_is_told(offer: Offer) -> None:
    body = operation_of(offer).get("requestBody", {"content": {}})
    for content in body["content"].values():
        if "x-lines" not in content["schema"] and "example" in content:
            assert list(violations(DOCUMENT, content["schema"], content["example"])) == []


def test_the_document_is_served_as_it_is_made(answers: Mapping[str, Answer]) -> None:
    assert answers["openapi"].json == DOCUMENT


def test_every_example_happens_in_the_hour_in_which_it_is_tried() -> None:
    """Or it would be refused as too old sooner or later, or not be found."""
    assert set(re.findall(r"\d{4}-\d\d-\d\dT\d\d", MADE)) == {HOUR}
    commands = [operation_of(offer)["x-codeSamples"][0]["source"] for offer in OFFERED]
    assert not any(HOUR in command or NOW in command for command in commands)
    assert sum("${HOUR}:" in command or "'$HOUR':" in command for command in commands) == 4


# -- fields and bounds --------------------------------------------------------------------------


def fields(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    schema = resolved(DOCUMENT, schema["$ref"]) if "$ref" in schema else schema
    for name, inner in schema["properties"].items():
        if "$ref" in inner:
            yield from fields(inner, (*path, name))
        yield (*path, name), inner


TAG = DOCUMENT["paths"]["/user_tags"]["post"]["requestBody"]["content"]["application/json"][
    "example"
]
FIELDS = dict(fields({"$ref": "#/components/schemas/Tag"}))


def with_field(path: tuple[str, ...], value: Any) -> bytes:
    """The example's tag with a field of another value; without it where that is `...`."""
    tag = deepcopy(TAG)
    inner = tag
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    if value is ...:
        del inner[path[-1]]
    return json.dumps(tag).encode()


def edges(schema: Any) -> Iterator[tuple[Any, bool]]:
    """Values at the bounds that are told, and whether they are inside."""
    for variant in schema.get("anyOf", [schema]):
        if "minLength" in variant:
            yield from (("x" * n, n > 0) for n in (0, variant["minLength"], variant["maxLength"]))
            yield "x" * (variant["maxLength"] + 1), False
        if "minimum" in variant:
            low, high = variant["minimum"], variant["maximum"]
            yield from ((low, True), (high, True), (low - 1, False), (high + 1, False))
        for choice in variant.get("enum", []):
            yield from ((choice, True), (choice.lower(), False))
    yield from ((None, False), (..., False), ([], False), (1.5, False), (True, False))


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_au_22_a_tag_is_taken_up_to_its_bounds_and_refused_beyond_with_a_code_that_is_told(
    served: Served, path: tuple[str, ...]
) -> None:
    answers = DOCUMENT["paths"]["/user_tags"]["post"]["responses"]
    for value, inside in edges(FIELDS[path]):
        got = served.ask(Ask("/user_tags", "", with_field(path, value), headers=JSON))
        assert got.status == (204 if inside else 400), (value, got.body)
        if not inside:
            schema = answers["400"]["content"]["application/json"]["schema"]
            told = check(DOCUMENT, schema, got.body)
            assert value is not ... or f"`{path[-1]}`" in told["message"]


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_au_31_a_batch_names_the_line_the_field_and_what_is_wrong_with_it(
    served: Served, path: tuple[str, ...]
) -> None:
    lines = [b"", with_field(path, ["no"]), json.dumps(TAG).encode(), with_field(path, ...)]
    got = served.ask(Ask("/user_tags/batch", "", b"\n".join(lines)))
    schema = DOCUMENT["components"]["schemas"]["BatchAnswer"]
    told = check(DOCUMENT, schema, got.body)
    assert told["accepted"] == 1
    assert [(one["line"], one["error"], one["field"]) for one in told["rejected"]] == [
        (2, "bad_field", ".".join(path)),
        (4, "bad_field", ".".join(path)),
    ]
    assert all(one["message"] for one in told["rejected"])


@pytest.mark.parametrize(
    "text",
    ["2022-03-01T00:00:00Z", "2022-03-01T23:59:59.123456789+05:30", "2022-02-29T00:00:00Z",
     "2022-03-01T24:00:00Z", "2022-03-01T00:00:00", "2022-03-01T00:00:00.Z", "2022-03-01 00:00:00Z",
     "2022-03-01T00:00:00.1234567890Z", "2022-03-01T00:00:00z", "2022-03-01T00:00:00+24:00",
     "2022-03-01T00:00:60Z"],
)  # fmt: skip
def test_au_07_every_time_that_is_read_is_of_the_form_that_is_told(text: str) -> None:
    """The form cannot know the calendar: what it takes beyond is refused as `bad_time`."""
    told = not list(violations(DOCUMENT, FIELDS["time",], text))
    try:
        parse_tag(text)
    except ValueError:
        assert not told or text in {"2022-02-29T00:00:00Z", "2022-03-01T00:00:60Z"}
    else:
        assert told


QUERIES = [
    offer for offer in OFFERED if offer.paths[0].startswith(("/user_profiles", "/aggregates"))
]


@pytest.mark.parametrize("offer", QUERIES, ids=lambda offer: offer.operation)
def test_a_query_without_what_it_needs_or_beyond_its_bounds_is_refused_with_a_code_that_is_told(
    served: Served, offer: Offer
) -> None:
    ask, operation = example_of(offer), operation_of(offer)
    schema = operation["responses"]["400"]["content"]["application/json"]["schema"]
    given = parse_qsl(ask.query)
    for parameter in operation["parameters"]:
        if parameter["in"] != "query":
            continue
        name, bounds = parameter["name"], parameter["schema"]
        others = [pair for pair in given if pair[0] != name]
        wrong: list[list[tuple[str, str]]] = [[]] if parameter["required"] else []
        if "maximum" in bounds:
            wrong += [[(name, str(bounds["maximum"] + 1))], [(name, str(bounds["minimum"] - 1))]]
        if "minLength" in bounds or "enum" in bounds or "pattern" in bounds or "items" in bounds:
            wrong.append([(name, "")])
        if "pattern" in bounds or "enum" in bounds or "items" in bounds:
            wrong.append([(name, "view")])
        for pairs in wrong:
            got = served.ask(ask._replace(query=urlencode(others + pairs)))
            assert got.status == 400, (name, pairs, got.body)
            check(DOCUMENT, schema, got.body)


# -- pages of other origins ---------------------------------------------------------------------


def test_a_beacon_is_stored_where_pages_may_send_events(tmp_path: Path) -> None:
    """What `navigator.sendBeacon` sends: text, from a page, and nothing is asked beforehand."""
    beacon = {"content-type": "text/plain;charset=UTF-8", "origin": "https://shop.example"}
    for path, status in (("/user_tags", 204), ("/user_tags/batch", 200)):
        ask = Ask(path, "", json.dumps(TAG).encode(), headers=beacon)
        closed, opened = (answered(tmp_path, origins, ask) for origins in ("", beacon["origin"]))
        assert closed.error == (415, "unsupported_type")
        assert opened.status == status
        assert opened.headers["access-control-allow-origin"] == beacon["origin"]
        stranger = answered(tmp_path, "https://other.example", ask)
        assert stranger.error == (415, "unsupported_type")


def answered(folder: Path, origins: str, ask: Ask) -> Answer:
    edge = Served(folder, {"PENSTOCK_ORIGINS": origins}, roles=["edge"])
    try:
        return edge.ask(ask)
    finally:
        edge.close()
