"""Fields: names and values, Host, those that come once and those that are lists (RFC 9110 5, 7)."""

import gzip
from collections.abc import Iterator

from hostile.table import TAG, Row, chunked, chunks, get, lenient, post, refused, served, torn

_OLD = b"POST /user_tags HTTP/1.0"
_PACKED = gzip.compress(TAG)


def hosts() -> Iterator[Row]:
    rule = "9112-3.2"
    yield refused(f"{rule}: there is no Host", post(host=None))
    yield refused(
        f"{rule}: there is no Host on a GET",
        get(b"GET /healthz HTTP/1.1").replace(b"Host: x\r\n", b""),
    )
    yield refused(f"{rule}: two Hosts", post(b"Host: y"))
    yield refused(f"{rule}: the same Host twice", post(b"Host: x"))
    yield refused(f"{rule}: the same Host twice, spelt otherwise", post(b"hOST:x"))
    yield refused(f"{rule}: two Hosts, one of them empty", post(b"Host:"))
    yield refused(f"{rule}: two Hosts on HTTP/1.0", post(b"Host: y", line=_OLD))._replace(
        told=False
    )
    yield refused(f"{rule}: two Hosts beside an absolute target",
                  post(b"Host: y", line=b"POST http://x/user_tags HTTP/1.1"))  # fmt: skip
    yield served(
        f"{rule}: HTTP/1.0 needs none", post(line=_OLD, host=None), then="closed", told=False
    )
    yield lenient(f"{rule}: an empty Host", post(host=b"Host:"))
    for value in (
        b"x", b"x:80", b"x:", b"EXAMPLE.com", b"127.0.0.1:8080", b"[::1]", b"[::1]:80", b"a.b.",
        b"a_b", b"a-b", b"a%41b", b"a!$&'()*+;=b", b"xn--mnchen-3ya.example", b"255.255.255.255",
        b"x" * 255,
    ):  # fmt: skip
        yield served(f"{rule}: {value[:30].decode()} is a Host", post(host=b"Host: " + value))
    yield served(f"{rule}: white space around a Host", post(host=b"Host: \t x:80 \t"))
    yield served(f"{rule}: no white space before a Host", post(host=b"hOsT:x"))
    for value in (
        b"a b", b"a\tb", b"a/b", b"/", b"a?b", b"a#b", b"me@a", b"a:b", b"a:80:80", b"a:8 0",
        b"[::1", b"::1", b"[]", b"[::1]x", b"[::1]:x", b"[g::1]", b"a, b", b"a,b c", b"http://a",
        b"<a>", b'"a"', b"a\\b", b"a^b", b"a`b", b"a{b}", b"a|b", b"a%", b"a%4", b"a%zz",
        b"\xc3\xbc", b"a\x01", b"a\x7f", b"a:-1", b"a:+1", b":x",
    ):  # fmt: skip
        yield refused(f"{rule}: {value!r} is no Host", post(host=b"Host: " + value))
    yield lenient(f"{rule}: a comma, which a name may have", post(host=b"Host: a,b"))
    yield lenient(f"{rule}: a port that there is not", post(host=b"Host: a:99999"))


def whitespace() -> Iterator[Row]:
    rule = "9110-5.5: around a value it is no part of it"
    for fields in (
        (b"Content-Type: application/json ",), (b"Content-Type:application/json",),
        (b"Content-Type: \t application/json\t \t",), (b"Content-Encoding: identity ",),
        (b"X-Request-Id:  one ",), (b"X-Empty:",), (b"X-Empty: \t ",),
         (b"Connection: keep-alive ",),
    ):  # fmt: skip
        yield served(f"{rule}: {fields[0]!r}", post(*fields))
    yield served(
        f"{rule}: Content-Length", post(b"Content-Length: \t%d \t" % len(TAG), sized=False)
    )
    yield served(f"{rule}: Content-Encoding", post(b"Content-Encoding: gzip \t", body=_PACKED))
    sent = post(b"Transfer-Encoding: \tchunked \t", body=chunks(), sized=False)
    yield served(f"{rule}: Transfer-Encoding", sent)
    yield served(f"{rule}: Connection", post(b"Connection: close \t"), then="closed")
    rule = "9112-5.1: none between name and colon"
    for field in (b"X-A : b", b"X-A\t: b", b"Content-Length : 5", b"Host : y", b" : b"):
        yield torn(f"{rule}: {field!r}", post(field))
    rule = "9112-2.2: none before the first name"
    yield torn(f"{rule}: a space", post(host=b" Host: x"))
    yield torn(f"{rule}: a tab and an empty line", post(host=b"\t\r\nHost: x"))
    rule = "9112-5.2: nothing is folded"
    for field in (
        b"X-A: b\r\n c", b"X-A: b\r\n\tc", b"X-A:\r\n b", b"X-A: b\r\n ", b"X-A: b\r\n \r\n c",
    ):  # fmt: skip
        yield torn(f"{rule}: {field!r}", post(field))
    yield torn(f"{rule}: the Host", post(host=b"Host:\r\n x"))
    yield torn(f"{rule}: the length", post(b"Content-Length:\r\n 5", sized=False))


