"""Profiles and aggregates: two views of one accepted record (AU-26)."""

import struct
from bisect import bisect_left
from collections.abc import Sequence

from penstock.apps.audiences.events import TagRecorded
from penstock.apps.audiences.events.spelling import spell
from penstock.core.projection import Fold, Row, Rows, Table, Topic
from penstock.core.projection.flush import Flush
from penstock.core.state import Entry

TAGS: Topic[TagRecorded] = Topic(
    "audiences.tags", (TagRecorded,), key=lambda event: event.cookie.encode()
)
PROFILE_DEPTH = 200
"""Newest tags of one cookie and action that a profile knows (AU-45)."""
RETENTION_MINUTES = 1_440
"""Aggregates reach back so far from the newest tag (AU-83)."""

_NEWEST_FIRST = struct.Struct(">QQ")
_LAST = (1 << 63) - 1
_PARTITION_MINUTES = 60


class TagRow(Row, frozen=True, array_like=True, gc=False):
    minute: int
    action: str
    origin: str
    brand_id: str
    category_id: str
    price: int


def tag_rows(
    events: Sequence[TagRecorded], offsets: Sequence[int], newest_minute: int | None
) -> Rows:
    """A row per tag that is inside the retention when it arrives (AU-85).

    The carry is the minute of the newest tag so far: logical time (AU-80), so that replaying the
    log at any speed keeps and skips the same tags.
    """
    rows: list[TagRow] = []
    newest = newest_minute
    for event, offset in zip(events, offsets, strict=True):
        minute = event.time_ms // 60_000
        if newest is None or minute > newest:
            newest = minute
        if minute >= newest - RETENTION_MINUTES:
            rows.append(
                TagRow(
                    offset,
                    minute,
                    event.action,
                    event.origin,
                    event.brand_id,
                    event.category_id,
                    event.price,
                )
            )
    inside = rows
    if newest is not None and newest_minute != newest:
        # A leap within the batch may have outdated its own rows; fewer partitions are touched.
        oldest = newest - RETENTION_MINUTES
        inside = [row for row in rows if row.minute >= oldest]
    return Rows(inside, newest, len(events) - len(inside))


def profile_group(cookie: str, action: str) -> bytes:
    """The cookie first: whoever asks for both of its groups finds them side by side."""
    return f"{cookie}{action[0]}".encode()


def profile_entries(events: Sequence[TagRecorded], offsets: Sequence[int]) -> list[Entry]:
    """Newest first, of equal times the later accepted first (AU-46).

    The value is the tag as it will be answered: rendered once when it arrives, not at every look.
    """
    order = _NEWEST_FIRST.pack
    return [
        Entry(
            profile_group(event.cookie, event.action),
            order(_LAST - event.time_ms, _LAST - offset),
            spell(event),
        )
        for event, offset in zip(events, offsets, strict=True)
    ]


def within(newest_first: Sequence[tuple[bytes, bytes]], start_ms: int, end_ms: int) -> list[bytes]:
    """The values of those with `start_ms <= time < end_ms`, of pairs of sort key and value."""
    order = _NEWEST_FIRST.pack
    low = bisect_left(newest_first, (order(_LAST - end_ms + 1, 0),))
    high = bisect_left(newest_first, (order(_LAST - start_ms + 1, 0),), low)
    return [value for _, value in newest_first[low:high]]


def oldest_partition(newest_minute: int | None) -> int | None:
    """Partitions are hours; whole ones behind the retention go, without touching any row."""
    if newest_minute is None:
        return None
    return (newest_minute - RETENTION_MINUTES) // _PARTITION_MINUTES


def newest_tag(newest_minute: int | None) -> dict[str, float]:
    if newest_minute is None:
        return {}
    return {
        "audiences.newest_tag_seconds": newest_minute * 60.0,
        "audiences.retention_horizon_seconds": (newest_minute - RETENTION_MINUTES) * 60.0,
    }


profiles = Fold(
    space="audiences.profiles",
    topic=TAGS,
    entries=profile_entries,
    keep=PROFILE_DEPTH,
    flush=Flush(wait_seconds=0.006, block_records=20_000),
)

aggregates = Table(
    table="audiences_tags",
    topic=TAGS,
    row=TagRow,
    rows=tag_rows,
    flush=Flush.adaptive(share=0.08, wait_seconds=0.5),
    retained="minute >= (SELECT max(minute) - 1440 FROM {table})",
    expired=oldest_partition,
    gauges=newest_tag,
)
