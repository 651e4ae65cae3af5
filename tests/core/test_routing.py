"""Paths, methods and hosts: which operation a request finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.edge.hosts import Hosts, plain
from penstock.core.edge.routing import Routes, claims_all, parameters
from penstock.core.errors import MethodNotAllowed, Misconfigured, NotFound, Rejected


def table(*templates: str, hosts: Hosts | None = None) -> Routes[str]:
    routes: Routes[str] = Routes(hosts)
    for template in templates:
        routes.add("GET", template, template, operation=f"tests.{template}")
    return routes


@pytest.mark.parametrize(
    ("path", "place", "values"),
    [
        ("/", "/", ()),
        ("/a", "/a", ()),
        ("/a/b", "/a/b", ()),
        ("/a/x", "/a/{name}", ("x",)),
        ("/a/b/c", "/a/b/c", ()),
        ("/a/x/c", "/a/{name}/c", ("x",)),
        ("/a/b/d", "/a/{name}/d", ("b",)),
        ("/a/b/x", "/a/{rest...}", ("b/x",)),
        ("/a/b/", "/a/{rest...}", ("b/",)),
        ("/a/x/c/d", "/a/{rest...}", ("x/c/d",)),
        ("/a//c", "/{rest...}", ("a//c",)),
        ("/a/", "/{rest...}", ("a/",)),
        ("/z/%20%2F", "/{rest...}", ("z/ /",)),
        ("/a/%C5%BC", "/a/{name}", ("ż",)),
    ],
)
def test_the_most_specific_place_answers(path: str, place: str, values: tuple[str, ...]) -> None:
    routes = table(
        "/{rest...}", "/a/{rest...}", "/a/{name}", "/a/{name}/c", "/a/{name}/d", "/a/b/c", "/a/b",
        "/a", "/",
    )  # fmt: skip
    assert routes.find("GET", path.encode()) == (place, values)
    assert routes.find("HEAD", path.encode()) == (place, values)


@pytest.mark.parametrize("path", [b"/", b"//", b"/a/", b"/A", b"/a/b/c", b"a", b"*", b"", b"/%61"])
def test_what_nobody_claims_is_nowhere(path: bytes) -> None:
    with pytest.raises(NotFound):
        table("/a", "/a/{name}", "/b/{rest...}").find("GET", path)


def test_a_path_that_is_no_text_is_refused() -> None:
    with pytest.raises(Rejected):
        table("/a/{rest...}").find("GET", b"/a/b/%FF")


def test_the_path_decides_and_then_the_method() -> None:
    routes = table("/a/b", "/{rest...}")
    routes.add("POST", "/{rest...}", "", operation="tests.post")
    with pytest.raises(MethodNotAllowed) as refused:
        routes.find("POST", b"/a/b")
    assert refused.value.allowed == ("GET", "HEAD")
    assert routes.methods == ("GET", "HEAD", "POST")


@pytest.mark.parametrize(
    ("hosts", "others"), [("", ""), ("", "links"), ("links", ""), ("links", "links")]
)
def test_two_that_claim_the_same_place_are_refused_by_name(hosts: str, others: str) -> None:
    routes: Routes[str] = Routes()
    routes.add("GET", "/a/{name}", "", operation="one.get", hosts=hosts)
    routes.add("POST", "/a/{name}", "", operation="one.post", hosts=hosts)
    with pytest.raises(Misconfigured, match=r"GET /a/\{name\} .* one.get and two.get; give one"):
        routes.add("GET", "/a/{name}", "", operation="two.get", hosts=others)


def test_one_place_has_one_spelling() -> None:
    with pytest.raises(Misconfigured, match="name it alike"):
        table("/a/{name}").add("POST", "/a/{id}", "", operation="two.post")


@pytest.mark.parametrize(
    "template",
    ["", "a", "/a/{rest...}/b", "/a{b}", "/{a}{b}", "/a//b", "/{a}/{a}", "/{}", "/a b", "/{a..}"],
)
def test_what_is_no_path_of_an_operation_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        parameters(template)


def test_parameters_are_told_in_order() -> None:
    assert parameters("/a/{b}/c/{d...}") == ("b", "d")
    assert [claims_all(path) for path in ("/{a}", "/{a...}", "/", "/a/{b...}")] == [
        True, True, False, False,
    ]  # fmt: skip


# -- hosts --------------------------------------------------------------------------------------

HOSTS = Hosts("console=app.example, links=go.example, links=*.go.example,console=*")


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("app.example", "console"), ("go.example", "links"), ("a.b.go.example", "links"),
        ("ago.example", "console"), ("", "console"), ("example", "console"),
        (("x." * 200) + "go.example", "console"),
    ],
)  # fmt: skip
def test_a_host_has_a_class(host: str, kind: str) -> None:
    assert HOSTS.of(host) == kind
    assert not Hosts("links=go.example").of("localhost")


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("Go.Example:80", "go.example"), ("go.example.", "go.example"), ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"), ("go.example.:", "go.example"), ("", ""), ("x", "x"),
    ],
)  # fmt: skip
def test_hosts_are_compared_without_port_and_case(authority: str, host: str) -> None:
    assert plain(authority) == host


@pytest.mark.parametrize(
    "setting",
    ["go.example", "link=go.example", "links=", "links=a,console=a", "links=*,console=*",
     "links=a*b", "links=http://a", "links=" + "a" * 254],
)  # fmt: skip
def test_a_setting_that_claims_nothing_stops_the_start(setting: str) -> None:
    with pytest.raises(Misconfigured, match="PENSTOCK_HOSTS"):
        Hosts(setting)


def test_a_class_is_answered_on_its_hosts_and_no_other_and_what_is_of_none_everywhere() -> None:
    routes = table("/healthz", hosts=HOSTS)
    routes.add("GET", "/{rest...}", "link", operation="tests.link", hosts="links")
    routes.add("GET", "/", "console", operation="tests.console", hosts="console")
    routes.add("GET", "/late", "late", operation="tests.late")
    assert routes.find("GET", b"/x", "go.example") == ("link", ("x",))
    for host in ("go.example", "app.example", "127.0.0.1"):
        assert routes.find("GET", b"/healthz", host)[0] == "/healthz"
        assert routes.find("GET", b"/late", host)[0] == "late"
    assert routes.find("GET", b"/", "127.0.0.1")[0] == "console"
    with pytest.raises(NotFound):
        routes.find("GET", b"/", "go.example")
    with pytest.raises(NotFound):
        routes.find("GET", b"/x", "app.example")


# -- against the rule itself --------------------------------------------------------------------

SEGMENT = st.sampled_from(["a", "b", "{x}"])
TEMPLATES = st.lists(
    st.tuples(st.lists(SEGMENT, max_size=3), st.booleans()), min_size=1, max_size=8
)


def rank(template: str, path: str) -> list[int] | None:
    """How exactly each segment is said, from the left; None where it is another path."""
    said, given = template.split("/")[1:], path.split("/")[1:]
    ranks: list[int] = []
    for at, segment in enumerate(said):
        if segment == "{r...}":
            return [*ranks, 2] if at < len(given) and given[at] else None
        if at >= len(given) or (segment != "{x}" and segment != given[at]) or not given[at]:
            return None
        ranks.append(1 if segment == "{x}" else 0)
    return ranks if len(said) == len(given) else None


@given(TEMPLATES, st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5))
def test_it_finds_what_trying_every_place_finds(
    templates: list[tuple[list[str], bool]], segments: list[str]
) -> None:
    path = "/" + "/".join(segments)
    routes: Routes[str] = Routes()
    ranked = []
    offered = {tuple(s) + (("{r...}",) if is_open else ()) for s, is_open in templates} - {()}
    for said in offered:
        template = "/" + "/".join(s.replace("x", f"x{at}") for at, s in enumerate(said))
        routes.add("GET", template, template)
        if (ranks := rank("/" + "/".join(said), path)) is not None:
            ranked.append((ranks, template))
    if ranked:
        assert routes.find("GET", path.encode())[0] == min(ranked)[1]
    else:
        with pytest.raises(NotFound):
            routes.find("GET", path.encode())
