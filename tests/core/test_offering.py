"""Manifests become places of an edge: their methods, paths and hosts, and who may not have them."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from penstock.core.edge import Known, Received, Refused, Refusing, Reply, Response
from penstock.core.edge.access import Keys
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.edge.limits import Limit
from penstock.core.errors import Conflict, Misconfigured
from penstock.core.interface import Answer, HostClass, Interface, Parameter
from penstock.core.manifest import Ingest, Manifest
from penstock.core.openapi import document
from penstock.core.platform.offering import offer_at
from penstock.core.settings import Settings
from support.asking import Hosted, ask
from support.hosts import Request, Rig
from support.notes import NOTES

TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)


def _nothing(received: Received, known: Known[Any, Any]) -> Reply:
    del received, known
    return Reply(())


def a_manifest(
    *paths: str,
    methods: tuple[str, ...] = ("GET",),
    named: tuple[str, ...] = (),
    hosts: HostClass = "",
    slash: bool = False,
    refusal: Refusing | None = None,
) -> Manifest:
    told = [Parameter(name=name, place="path", shape=str, meaning=".", example=(name,))
            for name in named]  # fmt: skip
    offer = Ingest(
        operation="tests.note",
        methods=methods,
        paths=paths,
        slash=slash,
        hosts=hosts,
        refusal=refusal,
        emits=(NOTES,),
        handle=_nothing,
        body_bytes_max=1,
        summary="Note.",
        interface=Interface(
            parameters=tuple(told),
            answers=(Answer(status=204, meaning="Noted."),),
            errors=("older",),
        ),
    )
    return Manifest(
        name="tests",
        summary="Notes.",
        settings=msgspec.Struct,
        topics=(NOTES,),
        ingest=(offer,),
        package=__name__,
        errors={"older": (Conflict, "It is older.")},
    )


@pytest.mark.parametrize(
    ("paths", "named", "reason"),
    [
        (("/a/{b}", "/a/{c}"), ("b",), "has other parameters than"),
        (("/a", "/a/{b}"), (), "has other parameters than"),
        ((), (), "no path or no method"),
        (("/a/{b...}/c",), ("b",), "is no path"),
        (("/{b}",), ("b",), "whatever nobody has named; begin with"),
        (("/a/{b...}", "/{b...}"), ("b",), "on every host"),
    ],
)
def test_a_manifest_with_a_path_that_cannot_be_is_refused(
    paths: tuple[str, ...], named: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        a_manifest(*paths, named=named)


def test_an_operation_is_told_of_at_all_its_places() -> None:
    made = document(
        [a_manifest("/t/{k}/{v...}", "/t/{k}", methods=("GET", "POST"), named=("k", "v"))], ()
    )
    found = {
        (path, method): (told["operationId"], [p["name"] for p in told["parameters"]])
        for path, methods in made["paths"].items()
        for method, told in methods.items()
    }
    assert found == {
        ("/t/{k}/{v}", "get"): ("tests.note", ["k", "v"]),
        ("/t/{k}/{v}", "post"): ("tests.note.post", ["k", "v"]),
        ("/t/{k}", "get"): ("tests.note.2", ["k"]),
        ("/t/{k}", "post"): ("tests.note.2.post", ["k"]),
    }


def test_the_same_path_on_hosts_of_two_classes_is_told_of_twice() -> None:
    both = [a_manifest("/", hosts=hosts) for hosts in ("console", "links")]
    made = document(both, ())
    assert {path: told["get"]["x-hosts"] for path, told in made["paths"].items()} == {
        "/": "console",
        "/#links": "links",
    }


def test_all_places_are_answered_with_their_parameters(hosted: Hosted) -> None:
    rig = Rig(Settings(hosts="links=tests"))

    async def tell(received: Received) -> Response:
        return Response.json(received.parameters)

    telling = AnswerEndpoint(operation="tests.tell", body_bytes_max=1, answer=tell)
    for manifest in (
        a_manifest("/t/{k}/{v...}", "/t/{k}", named=("k", "v"), slash=True),
        a_manifest("/{slug...}", named=("slug",), hosts="links"),
    ):
        offer_at(rig.edge, manifest.ingest[0], telling)
    for path, body in (
        ("/t/a/b/c", b'["a","b/c"]'),
        ("/t/a", b'["a"]'),
        ("/t/a/", b'["a"]'),
        ("/t/a/b/", b'["a","b/"]'),
        ("/spring", b'["spring"]'),
    ):
        assert ask(hosted, rig, Request("GET", path, ())).body == body
    wrong = ask(hosted, rig, Request("POST", "/spring", ()))
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_a_place_that_is_taken_stops_the_start_with_both_names(rig: Rig) -> None:
    manifest = a_manifest("/note", methods=("POST",))
    (endpoint, _), _ = rig.edge.routes.find("GET", b"/fail")
    with pytest.raises(Misconfigured, match=r"POST /note is claimed by tests.note and tests.ask"):
        offer_at(rig.edge, manifest.ingest[0], endpoint)


def test_a_document_tells_who_may_ask_and_how_often() -> None:
    made = a_manifest("/t")
    offer = replace(made.ingest[0], access=Keys(str), limits=(Limit(per="client", rate=1),))
    told = document([replace(made, ingest=(offer,))], ())
    assert told["paths"]["/t"]["get"]["security"] == [{"key": []}]
    assert "key" in told["components"]["securitySchemes"]
    answers = told["paths"]["/t"]["get"]["responses"]
    assert {"401", "429"} <= answers.keys()
    assert answers["429"]["headers"].keys() >= {"Retry-After", "RateLimit", "RateLimit-Policy"}


def test_a_document_tells_of_refusals_as_they_are_spelled() -> None:
    def as_text(refused: Refused) -> Response:
        return Response(200 if refused.status == 503 else refused.status, b"no", TEXT)

    plain, own = (a_manifest("/t", refusal=refusal) for refusal in (None, as_text))
    told = [document([made], ())["paths"]["/t"]["get"]["responses"] for made in (plain, own)]
    assert [list(one["413"]["content"]) for one in told] == [["application/json"], ["text/plain"]]
    assert [list(one["default"]["content"]) for one in told][1] == ["text/plain"]
    assert {*told[0]["409"]["x-errors"]} == {"older"}
    assert "503" in told[0]
    assert {*told[1]["200"]["x-errors"]} == {"overloaded", "not_ready"}
    assert "503" not in told[1]
