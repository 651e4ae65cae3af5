"""The bytes of a block: many records framed together, compressed when that pays, checksummed."""

import sys
import threading
import zlib
from collections.abc import Sequence

import msgspec

from penstock.core.errors import PenstockError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECORDS_MAX = 8192
"""Records of one block; more are split, so that one damaged block costs at most so many."""

_COMPRESS_FROM_BYTES = 512
_ZSTD_LEVEL = 1
_RAW, _ZSTD = b"r", b"z"

_compressor = threading.local()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class DamagedBlock(PenstockError):
    """A block's bytes are not those that were written."""


def pack(payloads: Sequence[bytes]) -> bytes:
    framed = _encode(payloads)
    if len(framed) < _COMPRESS_FROM_BYTES:
        return _RAW + framed
    return _ZSTD + _compress(framed)


def _compress(framed: bytes) -> bytes:
    """One frame. A compressor is dear to make and cheap to use again, in its own thread."""
    compressor: zstd.ZstdCompressor | None = getattr(_compressor, "zstd", None)
    if compressor is None:
        compressor = _compressor.zstd = zstd.ZstdCompressor(_ZSTD_LEVEL)
    return compressor.compress(framed, zstd.ZstdCompressor.FLUSH_FRAME)


def unpack(body: bytes) -> list[bytes]:
    """Raise `DamagedBlock` for bytes that `pack` did not make."""
    try:
        framed = body[1:] if body[:1] == _RAW else zstd.decompress(body[1:])
        return _decode(framed)
    except (zstd.ZstdError, msgspec.MsgspecError) as error:
        raise DamagedBlock(f"unpacking a block: {error}") from error


def times(runs: Sequence[tuple[int, int]], at_ms: int) -> list[int]:
    """When each record was taken, of runs of blocks' times and records; none if all at `at_ms`."""
    if all(at == at_ms for at, _ in runs):
        return []
    return [at for at, records in runs for _ in range(records)]


def checksum(first: int, count: int, body: bytes) -> int:
    """Covers the offsets too, so that a block in the wrong place is found as well."""
    return zlib.crc32(body, zlib.crc32(b"%d:%d" % (first, count)))
