"""What a handler is told of a request: its host, its name, and whose it is."""

from itertools import combinations
from uuid import RFC_4122, UUID

import msgspec
import pytest

from penstock.core.edge import Principal, Received
from penstock.core.edge.grammar import parse
from penstock.core.projects import DEFAULT_PROJECT

KEYED = {b"idempotency-key": b"mine"}


def request(**of: object) -> Received:
    request = Received("POST", (), b"", {}, b"", "127.0.0.1", 1_700_000_000_000)
    return msgspec.structs.replace(request, **of)


def test_a_request_has_one_id_of_its_own_that_sorts_by_time() -> None:
    first, second = request(), request(at_ms=1_700_000_000_001)
    assert first.id == first.id < second.id != request(at_ms=1_700_000_000_001).id
    assert (UUID(bytes=first.id).version, UUID(bytes=first.id).variant) == (7, RFC_4122)
    assert int.from_bytes(first.id[:6]) == first.at_ms


def test_a_request_that_is_sent_again_under_its_key_has_the_id_that_it_had() -> None:
    ids = [request(headers=KEYED, at_ms=at_ms, body=b"x").id for at_ms in (0, 1)]
    assert ids[0] == ids[1]
    assert UUID(bytes=ids[0]).version == 8


def test_no_other_request_has_the_id_of_a_key() -> None:
    others: tuple[dict[str, object], ...] = (
        {},
        {"headers": {b"idempotency-key": b"other"}},
        {"project": "acme"},
        {"who": Principal("ann")},
        {"path": "/other"},
        {"query": b"a=b"},
        {"method": "PUT"},
    )
    ids = [request(**{"headers": KEYED, **of}).id for of in others]
    assert all(one != other for one, other in combinations(ids, 2))


def test_a_request_is_of_the_default_project_and_anybody_s() -> None:
    assert (request().project, request().who) == (DEFAULT_PROJECT, Principal())


@pytest.mark.parametrize(
    ("target", "host", "name"),
    [
        (b"/x", b"Links.Example:8080", "links.example"),
        (b"/x", b"[::1]:80", "[::1]"),
        (b"/x", b"", ""),
        (b"http://Other.example:1/x", b"links.example", "other.example"),
    ],
)
def test_the_host_is_the_name_that_was_asked_for(target: bytes, host: bytes, name: str) -> None:
    """RFC 9112, 3.2.2: of a whole URL the field Host says nothing."""
    parsed = parse(b"GET %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (target, host), 9)
    assert (parsed.path, parsed.host) == (b"/x", name)
