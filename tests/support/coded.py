"""Coded bodies of the unusual kinds, and those that take as much time to inflate as their format
allows: made bit by bit.
"""

import gzip
import sys
import zlib

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1_048_576
GIB_MIBS = 1_024


def raw_deflate(plain: bytes) -> bytes:
    squeezed = zlib.compressobj(wbits=-15)
    return squeezed.compress(plain) + squeezed.flush()


def unsized_zstd(plain: bytes, window_log: int = 20) -> bytes:
    """Its header announces no size, as when it is made while it is sent."""
    squeezed = zstd.ZstdCompressor(
        options={
            zstd.CompressionParameter.window_log: window_log,
            zstd.CompressionParameter.checksum_flag: 1,
        }
    )
    return squeezed.compress(plain) + squeezed.flush()


# -- a gibibyte in little -------------------------------------------------------------------------


def deflated_zeros() -> bytes:
    """A gibibyte, from one mebibyte's blocks over and over."""
    squeezed = zlib.compressobj(9, wbits=-15)
    block = squeezed.compress(bytes(MIB)) + squeezed.flush(zlib.Z_FULL_FLUSH)
    return block * GIB_MIBS + raw_deflate(b"")


def brotli_zeros() -> bytes:
    squeezed = brotli.Compressor(quality=1)
    zeros = bytes(MIB)
    parts = [squeezed.process(zeros) for _ in range(GIB_MIBS)]
    return b"".join([*parts, squeezed.finish()])


def zstd_zeros() -> bytes:
    """Blocks that say "131,072 times the same byte", in a frame whose window is a mebibyte."""
    size = 131_072
    again = (0b010 | size << 3).to_bytes(3, "little") + b"\0"
    last = (0b011 | size << 3).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x50" + again * (GIB_MIBS * 8 - 1) + last


# -- much work in little --------------------------------------------------------------------------


