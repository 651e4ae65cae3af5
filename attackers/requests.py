"""Requests byte for byte, built beforehand: an attack is to cost its sender little."""

import gzip
import sys
import zlib
from collections.abc import Callable
from functools import cache, partial

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BATCH = b"/user_tags/batch"
BATCH_BYTES_MAX = 4_194_304
LINE_BYTES_MAX = 65_536
BLOCK_BYTES = 262_144
"""What one read of a server's socket may bring at once."""
_TAG = (
    b'{"time":"2022-03-01T00:00:30.000Z","cookie":"%b","country":"PL","device":"PC",'
    b'"action":"VIEW","origin":"%b","product_info":{"product_id":1,"brand_id":"B",'
    b'"category_id":"C","price":1}}'
)
_RANGE = b"time_range=2022-03-01T00:00:00_2022-03-01T00:10:00"
AGGREGATES = b"/aggregates?" + _RANGE + b"&action=VIEW&aggregates=COUNT&origin="


def tag(cookie: bytes, origin: bytes) -> bytes:
    return _TAG % (cookie, origin)


TAG = tag(b"attacker", b"attack")


def post(target: bytes, body: bytes, *fields: bytes) -> bytes:
    lines = [b"POST %b HTTP/1.1" % target, b"Host: x", *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(target: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: x", *fields]) + b"\r\n\r\n"


def opened(target: bytes, size: int, *fields: bytes) -> bytes:
    """A head that announces a body."""
    return post(target, b"", *fields).replace(b"Content-Length: 0", b"Content-Length: %d" % size)


def chunked(target: bytes) -> bytes:
    """A head that announces chunks."""
    lines = [b"POST %b HTTP/1.1" % target, b"Host: x", b"Transfer-Encoding: chunked"]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def block(request: bytes) -> bytes:
    """As often as it fits into one read."""
    return request * (BLOCK_BYTES // len(request))


# -- bodies that are small to send and dear to read -----------------------------------------------

Compress = Callable[[bytes], bytes]
_br: Compress = partial(brotli.compress, quality=5, lgwin=24)
_zstd: Compress = partial(zstd.compress, options={zstd.CompressionParameter.window_log: 23})
_gzip: Compress = partial(gzip.compress, compresslevel=6)
_SPACES = b" " * 30_000_000


def _coded(coding: bytes, body: bytes, target: bytes = BATCH) -> bytes:
    return post(target, body, b"Content-Encoding: " + coding)


def _member(value: bytes, room: int) -> bytes:
    """Lines, as long as a tag may be or as many as a batch may have, with one member more."""
    line = TAG[:-1] + b',"x":' + value + b"}"
    assert len(line) <= LINE_BYTES_MAX
    return b"\n".join([line] * min(1_000, room // (len(line) + 1)))


def _filled(left: bytes, piece: bytes, right: bytes, room: int) -> bytes:
    """`piece` again and again, with commas, up to so many bytes."""
    times = (room - len(left) - len(right)) // (len(piece) + 1)
    return left + b",".join([piece] * times) + right


def _lines(left: bytes, piece: bytes, right: bytes, line_bytes: int) -> bytes:
    room = line_bytes - len(TAG) - 10
    return _member(_filled(left, piece, right, room), BATCH_BYTES_MAX)


def _distinct() -> bytes:
    names = b",".join(b'"%05d":0' % n for n in range(6_500))
    return _member(b"{" + names + b"}", BATCH_BYTES_MAX)


_DEAR: dict[str, Callable[[], bytes]] = {
    "a brotli window of 24 bits": lambda: _coded(b"br", _br(_SPACES)),
    "the same for one tag": lambda: _coded(b"br", _br(_SPACES), b"/user_tags"),
    "the same for a query": lambda: _coded(b"br", _br(_SPACES), AGGREGATES + b"x"),
    "a gzip bomb": lambda: _coded(b"gzip", _gzip(_SPACES)),
    "a deflate bomb": lambda: _coded(b"deflate", zlib.compress(_SPACES)),
    "a zstd bomb": lambda: _coded(b"zstd", _zstd(_SPACES)),
    "many gzip members": lambda: _coded(b"gzip", _gzip(b"") * 1_024),
    "many zstd frames": lambda: _coded(b"zstd", _zstd(b"") * 1_024),
    "lines of objects": lambda: _coded(b"br", _br(_lines(b"[", b"{}", b"]", 65_000))),
    "lines of objects, as gzip": lambda: _coded(b"gzip", _gzip(_lines(b"[", b"{}", b"]", 65_000))),
    "lines of objects, plain": lambda: post(BATCH, _lines(b"[", b"{}", b"]", 65_000)),
    "lines of one member": lambda: _coded(b"br", _br(_lines(b"{", b'"a":1', b"}", 65_000))),
    "lines of many members": lambda: _coded(b"gzip", _gzip(_distinct())),
    "lines of numbers": lambda: _coded(b"br", _br(_lines(b"[", b"1e400", b"]", 4_000))),
    "lines of long words": lambda: _coded(b"br", _br(_lines(b'"', b"a" * 1_000, b'"', 4_000))),
    "lines of escapes": lambda: _coded(b"br", _br(_lines(b'"', b"\\u0061" * 100, b'"', 4_000))),
    "lines of depth": lambda: _coded(b"br", _br(_member(b"[" * 30_000 + b"]" * 30_000, 4_000_000))),
    "lines that are empty": lambda: _coded(b"br", _br(b"\n" * BATCH_BYTES_MAX)),
    "lines of a space": lambda: _coded(b"br", _br(b" \n" * (BATCH_BYTES_MAX // 2))),
    "lines that are too many": lambda: _coded(b"br", _br(b"0\n" * (BATCH_BYTES_MAX // 2))),
    "lines that are no tags": lambda: _coded(b"br", _br(b"{}\n" * 1_000)),
    "lines that are no tags, plain": lambda: post(BATCH, b"{}\n" * 1_000),
    "lines that are empty behind tags": lambda: _coded(
        b"br", _br((TAG + b"\n") * 1_000 + b"\n" * 3_900_000)
    ),
    "a full batch": lambda: post(BATCH, b"\n".join([TAG] * 1_000)),
    "a tag of objects": lambda: post(
        b"/user_tags", _lines(b"[", b"{}", b"]", 65_000).partition(b"\n")[0]
    ),
    "a tag of digits": lambda: post(
        b"/user_tags", TAG.replace(b'"price":1', b'"price":' + b"1" * 60_000)
    ),
    "a query of many parameters": lambda: post(AGGREGATES + b"x" + b"&a" * 7_500, b""),
    "a query of codes": lambda: post(AGGREGATES + b"%41" * 5_000, b""),
    "a head of many fields": lambda: post(b"/user_tags", TAG, *[b"X-A: " + b"a" * 150] * 95),
}  # fmt: skip
DEAR_NAMES = tuple(_DEAR)


@cache
def dear(name: str) -> bytes:
    """A request that takes much time for its size, by its name in `DEAR_NAMES`."""
    return _DEAR[name]()