def syntax() -> Iterator[Row]:
    rule = "9112-2.2: a line ends with CR LF"
    yield torn(f"{rule}: all end with LF", post().replace(b"\r\n", b"\n"))
    yield torn(f"{rule}: one ends with LF", post(b"X-A: b\nX-C: d"))
    yield torn(
        f"{rule}: the request line ends with LF", post().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n")
    )
    yield torn(f"{rule}: the empty line is LF", post().replace(b"\r\n\r\n", b"\r\n\n"))
    yield torn(f"{rule}: a bare CR within a value", post(b"X-A: b\rX-C: d"))
    yield torn(f"{rule}: a bare CR at a value's end", post(b"X-A: b\r"))
    yield torn(f"{rule}: CR CR LF", post().replace(b"x\r\n", b"x\r\r\n"))
    yield torn(f"{rule}: a CR for the empty line", post().replace(b"\r\n\r\n", b"\r\n\r"))
    rule = "9110-5.1: a name is a token"
    for field in (
        b": b", b"X A: b", b"X(A): b", b"X\0A: b", b"X-\xc3\xa4: b", b'"X": b', b"X/A: b", b"@: b",
    ):  # fmt: skip
        yield torn(f"{rule}: {field!r}", post(field))
    for field in (b"X-A", b"X-A b", b"X-A= b", b"\0"):
        yield torn(f"9112-5: a field has a colon: {field!r}", post(field))
    yield served(f"{rule}: all that a token may have", post(b"!#$%&'*+-.^_`|~09azAZ: b"))
    yield torn("9110-5.5: a NUL in a value", post(b"X-A: b\0c"))
    yield served("9110-5.5: a value with bytes beyond ASCII", post(b"X-A: \xc3\xa4\xff"))
    yield served("9110-5.5: a value with a tab and colons", post(b"X-A: b\tc: d:e"))
    yield served("9110-5.1: names in any case", post(b"cOnTeNt-TyPe: application/json"))
    yield refused("9110-5.4: more fields than are taken", post(*[b"X-A: b"] * 150), 400, 431)
    yield refused("9110-5.4: a field longer than is taken", post(b"X-A: " + b"b" * 17_000), 431)
    yield refused("9110-5.4: a name longer than is taken", post(b"X" * 70_000 + b": b"), 400, 431)


def lists() -> Iterator[Row]:
    rule = "9110-5.3: may come once"
    for field in (b"Content-Type: application/json", b"Content-Type: text/plain", b"Content-Type:"):
        yield refused(
            f"{rule}: {field!r} behind one", post(b"Content-Type: application/json", field)
        )
        yield refused(
            f"{rule}: {field!r} before one", post(field, b"Content-Type: application/json")
        )
    for field in (
        b"Idempotency-Key: twice-1", b"Idempotency-Key: twice-2", b"idempotency-key:twice-1",
    ):  # fmt: skip
        yield refused(f"{rule}: {field!r} behind one", post(b"Idempotency-Key: twice-1", field))
    for length in (b"%d" % len(TAG), b"5", b"0", b"", b"x"):
        yield torn(f"{rule}: Content-Length: {length.decode()}", post(b"Content-Length: " + length))
    yield torn(
        f"{rule}: Content-Length on a GET",
        get(b"GET /healthz HTTP/1.1", *[b"Content-Length: 0"] * 2),
    )
    rule = "9110-5.3: repeated lines are one list"
    yield served(
        f"{rule}: Connection", post(b"Connection: x-a", b"Connection: close"), then="closed"
    )
    yield served(
        f"{rule}: Connection, the other way",
        post(b"Connection: close", b"Connection: x-a"),
        then="closed",
    )
    sent = post(b"Content-Encoding: identity", b"Content-Encoding: gzip", body=_PACKED)
    yield lenient(f"{rule}: Content-Encoding", sent, 400, 415)
    sent = post(b"Content-Encoding: gzip", b"Content-Encoding: gzip", body=gzip.compress(_PACKED))
    yield lenient(f"{rule}: Content-Encoding twice", sent, 400, 415)
    sent = post(b"Content-Encoding: gzip, gzip", body=gzip.compress(_PACKED))
    yield lenient("9110-8.4: two codings in one line", sent, 415)
    for fields in (
        (b"Via: 1.1 a", b"Via: 1.0 b"), (b"Accept: a/b", b"Accept: c/d"), (b"X-A: b",) * 2,
        (b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-For: 10.0.0.2"),
        (b"Trailer: a", b"TE: trailers"), (b"Cookie: a=b", b"Cookie: c=d"), (b"Warning: x",) * 2,
    ):  # fmt: skip
        yield served(f"{rule}: {fields[0]!r}", post(*fields))
    for coding in (b"GZIP", b"Gzip", b"x-gzip", b"X-GZIP"):
        sent = post(b"Content-Encoding: " + coding, body=_PACKED)
        yield served(f"9110-8.4.1: {coding.decode()} is gzip", sent)
    for kind in (
        b"APPLICATION/JSON", b"application/json;charset=utf-8", b"application/json ; charset=utf-8",
    ):  # fmt: skip
        yield served(f"9110-8.3.1: {kind.decode()} is JSON", post(b"Content-Type: " + kind))
    yield served(
        "9110-6.5: trailers are no headers",
        chunked(chunks(trailers=b"Content-Type: text/plain\r\n")),
    )


ROWS = [*hosts(), *whitespace(), *syntax(), *lists()]
