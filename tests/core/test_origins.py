"""Pages of other origins: asked beforehand, answered by name, and never where nobody set it
(reliability 33)."""

from dataclasses import replace

import pytest

from penstock.core.edge.access import Keys
from penstock.core.edge.origins import Allowed, Origins
from penstock.core.errors import Misconfigured
from penstock.core.ingesting import pages
from penstock.core.interface import Parameter
from penstock.core.settings import Settings
from support.asking import ask
from support.hosts import ASK, NOTE, Answer, Request, Rig, hosted, note_endpoint
from support.purses import manifest

SHOP = "https://shop.example"
ALLOWED = "access-control-allow-origin"


def to(origins: str, request: Request) -> Answer:
    return ask(hosted, Rig(Settings(origins=origins)), request)


def preflight(origin: str = SHOP, path: str = NOTE) -> Request:
    asked = (
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,idempotency-key"),
    )
    return Request("OPTIONS", path, (), asked)


def sent(origin: str = SHOP, body: bytes = b"a note", path: str = NOTE) -> Request:
    return Request("POST", path, (body,), (("origin", origin),))


@pytest.mark.parametrize(
    ("origins", "named"),
    [(SHOP, SHOP), (f"http://localhost:3000, {SHOP}", SHOP), ("*", "*"), (f"*,{SHOP}", "*")],
)
def test_a_browser_that_asks_is_told_what_the_page_may_send(origins: str, named: str) -> None:
    got = to(origins, preflight())
    assert (got.status, got.body) == (204, b"")
    assert got.headers[ALLOWED] == named
    assert got.headers["vary"] == "origin"
    assert got.headers["allow"] == "OPTIONS, POST"
    assert got.headers["access-control-allow-methods"] == "POST"
    assert int(got.headers["access-control-max-age"]) > 0
    taken = got.headers["access-control-allow-headers"].split(", ")
    assert {"content-type", "content-encoding", "idempotency-key", "x-request-id"} == set(taken)
    assert "access-control-allow-credentials" not in got.headers


@pytest.mark.parametrize(
    "origin",
    ["https://shop.example.evil", "http://shop.example", f"{SHOP}:444", "null", SHOP + "/"],
)
def test_a_page_of_an_origin_that_is_not_set_is_told_nothing(origin: str) -> None:
    for request in (preflight(origin), sent(origin)):
        got = to(SHOP, request)
        assert got.status == 204
        assert got.headers["vary"] == "origin"
        assert not [name for name in got.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("body", "status"), [(b"a note", 204), (b"reject", 400), (b"fail", 500), (b"x" * 2_000, 413)]
)
def test_a_page_may_read_every_answer_the_errors_among_them(body: bytes, status: int) -> None:
    got = to(SHOP, sent(body=body))
    assert (got.status, got.headers[ALLOWED]) == (status, SHOP)
    assert "x-request-id" in got.headers["access-control-expose-headers"]


def test_who_sends_no_origin_gets_the_answer_of_always() -> None:
    quiet = to("", Request()).headers.keys()
    assert to(SHOP, Request()).headers.keys() == quiet
    assert to("*", Request()).headers.keys() == quiet


def test_as_long_as_nobody_set_it_pages_are_told_nothing() -> None:
    assert to("", preflight()).error == (405, "method_not_allowed")
    assert to("", preflight()).headers["allow"] == "POST"
    assert to("", sent()).headers.keys() == to("", Request()).headers.keys()


def test_what_is_only_read_is_not_for_pages_of_other_origins() -> None:
    path = ASK.replace("{name}", "a")
    assert to("*", preflight(path=path)).error == (405, "method_not_allowed")
    got = to("*", Request("GET", path, (), (("origin", SHOP),)))
    assert (got.status, ALLOWED in got.headers) == (200, False)


