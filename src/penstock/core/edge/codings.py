"""Content codings: what a client compressed, inflated under a hard cap."""

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
_MEMBERS_MAX = 1_024
"""Each costs the same however little is in it: without an end to them, a small body is dear."""


class _Inflater(Protocol):
    """What zlib and zstd have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _zstd() -> _Inflater:
    limits: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
    return zstd.ZstdDecompressor(options=limits)


def _members(
    make: Callable[[], _Inflater], body: bytes, room: int, members_max: int = _MEMBERS_MAX
) -> bytes:
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
                return b"".join(parts)
        at -= len(inflater.unused_data)
        if at == len(body):
            return b"".join(parts)
    raise ValueError(f"something follows the end; it may have {members_max} members")


def _deflate(body: bytes, room: int) -> bytes:
    """The name stands for zlib's format; many senders leave its envelope out."""
    zlib_header = (
        len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and not ((body[0] << 8 | body[1]) % 31)
    )
    return _members(lambda: zlib.decompressobj(_ZLIB if zlib_header else _RAW), body, room, 1)


def _brotli(body: bytes, room: int) -> bytes:
    inflater = brotli.Decompressor()
    inflated: bytes = inflater.process(body, output_buffer_limit=room)
    while len(inflated) < room and not inflater.is_finished():
        more: bytes = inflater.process(b"", output_buffer_limit=room - len(inflated))
        if not more:
            raise ValueError("it ends too early")
        inflated += more
    return inflated


_CODINGS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"gzip": lambda body, room: _members(lambda: zlib.decompressobj(_GZIP), body, room),
    b"deflate": _deflate,
    b"br": _brotli,
    b"zstd": lambda body, room: _members(_zstd, body, room),
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
        inflated = _CODINGS[coding](body, limit + 1)
    except (zlib.error, zstd.ZstdError, brotli.error, ValueError) as error:
        raise BadEncoding(f"the body is not {coding.decode()}: {error}") from None
    if len(inflated) > limit:
        raise TooLarge(f"the body, inflated, may have at most {limit} bytes")
    return inflated
