"""Requests byte for byte: sound ones, odd ones, and those that two readers could read differently.

Their paths are those of `support.hosts`.
"""

from support.hosts import BODY_BYTES_MAX

UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")


def post(
    body: bytes = b"a note",
    *headers: bytes,
    path: bytes = b"/note",
    method: bytes = b"POST",
    version: bytes = b"1.1",
    sized: bool = True,
) -> bytes:
    lines = [b"%b %b HTTP/%b" % (method, path, version), b"Host: x", *headers]
    if sized:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    return post(b"", *headers, path=path, method=method, sized=False)


def coded(body: bytes, *headers: bytes) -> bytes:
    """`body` is framed in chunks already."""
    return post(body, b"Transfer-Encoding: chunked", *headers, sized=False)


WHOLE = (
    post(),
    post(b"another"),
    post(b"reject"),
    post(b"fail"),
    post(b"nothing"),
    post(b""),
    post(b"x" * BODY_BYTES_MAX),
    post(b"x" * (BODY_BYTES_MAX + 1)),
    post(b"x", b"X-Request-Id: abc"),
    post(b"x", b"Idempotency-Key: k"),
    post(b"x", b"Content-Encoding: gzip"),
    post(b"x", b"Content-Encoding: other"),
    post(b"x", b"Connection: close"),
    post(b"x", version=b"1.0"),
    post(b"x", version=b"2.0"),
    post(b"x", b"Connection: keep-alive", version=b"1.0"),
    post(b"x", b"Expect: 100-continue"),
    post(b"x" * 1_001, b"Expect: 100-continue"),
    post(b"upgraded", *UPGRADE),
    post(b"x", b"Connection: close, Upgrade", b"Upgrade: websocket"),
    post(b"x", b"Large: " + b"x" * 17_000),
    post(b"x", *[b"Many: x"] * 101),
    post(b"x", path=b"/nowhere"),
    post(b"x", path=b"/note?query"),
    coded(b"5\r\nhello\r\n0\r\n\r\n"),
    coded(b"5;name=value\r\nhello\r\n0\r\nX-Request-Id: no\r\nContent-Encoding: gzip\r\n\r\n"),
    coded(b"400\r\n" + b"x" * 1_024 + b"\r\n0\r\n\r\n"),
    get(b"/ask/a?q=1"),
    get(b"/ask/a%20%c5%bc"),
    get(b"/ask/%ff"),
    get(b"/ask/a#b"),
    get(b"//ask/a"),
    get(b"http://x/ask/a"),
    get(b"/fail"),
    get(b"/fail", method=b"DELETE"),
    get(b"/ask/a", method=b"HEAD"),
    get(b"/fail", method=b"HEAD"),
    get(b"/nowhere", method=b"HEAD"),
    post(b"abc", path=b"/ask/a", method=b"HEAD"),
    get(b"*", method=b"OPTIONS"),
    get(b"/ask/a?" + b"q" * 16_367),
    get(b"/ask/a?" + b"q" * 16_368),
    b"\r\n" + post(),
)
"""What has an end, wherever that leaves the connection."""

SMUGGLED = {
    "two lengths": post(b"a note", b"Content-Length: 5"),
    "the same length twice": post(b"a note", b"Content-Length: 6"),
    "a list of lengths": post(b"a note", b"Content-Length: 6, 6", sized=False),
    "a length and chunks": post(b"0\r\n\r\n", b"Transfer-Encoding: chunked"),
    "chunks and a length": coded(b"0\r\n\r\n", b"Content-Length: 5"),
    "two codings": post(
        b"0\r\n\r\n", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", sized=False
    ),
    "chunked before another": post(
        b"0\r\n\r\n", b"Transfer-Encoding: chunked, identity", sized=False
    ),
    "almost chunked": post(b"0\r\n\r\n", b"Transfer-Encoding: xchunked", sized=False),
    "identity": post(b"a note", b"Transfer-Encoding: identity", sized=False),
    "a folded line": post(b"a note", b"Folded: a\r\n b"),
    "a folded coding": post(b"0\r\n\r\n", b"Transfer-Encoding:\r\n chunked", sized=False),
    "only line feeds": b"POST /note HTTP/1.1\nHost: x\nContent-Length: 6\n\na note",
    "one bare line feed": post(b"a note", b"A: b\nTransfer-Encoding: chunked"),
    "a bare carriage return": post(b"a note", b"A: b\rTransfer-Encoding: chunked"),
    "a space before the colon": post(b"a note", b"Transfer-Encoding : chunked"),
    "a space before the name": post(b"a note", b" Transfer-Encoding: chunked"),
    "a name with a NUL": post(b"a note", b"Transfer\0-Encoding: chunked"),
    "a value with a NUL": post(b"a note", b"Name: a\0b"),
    "no colon": post(b"a note", b"Transfer-Encoding"),
    "a negative length": post(b"a note", b"Content-Length: -6", sized=False),
    "a length with a sign": post(b"a note", b"Content-Length: +6", sized=False),
    "a length in hexadecimal": post(b"a note", b"Content-Length: 0x6", sized=False),
    "a length past 64 bits": post(b"a note", b"Content-Length: 18446744073709551622", sized=False),
    "an empty length": post(b"a note", b"Content-Length:", sized=False),
    "a chunk size past 64 bits": coded(b"10000000000000006\r\na note\r\n0\r\n\r\n"),
    "a chunk size with a sign": coded(b"+6\r\na note\r\n0\r\n\r\n"),
    "a chunk size in 0x": coded(b"0x6\r\na note\r\n0\r\n\r\n"),
    "a chunk longer than its size": coded(b"5\r\na note\r\n0\r\n\r\n"),
    "chunks with line feeds": coded(b"6\na note\n0\n\n"),
    "a folded trailer": coded(b"6\r\na note\r\n0\r\nA: b\r\n c\r\n\r\n"),
    "a version of two digits": post(b"a note", version=b"1.10"),
    "a target with a NUL": post(b"a note", path=b"/note\0"),
    "a target beyond ASCII": post(b"a note", path=b"/note\xc3\xa9"),
    "a tunnel": get(b"x:1", method=b"CONNECT"),
    "no request at all": b"\x16\x03\x01\x02\x00\x01",
}
"""A proxy in front may have seen another end of the request, and other requests behind it."""

REFUSED = {
    "two codings": 501,
    "chunked before another": 501,
    "almost chunked": 501,
    "identity": 501,
    "a tunnel": 405,
}
"""What is said of those that are understood and not done; of all others 400."""

TORN = (
    *SMUGGLED.values(),
    coded(b"5\r\nhelloXX"),
    post(b"zz\r\n", b"Transfer-Encoding: chunked", path=b"/ask/a", method=b"HEAD", sized=False),
    get(b"/ask/a", b"no colon", method=b"HEAD"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"garbage\r\n\r\n",
    b"GET /ask/a HTTP/1.1\r\n",
    b"\0",
)
"""After these nothing can be understood."""
