"""Pages of other origins: asked beforehand, answered by name, and never where nobody set it
(reliability 33)."""

import pytest

from penstock.core.edge.origins import Origins
from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings
from support.asking import ask
from support.hosts import ASK, NOTE, Answer, Request, Rig, hosted

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
