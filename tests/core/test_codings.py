"""Content codings: what a client compressed comes out as it was, or not at all, under a cap."""

import gzip
import random
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.codings import ACCEPTED, inflate, named
from penstock.core.errors import BadEncoding, PenstockError, TooLarge, UnsupportedType
from support import coded
from support.asking import Hosted, ask
from support.hosts import BODY_BYTES_MAX, Request, Rig
from support.logs import account, contents
from support.notes import codec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 100_000
GUIDE = b"".join(b"%d: the quick brown fox; " % number for number in range(3_000))


WAYS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "deflate, fast": (b"deflate", lambda plain: zlib.compress(plain, 1)),
    "deflate, raw": (b"deflate", coded.raw_deflate),
    "br": (b"br", brotli.compress),
    "br, wide": (b"br", lambda plain: brotli.compress(plain, lgwin=24)),
    "zstd": (b"zstd", zstd.compress),
    "zstd, unsized": (b"zstd", coded.unsized_zstd),
}
EVERY_WAY = pytest.mark.parametrize(("coding", "squeeze"), WAYS.values(), ids=WAYS)
SEVERAL_MEMBERS = pytest.mark.parametrize(
    ("coding", "squeeze"), [WAYS["gzip"], WAYS["zstd"], WAYS["zstd, unsized"]]
)


# -- round trips --------------------------------------------------------------------------------


@EVERY_WAY
@given(plain=st.binary(max_size=2_000))
def test_what_was_coded_comes_out_as_it_was(
    coding: bytes, squeeze: Callable[[bytes], bytes], plain: bytes
) -> None:
    assert inflate(coding, squeeze(plain), LIMIT) == plain


@EVERY_WAY
@pytest.mark.parametrize(
    "plain", [GUIDE, random.Random(7).randbytes(LIMIT)], ids=["repeating", "random"]
)
def test_what_is_large_comes_out_as_it_was(
    coding: bytes, squeeze: Callable[[bytes], bytes], plain: bytes
) -> None:
    assert inflate(coding, squeeze(plain), LIMIT) == plain


@SEVERAL_MEMBERS
@pytest.mark.parametrize("parts", [[GUIDE, b"", b"x", GUIDE[:20_000]], [b"a"] * 90])
def test_members_one_after_the_other_are_one_body(
    coding: bytes, squeeze: Callable[[bytes], bytes], parts: list[bytes]
) -> None:
    assert inflate(coding, b"".join(map(squeeze, parts)), LIMIT) == b"".join(parts)


def test_a_gzip_with_a_name_a_comment_and_a_checksum_of_its_header_is_a_gzip() -> None:
    head = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x02\x00ab" + b"name\0" + b"comment\0"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    tail = zlib.crc32(b"plain").to_bytes(4, "little") + (5).to_bytes(4, "little")
    assert inflate(b"gzip", head + coded.raw_deflate(b"plain") + tail, LIMIT) == b"plain"


def test_a_skippable_frame_of_zstd_is_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"???"
    assert inflate(b"zstd", skippable + zstd.compress(b"a") + skippable, LIMIT) == b"a"


# -- damage -------------------------------------------------------------------------------------


@EVERY_WAY
def test_what_was_cut_short_is_refused_wherever_it_was_cut(
    coding: bytes, squeeze: Callable[[bytes], bytes]
) -> None:
    whole = squeeze(GUIDE[:300])
    for size in range(len(whole)):
        with pytest.raises(BadEncoding) as refusal:
            inflate(coding, whole[:size], LIMIT)
        assert refusal.value.status == 400
        assert coding.decode() in str(refusal.value)


@EVERY_WAY
def test_what_has_something_behind_its_end_is_refused(
    coding: bytes, squeeze: Callable[[bytes], bytes]
) -> None:
    whole = squeeze(GUIDE)
    for garbage in (b"\0", b"x", b"garbage", b"\x03\x00", b"\x1f\x8b", b"\xff" * 99):
        with pytest.raises(BadEncoding):
            inflate(coding, whole + garbage, LIMIT)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
@pytest.mark.parametrize("body", [b"", b"\xff", b"plain text", b'{"cookie":"a"}', b"\xff" * 70_000])
def test_what_was_never_coded_is_refused(coding: bytes, body: bytes) -> None:
    with pytest.raises(BadEncoding):
        inflate(coding, body, LIMIT)


@pytest.mark.parametrize(
    ("coding", "squeeze"),
    [WAYS[name] for name in ("gzip", "deflate", "zstd, unsized")],
    ids=["gzip", "deflate", "zstd"],
)
def test_a_changed_byte_is_noticed_by_the_checksum(
    coding: bytes, squeeze: Callable[[bytes], bytes]
) -> None:
    whole = bytearray(squeeze(GUIDE))
    whole[-2] ^= 0x10
    with pytest.raises(BadEncoding):
        inflate(coding, bytes(whole), LIMIT)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
@given(body=st.binary(max_size=200), limit=st.integers(0, 300))
def test_any_bytes_give_bytes_within_the_limit_or_a_refusal(
    coding: bytes, body: bytes, limit: int
) -> None:
    expect_bytes_or_refusal(coding, body, limit)


