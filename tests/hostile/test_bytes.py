"""Every single byte in every place where only some may stand (RFC 9110 sections 5.5 and 5.6.2)."""

from collections.abc import Callable, Iterable

import pytest

from e2e.process import Client, Server
from hostile.exchange import BEHIND, end, exchange, settled
from hostile.table import TAG, chunked, post

EVERY = tuple(bytes([byte]) for byte in range(256))
TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
DELIMITER = frozenset(b'"(),/:;<=>?@[\\]{}')
VISIBLE = TOKEN | DELIMITER
TARGET = VISIBLE - frozenset(b'"<>\\^`{|}#')
"""What RFC 3986 lets stand in a path or query; the rest of what is visible may be let through."""
UNSAFE = frozenset(b"\0\r\n")

Made = Callable[[bytes], bytes]
Allowed = Callable[[bytes], set[int]]


def outcomes(server: Server, made: Made, among: Iterable[bytes] = EVERY) -> dict[bytes, list[int]]:
    """For each byte the statuses of its request and of the one behind it."""
    return {
        byte: [answer.status for answer in exchange(server, [made(byte) + BEHIND])]
        for byte in among
    }


def check(
    server: Server,
    client: Client,
    made: Made,
    allowed: Allowed,
    among: Iterable[bytes] = EVERY,
) -> None:
    """A refusal that is one of syntax (400, 501) closes; what is answered otherwise goes on."""
    before = end(client)
    found = outcomes(server, made, among)
    wrong = {
        byte: statuses
        for byte, statuses in found.items()
        if statuses[0] not in allowed(byte) or statuses[1:] not in ([204], [])
    }
    assert wrong == {}
    stored = sum(statuses.count(204) for statuses in found.values())
    assert settled(client) - before == stored


def test_a_name_is_a_token(server: Server, client: Client) -> None:
    check(
        server,
        client,
        lambda byte: post(b"X%bA: b" % byte),
        # A colon ends the name, and what follows it is the value.
        lambda byte: {204} if ord(byte) in TOKEN or byte == b":" else {400},
    )


def test_a_name_begins_as_a_token_does(server: Server, client: Client) -> None:
    check(
        server,
        client,
        lambda byte: post(b"%bA: b" % byte),
        lambda byte: {204} if ord(byte) in TOKEN else {400},
    )


def test_a_value_has_no_ends_of_lines(server: Server, client: Client) -> None:
    def allowed(byte: bytes) -> set[int]:
        if ord(byte) in UNSAFE:
            return {400}
        return {204} if ord(byte) in VISIBLE or byte in b" \t" or byte >= b"\x80" else {204, 400}

    check(server, client, lambda byte: post(b"X-A: b%bc" % byte), allowed)


def test_a_path_has_only_what_is_visible(server: Server, client: Client) -> None:
    def allowed(byte: bytes) -> set[int]:
        if byte == b"?":
            return {204}  # the path ends before it
        if ord(byte) not in VISIBLE or byte == b"#":
            return {400}
        return {404} if ord(byte) in TARGET else {400, 404}

    check(server, client, lambda byte: post(line=b"POST /user_tags%bx HTTP/1.1" % byte), allowed)


def test_a_query_has_only_what_is_visible(server: Server, client: Client) -> None:
    def allowed(byte: bytes) -> set[int]:
        if ord(byte) in TARGET:
            return {204}
        # White space is the end of it, which may be longer than one space.
        tolerable = byte in b" \t" or (ord(byte) in VISIBLE and byte != b"#")
        return {204, 400} if tolerable else {400}

    check(server, client, lambda byte: post(line=b"POST /user_tags?%b HTTP/1.1" % byte), allowed)


def test_a_method_is_a_token(server: Server, client: Client) -> None:
    check(
        server,
        client,
        lambda byte: post(line=b"P%bST /user_tags HTTP/1.1" % byte),
        lambda byte: {204} if byte == b"O" else {501} if ord(byte) in TOKEN else {400, 501},
    )


@pytest.mark.parametrize("place", range(8))
def test_a_version_is_spelt_in_one_way(server: Server, client: Client, place: int) -> None:
    """Bytes that are near to the right one: one bit off, the other case, and white space."""
    version = b"HTTP/1.1"
    right = version[place]
    near = {right ^ (1 << bit) for bit in range(8)} | set(b"\0\t 0129.,/") - {right}
    found = outcomes(
        server,
        lambda byte: post(line=b"POST /user_tags " + version[:place] + byte + version[place + 1 :]),
        (bytes([byte]) for byte in near),
    )
    served = {byte for byte, statuses in found.items() if statuses[0] == 204}
    assert served <= ({b"%d" % minor for minor in range(10)} if place == 7 else set())


def test_a_size_of_a_chunk_is_hexadecimal(server: Server, client: Client) -> None:
    size = b"%x" % len(TAG)
    check(
        server,
        client,
        lambda byte: chunked(size + byte + b"\r\n" + TAG + b"\r\n0\r\n\r\n"),
        lambda byte: {204, 400} if byte in b";\t " else {400},
        # One digit more is a larger chunk, of which the rest may still come.
        [byte for byte in EVERY if byte not in b"0123456789abcdefABCDEF"],
    )
