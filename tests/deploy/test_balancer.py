"""The balancer sends everything where it is answered, and every limit of it is above Penstock's."""

import re
from typing import NamedTuple

import pytest

from deploy.stack import ingest_paths, operator_paths, query_paths, read, services
from penstock.core.settings import Settings
from penstock.main import manifests

TOKEN = re.compile(r"#[^\n]*|([{};])|([^\s{};]+)")
UNITS = {"k": 1_024, "m": 1_048_576, "s": 1}


class Block(NamedTuple):
    """A part of the configuration: directives by name, and the parts in it by their heads."""

    directives: dict[str, list[list[str]]]
    blocks: dict[str, "Block"]

    def one(self, name: str) -> list[str]:
        [arguments] = self.directives[name]
        return arguments

    def size(self, name: str) -> int:
        word = self.one(name)[-1]
        return int(word[:-1]) * UNITS[word[-1]]


def parse(text: str) -> Block:
    stack, words = [Block({}, {})], list[str]()
    for mark, word in TOKEN.findall(text):
        if word:
            words.append(word)
        elif mark == ";":
            stack[-1].directives.setdefault(words[0], []).append(words[1:])
            words = []
        elif mark == "{":
            inner = Block({}, {})
            stack[-1].blocks[" ".join(words)] = inner
            stack.append(inner)
            words = []
        elif mark == "}":
            stack.pop()
    assert len(stack) == 1
    assert words == []
    return stack[0]


HTTP = parse(read("balancer/nginx.conf")).blocks["http"]
SERVER = HTTP.blocks["server"]


def answered_by(path: str) -> str:
    """What nginx does with a path: an exact location wins, then the longest beginning."""
    location = SERVER.blocks.get(f"location = {path}")
    if location is None:
        heads = [head.split()[1] for head in SERVER.blocks if not head.startswith("location =")]
        longest = max((head for head in heads if path.startswith(head)), key=len)
        location = SERVER.blocks[f"location {longest}"]
    if "return" in location.directives:
        return location.one("return")[0]
    return location.one("proxy_pass")[0].removeprefix("http://")


@pytest.mark.parametrize("path", sorted(ingest_paths()))
def test_events_go_to_the_edges(path: str) -> None:
    assert answered_by(path) == "edge"


@pytest.mark.parametrize("path", sorted(query_paths()))
def test_queries_go_to_the_api(path: str) -> None:
    assert answered_by(re.sub(r"\{\w+\}", "any", path)) == "api"


@pytest.mark.parametrize("path", sorted(operator_paths() | {"/api/control/list", "/", "/nothing"}))
def test_nothing_else_is_offered(path: str) -> None:
    assert answered_by(path) == ("204" if path == "/healthz" else "404")


def test_the_upstreams_are_services_of_the_stack() -> None:
    stack = services()
    for name, upstreams in {"edge": {"edge-1", "edge-2"}, "api": {"api"}}.items():
        block = HTTP.blocks[f"upstream {name}"]
        found = {tuple(arguments) for arguments in block.directives["server"]}

        assert found == {
            (f"{upstream}:{stack[upstream]['environment']['PENSTOCK_PORT']}", "resolve")
            for upstream in upstreams
        }
        assert "zone" in block.directives, "names are asked again only where the zone is shared"


def test_it_listens_where_the_stack_publishes_it() -> None:
    [published] = services()["balancer"]["ports"]

    assert SERVER.one("listen")[0] == published.rpartition(":")[2]


def test_penstock_judges_bodies_by_itself() -> None:
    limits = [
        offer.body_bytes_max
        for manifest in manifests()
        for offers in (manifest.ingest, manifest.routes)
        for offer in offers
    ]

    assert SERVER.size("client_max_body_size") > max(limits)


def test_penstock_judges_heads_by_itself() -> None:
    assert SERVER.size("large_client_header_buffers") > Settings().head_bytes_max


def test_it_hangs_up_before_penstock_does() -> None:
    for upstream in ("edge", "api"):
        block = HTTP.blocks[f"upstream {upstream}"]

        assert int(block.one("keepalive")[0]) > 0
        assert block.size("keepalive_timeout") < Settings().keep_alive_seconds
    assert SERVER.one("proxy_http_version") == ["1.1"]
    assert ["Connection", '""'] in SERVER.directives["proxy_set_header"]


def test_it_waits_longer_than_a_query_may_take() -> None:
    assert SERVER.size("proxy_read_timeout") > Settings().query_seconds_max


def test_a_repeat_goes_to_the_edge_that_knows_its_key() -> None:
    [[variable, how]] = HTTP.blocks["upstream edge"].directives["hash"]
    words = HTTP.blocks[f"map $http_idempotency_key {variable}"].directives

    assert how == "consistent", "or one more edge would move every key"
    assert words == {'""': [["$request_id"]], "default": [["$http_idempotency_key"]]}


def test_it_says_itself_who_the_client_is() -> None:
    assert ["X-Forwarded-For", "$remote_addr"] in SERVER.directives["proxy_set_header"]
    for name, value in (
        ("Forwarded", '""'),
        ("X-Forwarded-Host", '""'),
        ("X-Forwarded-Proto", "$scheme"),
        ("X-Request-Id", '""'),
    ):
        assert [name, value] in SERVER.directives["proxy_set_header"]


def test_a_request_that_was_sent_is_not_sent_again() -> None:
    assert "non_idempotent" not in SERVER.one("proxy_next_upstream")