@EVERY_WAY
@given(st.data())
def test_any_damage_gives_bytes_within_the_limit_or_a_refusal(
    coding: bytes, squeeze: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    """Close to what is right, where decoders go astray further in."""
    whole = bytearray(squeeze(data.draw(st.binary(max_size=100)) * 3))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        if not whole:
            break
    expect_bytes_or_refusal(coding, bytes(whole), data.draw(st.integers(0, 400)))


def expect_bytes_or_refusal(coding: bytes, body: bytes, limit: int) -> None:
    refused = None
    plain = b""
    try:
        plain = inflate(coding, body, limit)
    except PenstockError as refusal:
        refused = refusal.status
    assert refused in (None, 400, 413)
    assert len(plain) <= limit


# -- limits -------------------------------------------------------------------------------------


@EVERY_WAY
@pytest.mark.parametrize("limit", [0, 1, 1_000, 16_384, 32_768, 65_536, LIMIT])
def test_exactly_the_limit_passes_and_one_more_does_not(
    coding: bytes, squeeze: Callable[[bytes], bytes], limit: int
) -> None:
    for plain in (bytes(limit), random.Random(limit).randbytes(limit)):
        assert inflate(coding, squeeze(plain), limit) == plain
        with pytest.raises(TooLarge, match=str(limit)):
            inflate(coding, squeeze(plain + b"x"), limit)


@SEVERAL_MEMBERS
def test_the_limit_is_that_of_all_members_together(
    coding: bytes, squeeze: Callable[[bytes], bytes]
) -> None:
    halves = squeeze(bytes(LIMIT // 2)) * 2
    assert inflate(coding, halves, LIMIT) == bytes(LIMIT)
    with pytest.raises(TooLarge):
        inflate(coding, halves + squeeze(b"x"), LIMIT)


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"gzip", b"gzip"), (b" GZip ", b"gzip"), (b"x-gzip", b"gzip"), (b"deflate", b"deflate"),
        (b"BR", b"br"), (b"zstd", b"zstd"), (b"identity", b""), (b"", b""),
    ],
)  # fmt: skip
def test_a_coding_is_known_by_its_name(header: bytes, coding: bytes) -> None:
    assert named(header) == coding


@pytest.mark.parametrize("header", [b"compress", b"gzip, gzip", b"br,", b"gzip;q=1", b"\xff"])
def test_any_other_coding_is_refused_and_told_which_are_taken(header: bytes) -> None:
    with pytest.raises(UnsupportedType) as refusal:
        named(header)
    assert refusal.value.headers == ((b"accept-encoding", ACCEPTED),)
    assert ACCEPTED == b"gzip, deflate, br, zstd"


# -- through the edge ---------------------------------------------------------------------------


@EVERY_WAY
@pytest.mark.parametrize("sized", [True, False])
def test_a_coded_note_is_stored_as_what_it_was_before(
    hosted: Hosted, rig: Rig, coding: bytes, squeeze: Callable[[bytes], bytes], *, sized: bool
) -> None:
    plain = b"a note " * 100
    body = squeeze(plain)
    request = Request(
        pieces=(body[:9], body[9:]), headers=(("Content-Encoding", coding.decode()),), sized=sized
    )
    for _ in range(2):  # the second finds its head known
        assert ask(hosted, rig, request).status == 204
    assert [codec.decode(record).number for record in contents(rig.log)] == [len(plain)] * 2


@EVERY_WAY
def test_a_coded_note_that_is_too_large_once_inflated_is_answered_413(
    hosted: Hosted, rig: Rig, coding: bytes, squeeze: Callable[[bytes], bytes]
) -> None:
    headers = (("Content-Encoding", coding.decode()),)
    fits = Request(pieces=(squeeze(bytes(BODY_BYTES_MAX)),), headers=headers)
    assert ask(hosted, rig, fits).status == 204
    exceeds = Request(pieces=(squeeze(bytes(BODY_BYTES_MAX + 1)),), headers=headers)
    assert ask(hosted, rig, exceeds).error == (413, "too_large")
    assert account(rig.log)[1:] == (2, 1, 0, 1)


@EVERY_WAY
def test_a_note_that_is_not_what_its_coding_says_is_answered_400(
    hosted: Hosted, rig: Rig, coding: bytes, squeeze: Callable[[bytes], bytes]
) -> None:
    headers = (("Content-Encoding", coding.decode()),)
    for body in (squeeze(b"a note")[:-1], b"", b"a note"):
        answer = ask(hosted, rig, Request(pieces=(body,), headers=headers))
        assert answer.error == (400, "bad_encoding")
    assert account(rig.log)[1:] == (3, 0, 0, 3)


@pytest.mark.parametrize("name", ["compress", "gzip, br", "aws-chunked"])
def test_a_note_in_an_unknown_coding_is_answered_415_with_the_known_ones(
    hosted: Hosted, rig: Rig, name: str
) -> None:
    answer = ask(hosted, rig, Request(headers=(("Content-Encoding", name),)))
    assert answer.error == (415, "unsupported_type")
    assert answer.headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert contents(rig.log) == []
