"""Content codings under attack: whatever a body is made of, it costs in proportion to its bytes."""

import gzip
import random
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable

import brotli
import pytest

from penstock.core.codings import inflate
from penstock.core.errors import BadEncoding, PenstockError, TooLarge
from support import coded
from support.coded import MIB
from support.effort import cpu_seconds

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 100_000
PATIENCE_SECONDS = 60.0
"""Below the minute after which a thread that is not let runs all the same."""


def refused(coding: bytes, body: bytes, limit: int) -> int | None:
    """The status, if it is."""
    try:
        inflate(coding, body, limit)
    except PenstockError as refusal:
        return refusal.status
    return None


@pytest.mark.parametrize(
    ("coding", "bomb"),
    [
        (b"gzip", lambda: gzip.compress(b"")[:10] + coded.deflated_zeros()),
        (b"deflate", coded.deflated_zeros),
        (b"br", coded.brotli_zeros),
        (b"zstd", coded.zstd_zeros),
        (b"gzip", lambda: gzip.compress(bytes(200)) * 10_000),
        (b"zstd", lambda: zstd.compress(bytes(2_000)) * 10_000),
    ],
    ids=["gzip", "deflate", "br", "zstd", "gzip members", "zstd members"],
)
def test_a_small_body_that_would_become_a_huge_one_is_refused_at_the_limit(
    coding: bytes, bomb: Callable[[], bytes]
) -> None:
    """Reliability 20."""
    body = bomb()
    tracemalloc.start()
    with pytest.raises(TooLarge) as refusal:
        inflate(coding, body, LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal.value.status == 413
    assert peak < 4 * LIMIT + MIB


@pytest.mark.parametrize(
    ("coding", "member", "counts_bytes"),
    # Of no time of its own: a name of the test that differs from one process to the next is refused
    # by those that run side by side.
    [
        (b"gzip", gzip.compress(b"", mtime=0), 64),
        (b"zstd", zstd.compress(b""), 1_024),
        (b"zstd", b"\x50\x2a\x4d\x18" + bytes(4), 1_024),
    ],
    ids=["gzip", "zstd", "skippable"],
)
@pytest.mark.parametrize("limit", [0, 1_000, 65_535, 65_536])
def test_members_with_nothing_in_them_count_as_bytes_that_come_out(
    coding: bytes, member: bytes, counts_bytes: int, limit: int
) -> None:
    """Reliability 20: four mebibytes once took minutes, as each copied what followed it."""
    members_max = 1 + (limit + 1) // counts_bytes
    assert inflate(coding, member * members_max, limit) == b""
    for count in (members_max + 1, 4 * MIB // len(member)):
        with pytest.raises(BadEncoding, match=f"{members_max} members"):
            inflate(coding, member * count, limit)


@pytest.mark.slow
@pytest.mark.parametrize("size", [65_536, 4 * MIB])
@pytest.mark.parametrize(
    ("coding", "hostile", "status"),
    [
        *((b"br", lambda _, log=log: coded.brotli_copies(log), 413) for log in range(18, 25)),
        (b"br", coded.brotli_blocks, None), (b"br", coded.brotli_trees, None),
        (b"deflate", coded.deflate_blocks, None), (b"deflate", coded.deflate_trees, None),
        (b"gzip", coded.gzip_members, 400), (b"zstd", coded.zstd_frames, 400),
        (b"zstd", coded.zstd_skipped, 400), (b"zstd", coded.zstd_blocks, None),
        (b"zstd", coded.zstd_trees, None),
    ],
)  # fmt: skip
def test_inflating_takes_time_in_proportion_to_what_came_and_what_may_come_out(
    coding: bytes, hostile: Callable[[int], bytes], status: int | None, size: int
) -> None:
    """Reliability 20 and 42: ten times of what was measured. A window of 16 MiB took sixty times,
    when it was believed.
    """
    body = hostile(size)
    assert len(body) <= size
    assert refused(coding, body, size) == status
    seconds = cpu_seconds(lambda: refused(coding, body, size))
    assert seconds < 10 * (0.25e-6 * len(body) + 0.015e-6 * size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coding", "hostile"),
    [
        (b"br", coded.brotli_trees),
        (b"deflate", coded.deflate_trees),
        (b"zstd", coded.zstd_trees),
    ],
)
def test_other_threads_run_while_a_body_is_inflated(
    coding: bytes, hostile: Callable[[int], bytes]
) -> None:
    """Nobody is made to give way here, so the other thread runs only when it is let. Again and
    again, for it may be let, and have no core.
    """
    body = hostile(2 * MIB)
    turns = 0
    until = time.monotonic() + PATIENCE_SECONDS
    done = threading.Event()

    def take_turns() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0)

    other = threading.Thread(target=take_turns)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        other.start()
        before = turns
        while turns - before <= 100:
            inflate(coding, body, 2 * MIB)
            assert time.monotonic() < until, f"{turns - before} turns"
    finally:
        done.set()
        sys.setswitchinterval(interval)
        other.join()


@pytest.mark.parametrize("window_log", range(16, 25))
@pytest.mark.parametrize("size", [262_127, 262_128, 262_142, 262_143, 262_144, 300_000])
def test_a_window_that_is_wider_than_what_comes_out_makes_no_difference(
    window_log: int, size: int
) -> None:
    """Its end repeats its start, from as far back as a reference can reach."""
    start = random.Random(size).randbytes(12)
    plain = start + (b"abcdefgh" * size)[: size - 24] + start
    squeezed = brotli.compress(plain, quality=9, lgwin=window_log)
    assert inflate(b"br", squeezed, size) == plain
    with pytest.raises(TooLarge):
        inflate(b"br", squeezed, size - 1)


def test_a_window_larger_than_brotli_s_own_is_refused() -> None:
    with pytest.raises(BadEncoding):
        inflate(b"br", b"\x11\x1e\x03", LIMIT)


def test_a_frame_may_not_make_us_allocate_a_large_window() -> None:
    """Reliability 20: RFC 9659 has senders use at most 8 MiB."""
    plain = bytes(1_000)
    assert inflate(b"zstd", coded.unsized_zstd(plain, window_log=23), LIMIT) == plain
    for window_log in (24, 27):
        with pytest.raises(BadEncoding):
            inflate(b"zstd", coded.unsized_zstd(plain, window_log=window_log), LIMIT)
