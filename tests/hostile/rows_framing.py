"""Where a body ends, and what a connection does then (RFC 9112 sections 6, 7 and 9)."""

from collections.abc import Iterator

from hostile.table import (
    PROFILE,
    TAG,
    Row,
    chunked,
    chunks,
    get,
    lenient,
    post,
    refused,
    served,
    torn,
)

_OLD = b"POST /user_tags HTTP/1.0"
_SIZE = b"%d" % len(TAG)
_TOO_LARGE = (400, 413, 431)


def lengths() -> Iterator[Row]:
    def of(value: bytes) -> bytes:
        return post(b"Content-Length: " + value, sized=False)

    rule = "9110-8.6"
    for value in (b"0" + _SIZE, b"0" * 5_000 + _SIZE):
        yield served(f"{rule}: zeros before a length: {len(value)} digits", of(value))
    for value in (
        b"+5", b"-5", b"0x5", b"5, 5", b"5,5", b"5;5", b"5 5", b"5.0", b"5e1", b"", b"x", b"5x",
        b"x5", b"'5'", b'"5"', b"\xd9\xa5", b"5\x0b", b"\x0b5", b"5\0", b"_5", b"5_0", b"-0", b"+0",
        b"0x0", b",5", b"5,", b"NaN", b"infinity",
    ):  # fmt: skip
        yield torn(f"{rule}: {value!r} is no length", of(value))
    for value in (
        b"18446744073709551616", b"18446744073709551622", b"9" * 40, b"9223372036854775808",
    ):  # fmt: skip
        yield torn(f"{rule}: {value.decode()} is more than can be", of(value), 400, 413)
    yield refused(f"{rule}: a tag that is empty", post(body=b""), then="kept")
    yield refused(
        "9112-6.3: without a length there is no body", post(body=b"", sized=False), 400, 411
    )
    sent = post(body=TAG, line=b"GET /healthz HTTP/1.1")
    yield served("9110-9.3.1: the body of a GET is no request", sent, 200, 400, 413, then="either")
    sent = post(body=post(), line=b"GET /healthz HTTP/1.1")
    yield served("9110-9.3.1: nor is a request in it", sent, 200, 400, 413, then="either")
    sent = post(body=post(), line=b"DELETE /nowhere HTTP/1.1")
    yield refused("9112-6: the body of what is refused is no request", sent, 404)
    sent = post(body=post(), line=b"XYZZY /user_tags HTTP/1.1")
    yield refused("9112-6: nor that of an unknown method", sent, 501)
    sent = post(b"Content-Type: text/plain", body=post())
    yield refused("9112-6: nor that of another type", sent, 415)
    sent = post(body=b" " * 65_000 + post() * 20)
    yield refused("9112-6: nor that of a large one", sent, 413)
    sent = post(b"X-A: " + b"b" * 17_000, body=post() * 20)
    yield refused("9112-6: nor that of a large head", sent, 431)


def codings() -> Iterator[Row]:
    def of(value: bytes, body: bytes = b"") -> bytes:
        return post(b"Transfer-Encoding: " + value, body=body or chunks(), sized=False)

    rule = "9112-6.1"
    for value in (b"chunked", b"Chunked", b"CHUNKED", b"cHuNkEd"):
        yield served(f"{rule}: {value.decode()}", of(value))
    for value in (
        b"gzip, chunked", b"deflate, chunked", b"compress,chunked", b"x-gzip , chunked",
        b"br, chunked",
    ):  # fmt: skip
        yield torn(f"{rule}: {value.decode()} is not taken", of(value), 501)
    sent = post(
        b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=chunks(), sized=False
    )
    yield torn(f"{rule}: nor in two lines", sent, 501)
    for value in (
        b"gzip", b"identity", b"xchunked", b"chunkedx", b"chunked, gzip", b"chunked, identity",
        b"identity, chunked", b"chunked, chunked", b"chunked;a=b", b'"chunked"', b"'chunked'",
        b"chunked chunked", b"chunked;", b"x", b"", b"\x0bchunked", b"chunked\x0b", b"chunked\0",
        b"\xffchunked", b"chun\tked", b"trailers", b"0",
    ):  # fmt: skip
        yield torn(f"{rule}: {value!r} does not end as chunks do", of(value), 400, 501)
    for value in (b"chunked,", b", chunked", b"chunked, ,"):
        yield lenient(f"9110-5.6.1: empty elements: {value.decode()}", of(value), 400, 501)
    for second in (b"chunked", b"identity", b"gzip", b""):
        sent = post(
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: " + second,
            body=chunks(),
            sized=False,
        )
        yield torn(f"{rule}: chunked, and {second!r} in a second line", sent, 400, 501)
    yield torn(f"{rule}: a length before chunks", chunked(chunks(), b"Content-Length: 5"))
    yield torn(
        f"{rule}: a length and then chunks", post(b"Transfer-Encoding: chunked", body=chunks())
    )
    yield torn(f"{rule}: a length of zero and chunks", chunked(chunks(), b"Content-Length: 0"))
    yield torn(
        f"{rule}: a length, and a coding that is none",
        post(b"Transfer-Encoding: identity"),
        400,
        501,
    )
    row = lenient(
        f"{rule}: chunks on HTTP/1.0 are framed wrongly", chunked(chunks(), line=_OLD), 400, 501
    )
    yield row._replace(then="closed", told=False)
    row = lenient(
        f"{rule}: though it be kept alive",
        chunked(chunks(), b"Connection: keep-alive", line=_OLD),
        400,
        501,
    )
    yield row._replace(then="closed", told=False)
    yield torn(f"{rule}: on HTTP/1.0 with a length",
               chunked(chunks(), b"Content-Length: 5", line=_OLD))._replace(told=False)  # fmt: skip
    sent = chunked(b"0\r\n\r\n", line=b"POST %b HTTP/1.1" % PROFILE)
    yield served(f"{rule}: a query with no chunks", sent, 200)
    yield served(
        "9112-7: chunks of a GET",
        chunked(chunks(), line=b"GET /healthz HTTP/1.1"),
        200,
        400,
        413,
        then="either",
    )