def test_a_beacon_s_text_is_taken_for_json() -> None:
    for kind in (b"text/plain", b"text/plain;charset=UTF-8", b"Text/Plain; charset=utf-8"):
        for headers in ({b"content-type": kind}, {b"content-type": kind, b"origin": SHOP.encode()}):
            Origins(SHOP).take_beacon(headers)
            assert headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize(
    "headers",
    [
        {b"content-type": b"text/plain", b"origin": b"https://evil.example"},
        {b"content-type": b"text/plainer"},
        {b"content-type": b"text/html", b"origin": SHOP.encode()},
        {},
    ],
)
def test_nothing_else_becomes_json(headers: dict[bytes, bytes]) -> None:
    given = dict(headers)
    Origins(SHOP).take_beacon(headers)
    assert headers == given


@pytest.mark.parametrize(
    "wrong", ["shop.example", "https://shop.example/", "HTTPS://shop.example", "https://*.example",
              "null", "https://shop.example https://b.example"],
)  # fmt: skip
def test_an_origin_that_no_browser_would_send_stops_the_start(wrong: str) -> None:
    with pytest.raises(Misconfigured, match=r"PENSTOCK_ORIGINS: .* is no origin; write scheme"):
        Origins(f"{SHOP},{wrong}")


# -- what operations say ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "may", "may_not"),
    [
        ("none", (), (SHOP, "https://b.example")),
        ("any", (SHOP, "https://b.example"), ()),
        ("setting", ("https://b.example",), (SHOP,)),
        ((SHOP,), (SHOP,), ("https://b.example",)),
        (str, ("https://own.example",), (SHOP,)),
    ],
)
def test_each_operation_says_whose_pages_may_ask(
    origins: Allowed, may: tuple[str, ...], may_not: tuple[str, ...]
) -> None:
    (offer,) = manifest.ingest
    core = Settings(origins="https://b.example")
    found = pages(replace(offer, origins=origins), core, "https://own.example")
    asked = [*may, *may_not]
    allowed = [one for one in asked if found is not None and found.allows(one.encode())]
    assert allowed == [*may]


def test_cookies_come_along_where_each_origin_has_a_name() -> None:
    (offer,) = manifest.ingest
    told = pages(replace(offer, origins=(SHOP,), credentials=True), Settings(), None)
    assert told is not None
    lines = told.lines({b"origin": SHOP.encode()})
    assert b"access-control-allow-credentials: true\r\n" in lines
    assert f"{ALLOWED}: {SHOP}\r\n".encode() in lines
    assert told.lines({b"origin": b"https://evil.example"}) == b"vary: origin\r\n"
    with pytest.raises(Misconfigured, match="name those"):
        pages(replace(offer, origins="any", credentials=True), Settings(), None)


def test_a_page_may_send_the_headers_that_an_operation_tells_of() -> None:
    (offer,) = manifest.ingest
    told = Parameter(name="X-Platform", place="header", shape=str, meaning="Of what.")
    keyed = replace(
        offer,
        origins="any",
        access=Keys(str),
        interface=replace(offer.interface, parameters=(told,)),
    )
    found = pages(keyed, Settings(), "")
    assert found is not None
    permitted = dict(found.permits({b"origin": SHOP.encode()}, ("POST",)))
    names = permitted[b"access-control-allow-headers"].decode().split(", ")
    assert {"x-platform", "authorization", "x-api-key", "content-type"} <= set(names)


def test_of_one_path_each_method_has_pages_of_its_own() -> None:
    rig = Rig(Settings(origins=SHOP))
    rig.edge.add("PUT", NOTE, replace(note_endpoint, pages=Origins("https://b.example")))
    rig.edge.add("DELETE", NOTE, note_endpoint)
    for method, origin, methods in (
        ("POST", SHOP, "POST"),
        ("PUT", "https://b.example", "PUT"),
        ("PUT", SHOP, None),
        ("DELETE", SHOP, None),
        ("", SHOP, None),
    ):
        asked = (("origin", origin), ("access-control-request-method", method))
        got = ask(hosted, rig, Request("OPTIONS", NOTE, (), asked))
        assert (got.status, got.headers["allow"]) == (204, "DELETE, OPTIONS, POST, PUT")
        assert got.headers.get("access-control-allow-methods") == methods
        assert got.headers["vary"] == "origin"
