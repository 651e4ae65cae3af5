"""Cookies: read of whatever comes, and spelled so that a browser keeps them."""

from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.edge import Received
from penstock.core.edge.cookies import COOKIES_MAX, SECONDS_MAX, read, registrable, spelled


def received(host: str = "www.shop.co.uk", *, secure: bool = True) -> Received:
    return Received("GET", (), b"", {}, b"", "", 0, host=host, secure=secure)


def line(**given: Any) -> str:
    name, value = spelled(given.pop("to", received()), "vid", given.pop("value", "abc"), **given)
    assert name == b"set-cookie"
    return value.decode()


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        (b"", {}),
        (b"vid=abc", {"vid": "abc"}),
        (b"vid=abc; sid=1=2;uid=", {"vid": "abc", "sid": "1=2", "uid": ""}),
        (b'vid="a b"; vid=second', {"vid": "a b"}),
        (b"; =x; no; a b=c;\tok\t=\t1 ", {"ok": "1"}),
        (b"vid=\xc5\xbc", {"vid": "Å¼"}),
    ],
)
def test_what_is_a_cookie_is_read_and_the_rest_is_passed_over(
    header: bytes, cookies: dict[str, str]
) -> None:
    assert read({b"cookie": header}) == cookies


def test_of_any_number_of_cookies_a_bounded_one_is_read() -> None:
    header = b"; ".join(b"c%d=1" % n for n in range(5_000))
    assert len(read({b"cookie": header})) == COOKIES_MAX


@given(st.binary())
def test_any_bytes_are_read(header: bytes) -> None:
    assert all(read({b"cookie": header}))


def test_a_cookie_is_of_the_host_alone_and_of_no_script_unless_it_is_said() -> None:
    assert line() == "vid=abc; Path=/; Secure; HttpOnly; SameSite=Lax"
    assert line(to=received(secure=False)) == "vid=abc; Path=/; HttpOnly; SameSite=Lax"
    told = line(seconds=60, whole_site=True, http_only=False, same_site="Strict", path="/a")
    assert told == "vid=abc; Path=/a; Max-Age=60; Domain=shop.co.uk; Secure; SameSite=Strict"
    assert f"Max-Age={SECONDS_MAX};" in line(seconds=99_999 * 86_400)
    assert "Max-Age=0;" in line(seconds=0)
    (morsel,) = SimpleCookie(line(seconds=60, whole_site=True)).values()
    assert (morsel.value, morsel["max-age"], morsel["domain"]) == ("abc", "60", "shop.co.uk")


@pytest.mark.parametrize(
    "given",
    [
        {"value": "a;b"}, {"value": "a b"}, {"value": "a\r\nset-cookie: x=y"}, {"value": "ż"},
        {"value": 'a"b'}, {"path": "a"}, {"path": "/;"}, {"value": "a" * 4_096},
        {"same_site": "None", "to": received(secure=False)},
    ],
)  # fmt: skip
def test_what_no_cookie_can_say_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="vid: "):
        line(**given)


@given(st.text(alphabet=st.characters(max_codepoint=300), max_size=20))
def test_what_is_spelled_is_read_as_it_was(value: str) -> None:
    try:
        told = line(value=value)
    except ValueError:
        return
    assert read({b"cookie": told.partition(";")[0].encode()}) == {"vid": value}


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.shop.co.uk", "shop.co.uk"), ("shop.co.uk", "shop.co.uk"), ("co.uk", ""),
        ("a.b.go.example", "go.example"), ("localhost", ""), ("127.0.0.1", ""), ("[::1]", ""),
        ("me.github.io", "me.github.io"), ("github.io", ""), ("", ""), (".com", ""),
        ("x;domain=y.com", ""), ("a..b.com", ""), (f"{'x' * 260}.com", ""),
        ("xn--85x722f.com.cn", "xn--85x722f.com.cn"),
    ],
)  # fmt: skip
def test_a_cookie_of_a_whole_site_is_of_what_was_registered(host: str, domain: str) -> None:
    assert registrable(host) == domain
    assert ("Domain=" in line(to=received(host), whole_site=True)) == bool(domain)