def chunk_sizes() -> Iterator[Row]:
    def of(size: bytes, end: bytes = b"\r\n") -> bytes:
        return chunked(size + b"\r\n" + TAG + end + b"0\r\n\r\n")

    hexadecimal = b"%x" % len(TAG)
    rule = "9112-7.1"
    for size in (hexadecimal, hexadecimal.upper(), b"0" * 8 + hexadecimal):
        yield served(f"{rule}: {size.decode()}", of(size))
    yield served(
        f"{rule}: the last size has more zeros",
        chunked(chunks().replace(b"\r\n0\r\n", b"\r\n000\r\n")),
    )
    for size in (
        b"+" + hexadecimal, b"-" + hexadecimal, b"0x" + hexadecimal, b"", b"g", hexadecimal + b"g",
        b" " + hexadecimal, hexadecimal + b"h", b"\t" + hexadecimal, hexadecimal + b",",
        hexadecimal + b" 1", hexadecimal + b"\0", b"1" + b"0" * 15 + hexadecimal, b"f" * 16,
        b"f" * 17, b"f" * 5_000, b"\xd9\xa1", hexadecimal + b"\x0b", b"_" + hexadecimal, b"1_0",
    ):  # fmt: skip
        yield torn(f"{rule}: {size[:30]!r} is no size", of(size), 400, 413)
    yield torn(f"{rule}: a chunk longer than its size", of(b"%x" % (len(TAG) - 1)))
    yield torn(
        f"{rule}: one shorter than its size",
        chunked(b"%x\r\n%b\r\n0\r\n\r\nX\r\n" % (len(TAG) + 1, TAG)),
    )
    for end in (b"", b"\n", b"\r", b"\n\r", b"  \r\n", b"\r\r\n"):
        yield torn(f"{rule}: a chunk that ends with {end!r}", of(hexadecimal, end))
    yield torn(
        f"{rule}: a size that ends with LF", chunked(hexadecimal + b"\n" + TAG + b"\r\n0\r\n\r\n")
    )
    yield torn(
        f"{rule}: a size that ends with CR", chunked(hexadecimal + b"\r" + TAG + b"\r\n0\r\n\r\n")
    )
    yield torn(f"{rule}: all ends are LF", chunked(chunks().replace(b"\r\n", b"\n")))
    yield torn(f"{rule}: the last end is LF", chunked(chunks()[:-2] + b"\n"))
    yield torn(f"{rule}: the end of the last size is LF", chunked(chunks()[:-4] + b"\n\r\n"))


def chunk_extensions() -> Iterator[Row]:
    rule = "9112-7.1.1"
    for extension in (
        b";a", b";a=b", b";a=b;c", b';a="b"', b';a="b;c"', b';a="b\\"c"', b" ;a=b", b"; a=b",
        b";a =b", b";a= b", b" ; a = b ; c", b"\t;\ta\t=\tb", b';a="\xc3\xa4"', b';a=" b\t"',
        b";a=" + b"b" * 100,
    ):  # fmt: skip
        yield served(f"{rule}: {extension[:30]!r}", chunked(chunks(extension)))
    for extension in (
        b" ", b";", b"; ", b";a=", b";=b", b';a="b', b";;a", b";a b", b";(a)", b";a=b c", b";a\0",
    ):  # fmt: skip
        yield lenient(f"{rule}: {extension!r}", chunked(chunks(extension)))
    for extension in (b";a\n", b";a=b\n", b";a\rb", b';a="\n"', b';a="\r"', b"\n", b";\n"):
        yield torn(f"{rule}: no line ends within: {extension!r}", chunked(chunks(extension)))
    for extension in (b";" + b"a" * 20_000, b";a=" + b"b" * 70_000, b";a" * 20_000):
        yield torn(
            f"{rule}: {len(extension)} bytes of extensions",
            chunked(chunks(extension)),
            400,
            413,
            431,
        )


