"""Content codings: what a client compressed, inflated under a hard cap.

However a body is made, inflating it costs time in proportion to the bytes that came and to those
that may come out, and memory in proportion to the latter. All four decoders let other threads run
while they work.
"""

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli

from penstock.core.errors import BadEncoding, TooLarge, UnsupportedType

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ZSTD_WINDOW_LOG_MAX = 23
"""8 MiB, what RFC 9659 allows a sender: a frame cannot make us allocate more."""
_GZIP, _ZLIB, _RAW = 31, 15, -15
_PIECE_BYTES = 16_384
_GZIP_MEMBER_BYTES, _ZSTD_FRAME_BYTES = 64, 1_024
"""A member costs time however little is in it, 2 and 30 microseconds: it counts as so many of the
bytes that may come out."""
_BROTLI_GAP_BYTES = 16
"""By so much less than the window's size a reference reaches back at most (RFC 7932)."""


class _Inflater(Protocol):
    """What zlib and zstd have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _members(
    make: Callable[[], _Inflater], body: bytes, room: int, members_max: int
) -> list[bytes]:
    """One member after the other, as gzip and zstd allow; never more than `room` bytes.

    Fed in pieces: what follows a member's end is a copy, and of a large body it would be a large
    one for each of its members.
    """
    parts: list[bytes] = []
    at = 0
    for _ in range(members_max):
        inflater = make()
        while not inflater.eof:
            piece = body[at : at + _PIECE_BYTES]
            if not piece:
                raise ValueError("it ends too early")
            at += len(piece)
            part = inflater.decompress(piece, room)
            parts.append(part)
            room -= len(part)
            if room <= 0:
                return parts
        at -= len(inflater.unused_data)
        if at == len(body):
            return parts
    raise ValueError(f"something follows the end; it may have {members_max} members")


def _gzip(body: bytes, room: int) -> list[bytes]:
    members_max = 1 + room // _GZIP_MEMBER_BYTES
    return _members(lambda: zlib.decompressobj(_GZIP), body, room, members_max)


def _deflate(body: bytes, room: int) -> list[bytes]:
    """The name stands for zlib's format; many senders leave its envelope out."""
    zlib_header = (
        len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and not ((body[0] << 8 | body[1]) % 31)
    )
    wbits = _ZLIB if zlib_header else _RAW
    return _members(lambda: zlib.decompressobj(wbits), body, room, 1)


def _zstd(body: bytes, room: int) -> list[bytes]:
    limits: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
    members_max = 1 + room // _ZSTD_FRAME_BYTES
    return _members(lambda: zstd.ZstdDecompressor(options=limits), body, room, members_max)


def _brotli(body: bytes, room: int) -> list[bytes]:
    """In small steps: of large ones the decoder puts out up to double of what was allowed."""
    inflater = brotli.Decompressor()
    piece, at = _narrowed(body[:_PIECE_BYTES], room), _PIECE_BYTES
    parts: list[bytes] = []
    while True:
        part: bytes = inflater.process(piece, output_buffer_limit=min(room, _PIECE_BYTES))
        parts.append(part)
        room -= len(part)
        if room <= 0:
            return parts
        if inflater.is_finished():
            break
        piece = b""
        if inflater.can_accept_more_data():
            piece = body[at : at + _PIECE_BYTES]
            at += _PIECE_BYTES
        if not piece and not part:
            raise ValueError("it ends too early")
    if at < len(body):
        raise ValueError("something follows the end")
    return parts


def _narrowed(head: bytes, room: int) -> bytes:
    """The start of the same stream, with a window that is not larger than what may come out needs.

    The decoder fills its window before it puts anything out: a window of 16 MiB, which 30 bytes can
    fill, took 60 ms before the limit was looked at. Up to `room` bytes a narrower one makes no
    difference, because no reference can reach farther back than to the start. Sizes of 2¹⁸ to 2²⁴
    are three bits of the first byte; all others are smaller.
    """
    size = head[0] >> 1 & 7 if head else 0
    if not size or not head[0] & 1:
        return head
    needed = (room + _BROTLI_GAP_BYTES - 1).bit_length() - 17
    return bytes([head[0] & 0xF1 | min(size, max(needed, 1)) << 1]) + head[1:]


_CODINGS: dict[bytes, Callable[[bytes, int], list[bytes]]] = {
    b"gzip": _gzip,
    b"deflate": _deflate,
    b"br": _brotli,
    b"zstd": _zstd,
}
_ALIASES = {b"x-gzip": b"gzip"}
ACCEPTED = b", ".join(_CODINGS)
"""For the header `Accept-Encoding` of the answer that refuses another one."""


def named(header: bytes) -> bytes:
    """The coding that a Content-Encoding names; empty for none. Raise `UnsupportedType`."""
    name = header.strip().lower()
    name = _ALIASES.get(name, name)
    if name in (b"", b"identity"):
        return b""
    if name not in _CODINGS:
        raise UnsupportedType(
            f"the body may be coded once, with {ACCEPTED.decode()}", accepts=ACCEPTED.decode()
        )
    return name


def inflate(coding: bytes, body: bytes, limit: int) -> bytes:
    """The plain body, at most `limit` bytes. Raise `TooLarge` or `BadEncoding`."""
    try:
        inflated = b"".join(_CODINGS[coding](body, limit + 1))
    except (zlib.error, zstd.ZstdError, brotli.error, ValueError) as error:
        raise BadEncoding(f"the body is not {coding.decode()}: {error}") from None
    if len(inflated) > limit:
        raise TooLarge(f"the body, inflated, may have at most {limit} bytes")
    return inflated
