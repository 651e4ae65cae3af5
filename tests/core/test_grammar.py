"""Heads and chunks against an independent reader, h11: what we accept, it reads the same."""

from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.edge import grammar
from penstock.core.edge.bodies import Body
from penstock.core.edge.grammar import CHUNKED, Parsed
from penstock.core.errors import (
    ExpectationFailed,
    HeadersTooLarge,
    PenstockError,
    Rejected,
    Unimplemented,
    VersionNotSupported,
)

FIELDS_MAX = 100
LINE_BYTES_MAX = 1_000
HOST = b"Host: x"


def head(*fields: bytes, line: bytes = b"POST /a?b HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *fields]) + b"\r\n\r\n"


def parse(*fields: bytes, line: bytes = b"POST /a?b HTTP/1.1") -> Parsed:
    return grammar.parse(head(*fields, line=line), FIELDS_MAX)


# -- what a head says ---------------------------------------------------------------------------


def test_a_head_says_method_path_query_and_fields() -> None:
    parsed = parse(HOST, b"X-List:  a ", b"x-list:\tb", b"Cookie: c", b"cookie: d", b"Empty:")
    assert (parsed.method, parsed.path, parsed.query) == ("POST", b"/a", b"b")
    assert parsed.fields == {
        b"host": b"x", b"x-list": b"a, b", b"cookie": b"c; d", b"empty": b"",
    }  # fmt: skip
    assert (parsed.length, parsed.keep_alive, parsed.old, parsed.expects) == (0, True, False, False)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a?", b"/a", b""),
        (b"//a", b"//a", b""),
        (b"/?a?b", b"/", b"a?b"),
        (b"http://x", b"/", b""),
        (b"HTTP://x?a", b"/", b"a"),
        (b"https://[::1]:80/a?b", b"/a", b"b"),
        (b"http://x/a/b?c?d", b"/a/b", b"c?d"),
    ],
)
def test_a_target_has_a_path_and_a_query_in_whichever_form_it_comes(
    target: bytes, path: bytes, query: bytes
) -> None:
    parsed = parse(HOST, line=b"GET %b HTTP/1.1" % target)
    assert (parsed.path, parsed.query) == (path, query)


@pytest.mark.parametrize(
    "host",
    [b"x", b"", b"x:", b"x:80", b"1.2.3.4:1", b"[::1]", b"[::ffff:1.2.3.4]:8080", b"a%20b", b"a_b"],
)
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(host: bytes) -> None:
    assert parse(b"Host: " + host).fields[b"host"] == host


@pytest.mark.parametrize(
    "host",
    [
        b"a b", b"a/b", b"a@b", b"a?b", b"a#b", b"a:b", b"a:1:2", b":80", b"x:65536", b"[::1",
        b"::1", b"[::g]", b"[1.2.3.4]", b"[]", b"a%2", b"a%zz", b"\xc3\xa9", b'"a"', b"x, y", b"http://x",
    ],
)  # fmt: skip
def test_any_other_host_is_refused(host: bytes) -> None:
    with pytest.raises(Rejected):
        parse(b"Host: " + host)


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ((), Rejected),
        ((HOST, HOST), Rejected),
        ((HOST, b"Content-Type: a", b"content-type: a"), Rejected),
        ((HOST, b"Transfer-Encoding: gzip, chunked"), Unimplemented),
        ((HOST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), Rejected),
        ((HOST, b"Transfer-Encoding:"), Rejected),
        ((HOST, b"Transfer-Encoding: chunked", b"Content-Length: 1"), Rejected),
        ((HOST, b"Content-Length: " + b"9" * 19), Rejected),
        ((HOST, b"Expect: something"), ExpectationFailed),
        ((HOST, *[b"A: b"] * FIELDS_MAX), HeadersTooLarge),
    ],
)
def test_what_cannot_be_served_says_why(
    fields: tuple[bytes, ...], refusal: type[PenstockError]
) -> None:
    with pytest.raises(refusal):
        parse(*fields)


def test_versions_of_another_kind_are_told_apart_from_no_version() -> None:
    with pytest.raises(VersionNotSupported):
        parse(HOST, line=b"GET / HTTP/2.0")
    for line in (b"GET /", b"GET / HTTP/1.10", b"GET / http/1.1", b"GET / HTTP/1"):
        with pytest.raises(Rejected):
            parse(HOST, line=line)
    assert parse(line=b"GET / HTTP/1.0").old
    assert not parse(HOST, line=b"GET / HTTP/1.9").old