def trailers() -> Iterator[Row]:
    rule = "9112-7.1.2"
    for trailer in (
        b"X-A: b\r\n", b"X-A: b\r\nX-C: d\r\n", b"Host: y\r\n", b"Idempotency-Key: k\r\n",
        b"Content-Encoding: gzip\r\n", b"Connection: x\r\n", b"X-A:\r\n",
    ):  # fmt: skip
        yield served(f"{rule}: {trailer!r} is no header", chunked(chunks(trailers=trailer)))
    for trailer in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
        yield lenient(
            f"{rule}: {trailer!r} frames nothing any more", chunked(chunks(trailers=trailer))
        )
    for trailer in (
        b"X-A : b\r\n", b"X A: b\r\n", b"X-A\r\n", b"X-A: b\r\n c\r\n", b"X-A: b\n",
        b"X-A: b\rc\r\n", b"X-A: b\0\r\n", b" X-A: b\r\n", b": b\r\n",
    ):  # fmt: skip
        yield torn(f"{rule}: {trailer!r} is no field", chunked(chunks(trailers=trailer)))
    yield torn(
        f"{rule}: as many as no head may have",
        chunked(chunks(trailers=b"X-A: b\r\n" * 3_000)),
        *_TOO_LARGE,
    )
    yield torn(
        f"{rule}: one that is as long as no head",
        chunked(chunks(trailers=b"X-A: " + b"b" * 20_000 + b"\r\n")),
        *_TOO_LARGE,
    )


def persistence() -> Iterator[Row]:
    rule = "9112-9.3"
    for value in (
        b"close", b"CLOSE", b"Close", b"close, x", b"x, close", b"keep-alive, close",
        b"close,keep-alive", b"close , x", b", close", b"\tclose",
    ):  # fmt: skip
        yield served(f"{rule}: {value!r} closes", post(b"Connection: " + value), then="closed")
    for value in (b"keep-alive", b"x", b"closed", b"x-close", b"closex", b"Upgrade", b"TE", b""):
        yield served(f"{rule}: {value!r} does not", post(b"Connection: " + value))
    yield served(
        f"{rule}: a field of that name does not", post(b"close: close", b"X-Connection: close")
    )
    yield served(f"{rule}: HTTP/1.0 closes", post(line=_OLD), then="closed", told=False)
    for value in (b"keep-alive", b"Keep-Alive", b"KEEP-ALIVE", b"keep-alive, x", b"x,keep-alive"):
        row = served(
            f"{rule}: HTTP/1.0 is kept where it asks: {value.decode()}",
            post(b"Connection: " + value, line=_OLD),
        )
        yield row._replace(fields=((b"connection", b"keep-alive"),))
    for value in (b"close", b"keep-alive, close", b"x", b"keep"):
        sent = post(b"Connection: " + value, line=_OLD)
        yield served(
            f"{rule}: nor where it asks for {value.decode()}", sent, then="closed", told=False
        )
    sent = get(b"GET /nowhere HTTP/1.0", b"Connection: keep-alive")
    row = refused(f"{rule}: what is refused is kept as well, or closed", sent, 404)
    yield row._replace(told=False)
    sent = get(b"GET /healthz HTTP/1.1", b"Connection: close")
    yield served(f"{rule}: a query that closes", sent, 200, then="closed")
    yield served(f"{rule}: five at once", post() * 5, answers=5)
    sent = post() * 3 + post(b"Connection: close") + post() * 2
    yield served(f"{rule}: six at once, the fourth closes", sent, answers=4, then="closed")
    yield served("9110-7.8: an upgrade is not taken", post(b"Connection: Upgrade", b"Upgrade: h2c"))
    yield served(
        "9110-7.8: nor one to a version",
        post(b"Connection: upgrade", b"Upgrade: HTTP/2.0, websocket"),
    )
    row = served("9110-9.3.2: HEAD has no body", get(b"HEAD /healthz HTTP/1.1"), 200)
    yield row._replace(method=b"HEAD")
    row = refused("9110-9.3.2: nor has one that is refused", get(b"HEAD /nowhere HTTP/1.1"), 404)
    yield row._replace(method=b"HEAD")


ROWS = [*lengths(), *codings(), *chunk_sizes(), *chunk_extensions(), *trailers(), *persistence()]