class Bits:
    """Numbers of so many bits each, the lowest bit first."""

    def __init__(self, *numbers: tuple[int, int]) -> None:
        self._value = 0
        self._size = 0
        for number, size in numbers:
            self.put(number, size)

    def put(self, number: int, size: int) -> None:
        self._value |= number << self._size
        self._size += size

    def align(self) -> None:
        self._size += -self._size % 8

    def times(self, count: int) -> bytes:
        repeated = Bits(*[(self._value, self._size)] * count)
        return bytes(repeated)

    def __bytes__(self) -> bytes:
        return self._value.to_bytes(-(-self._size // 8), "little")


def filled(size: int, unit: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
    """As many units between head and tail as `size` bytes hold."""
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


# -- brotli: RFC 7932 -----------------------------------------------------------------------------


def _br_tree(symbol: int, size: int) -> list[tuple[int, int]]:
    """A tree of one symbol, which then takes no bits at all."""
    return [(1, 2), (0, 2), (symbol, size)]


def _br_window(log: int) -> tuple[int, int]:
    """The size of the window, of those that are told in four bits: 18 to 24."""
    return 1 | log - 17 << 1, 4


def brotli_copies(window_log: int) -> bytes:
    """32 MiB of copies of two bytes each, in about thirty bytes."""
    bits = Bits(_br_window(window_log))
    bits.put(0, 1)  # not the last
    for number, size in ((0, 2), (7, 16), (1, 1)):  # eight bytes, as they are
        bits.put(number, size)
    bits.align()
    bits.put(int.from_bytes(b"abcdefgh", "little"), 64)
    for last in (False, True):
        for number, size in [(1, 1), (0, 1)] if last else [(0, 1)]:
            bits.put(number, size)
        for number, size in [(2, 2), (2**24 - 1, 24)] + ([] if last else [(0, 1)]):
            bits.put(number, size)
        # One block type of each kind, no direct distances, one tree of each kind: no literal and a
        # copy of two bytes, from as far as the last one.
        for number, size in [(0, 3), (0, 6), (0, 2), (0, 2)]:
            bits.put(number, size)
        for number, size in _br_tree(65, 8) + _br_tree(0, 10) + _br_tree(0, 6):
            bits.put(number, size)
    return bytes(bits)


def brotli_blocks(size: int) -> bytes:
    """Blocks of nothing."""
    return filled(size, b"\x06", bytes(Bits((0, 1), (0, 1), (3, 2), (0, 1), (0, 2))), b"\x03")


def brotli_trees(size: int) -> bytes:
    """768 trees for each byte that comes out."""
    block = Bits((0, 1), (0, 2), (0, 16), (0, 1))
    for _ in range(3):  # 256 block types of each kind
        for number, bits in [(1, 1), (7, 3), (127, 7), *_br_tree(0, 9), *_br_tree(25, 5), (0, 24)]:
            block.put(number, bits)
    block.put(0, 6 + 2 * 256)
    for _ in range(2):  # 256 trees, and which context has which
        for number, bits in [(1, 1), (7, 3), (127, 7), (0, 1), *_br_tree(5, 8), (0, 1)]:
            block.put(number, bits)
    for symbol, bits in ((65, 8), (8, 10), (0, 6)):
        for _ in range(256):
            for number, width in _br_tree(symbol, bits):
                block.put(number, width)
    head = bytes(Bits((0, 1), (0, 1), (3, 2), (0, 1), (0, 2)))
    return filled(size, block.times(8), head, b"\x03")


# -- deflate: RFC 1951 ----------------------------------------------------------------------------

_DEFLATE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_DEFLATE_END = bytes(Bits((1, 1), (1, 2), (0, 7)))


def _deflate_codes(lengths: dict[int, int]) -> dict[int, tuple[int, int]]:
    """The bits of each symbol, by the length of its code."""
    codes = {}
    code = 0
    for length in range(1, 16):
        for symbol in sorted(s for s, n in lengths.items() if n == length):
            codes[symbol] = (int(f"{code:0{length}b}"[::-1], 2), length)
            code += 1
        code <<= 1
    return codes


def deflate_blocks(size: int) -> bytes:
    """Empty blocks of the fixed trees, four in five bytes."""
    return filled(size, Bits((0, 1), (1, 2), (0, 7)).times(4), tail=_DEFLATE_END)


def deflate_trees(size: int) -> bytes:
    """Empty blocks with trees as deep as they may be."""
    lengths = {symbol: 4 if symbol < 15 else 5 for symbol in (*range(16), 18)}
    codes = _deflate_codes(lengths)
    block = Bits((0, 1), (2, 2), (0, 5), (15, 5), (15, 4))
    for symbol in _DEFLATE_ORDER:
        block.put(lengths.get(symbol, 0), 3)
    deep = [codes[length] for length in range(1, 16)]
    for number, bits in [*deep, codes[18], (138 - 11, 7), codes[18], (103 - 11, 7), codes[15]]:
        block.put(number, bits)
    for number, bits in [*deep, codes[15]]:
        block.put(number, bits)
    end = {symbol: symbol + 1 for symbol in range(15)} | {256: 15}
    block.put(*_deflate_codes(end)[256])
    return filled(size, block.times(8), tail=_DEFLATE_END)


def gzip_members(size: int) -> bytes:
    return filled(size, gzip.compress(b"", mtime=0))


# -- zstd: RFC 8878 -------------------------------------------------------------------------------

_ZSTD_HEAD = b"\x28\xb5\x2f\xfd\x00\x58"
"""A frame that tells no size, with a window of 2 MiB."""
_ZSTD_SKIPPED = b"\x50\x2a\x4d\x18" + bytes(4)


def _zstd_block(kind: int, size: int, content: bytes, *, last: bool = False) -> bytes:
    return (last | kind << 1 | size << 3).to_bytes(3, "little") + content


def zstd_trees(size: int) -> bytes:
    """Blocks of a literal and a copy, each with three tables as large as they may be."""
    tables = b"\xa8" + b"\xf4\x3f" + b"\xf3\x1f" + b"\xf4\x3f"
    content = b"\x08A" + b"\x01" + tables + b"\0\0\0\x04"
    head = _ZSTD_HEAD + _zstd_block(0, 8, b"abcdefgh")
    return filled(size, _zstd_block(2, len(content), content), head, b"\x01\0\0")


def zstd_blocks(size: int) -> bytes:
    """Blocks of nothing."""
    return filled(size, _zstd_block(0, 0, b""), _ZSTD_HEAD, b"\x01\0\0")


def zstd_frames(size: int) -> bytes:
    return filled(size, zstd.compress(b""))


def zstd_skipped(size: int) -> bytes:
    return filled(size, _ZSTD_SKIPPED, tail=zstd.compress(b""))