# -- against another reader ---------------------------------------------------------------------

LINES = st.sampled_from(
    [
        HOST, b"Host: x:80", b"Content-Length: 3", b"Content-Length:\t3 ", b"Content-Length: 0",
        b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED", b"Connection: close",
        b"Connection: keep-alive, Close", b"X: ", b"X:\xff", b"X-y_z~: a\tb",
        b"Expect: 100-continue",
    ]
)  # fmt: skip
STARTS = st.sampled_from(
    [b"POST /a?b HTTP/1.1", b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.0", b"M-SEARCH http://x HTTP/1.1"]
)
BYTES = st.sampled_from(b" \t\r\n:\0;,/?#aA1\x7f\xff")


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Sound ones, and those with a few bytes changed, left out or put in."""
    made = bytearray(head(*draw(st.lists(LINES, max_size=5)), line=draw(STARTS)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(made) - 1))
        made[at : at + draw(st.integers(0, 1))] = bytes(draw(st.lists(BYTES, max_size=1)))
    return bytes(made)


@given(heads())
def test_whatever_is_accepted_another_reader_reads_alike(made: bytes) -> None:
    end = made.find(grammar.END) + len(grammar.END)
    if end < len(grammar.END):
        return
    try:
        parsed = grammar.parse(made[:end], FIELDS_MAX)
    except PenstockError:
        return
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(made[:end])
    request = reader.next_event()
    assert isinstance(request, h11.Request)
    assert request.method.decode() == parsed.method
    values: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        values.setdefault(name, []).append(value)
    read = {name: b", ".join(found) for name, found in values.items()}
    if coding := parsed.fields.get(b"transfer-encoding"):
        parsed.fields[b"transfer-encoding"] = coding.lower()  # as it tells it
    assert read == parsed.fields
    body = b"1\r\nx\r\n0\r\n\r\n" if parsed.length == CHUNKED else b"x" * parsed.length
    reader.receive_data(body + b"GET / HTTP/1.1")
    told = b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        told += event.data
    assert told == (b"x" if parsed.length == CHUNKED else body)


# -- chunks -------------------------------------------------------------------------------------


def take(pieces: list[bytes]) -> tuple[bytes, bytes]:
    """The body of some chunks that come in pieces, and what stands behind it."""
    body, arrived = Body(CHUNKED, LINE_BYTES_MAX, keeps=True), bytearray()
    for piece in pieces:
        arrived += piece
        while not body.complete and body.take(arrived):
            pass
    assert body.complete
    return bytes(body.kept or b""), bytes(arrived)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=200),
    st.sampled_from([b"", b";a", b" ; a = b", b'\t;\ta="b;\\" c"', b";a;b=c "]),
    st.lists(st.integers(0, 4_000), max_size=20),
)
def test_chunks_come_together_however_they_are_cut(
    chunks: list[bytes], extension: bytes, cuts: list[int]
) -> None:
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks)
    stream = framed + b"0%b\r\nTrailer: x\r\n\r\nbehind" % extension
    bounds = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[low:high] for low, high in pairwise(bounds)]
    assert take(pieces) == (b"".join(chunks), b"behind")


@given(st.lists(st.sampled_from([b"1", b"0", b"\r", b"\n", b"\r\n", b"x", b";", b"a", b" ", b"="])))
def test_chunks_that_are_accepted_another_reader_reads_alike(parts: list[bytes]) -> None:
    stream = b"".join(parts) + b"\r\n0\r\n\r\n"
    body, arrived = Body(CHUNKED, LINE_BYTES_MAX, keeps=True), bytearray(stream)
    try:
        while body.take(arrived):
            pass
    except PenstockError:
        return
    if not body.complete:
        return
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(head(HOST, b"Transfer-Encoding: chunked") + stream)
    assert isinstance(reader.next_event(), h11.Request)
    told = b""
    while isinstance(event := reader.next_event(), h11.Data):
        told += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert told == bytes(body.kept or b"")
    assert reader.trailing_data[0] == arrived


def test_one_go_takes_a_bounded_number_of_chunks() -> None:
    body, arrived = Body(CHUNKED, LINE_BYTES_MAX, keeps=True), bytearray(b"1\r\nx\r\n" * 1_000)
    goes = 1
    while body.take(arrived):
        goes += 1
    assert goes > 30
    assert body.size == 1_000
