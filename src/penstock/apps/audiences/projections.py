"""Profiles and aggregates: two views of one accepted record (AU-26)."""

import struct
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from penstock.apps.audiences.events import TagRecorded
from penstock.apps.audiences.events.spelling import spell
from penstock.core.projection import Index, Record, Row, Rows, Table, Topic
from penstock.core.projection.flush import Flush
from penstock.core.state import Entry

TAGS: Topic[TagRecorded] = Topic(
    "audiences.tags", (TagRecorded,), key=lambda event: event.cookie.encode()
)
PROFILE_DEPTH = 200
"""Newest tags of one cookie and action that a profile knows (AU-45)."""
RETENTION_MINUTES = 1_440
"""Aggregates reach back so far from logical time (AU-83)."""

_NEWEST_FIRST = struct.Struct(">QQ")
_LAST = (1 << 63) - 1
_PARTITION_MINUTES = 60
_NEVER = -(1 << 62)


class Reached(NamedTuple):
    """What the tags so far have come to, in minutes since the epoch."""

    logical_minute: int
    """Logical time (AU-80): the newest tag, or the log's own time when it took that, whichever is
    earlier. The retention goes by it, so no sender's clock moves it beyond the log's own."""
    newest_minute: int
    """The newest tag by its sender's clock; it decides nothing."""


class TagRow(Row, frozen=True, array_like=True, gc=False):
    minute: int
    logical_minute: int
    """How far this tag by itself moves logical time, whose newest value is the largest of all."""
    action: str
    origin: str
    brand_id: str
    category_id: str
    price: int


def tag_rows(records: Sequence[Record[TagRecorded]], carry: Sequence[int] | None) -> Rows:
    """A row per tag that is inside the retention when it arrives (AU-85).

    The carry is what was `Reached` so far. All of it is in the log, so replaying that at any speed
    keeps and skips the same tags.
    """
    rows: list[TagRow] = []
    keep, tag_row = rows.append, TagRow
    known = logical_minute, newest_minute = carry or (_NEVER, _NEVER)
    oldest = logical_minute - RETENTION_MINUTES
    for record in records:
        event, taken_ms = record.event, record.at_ms
        time_ms = event.time_ms
        minute = moves_to = time_ms // 60_000
        if time_ms > taken_ms:
            moves_to = taken_ms // 60_000
            newest_minute = max(newest_minute, minute)
        if moves_to > logical_minute:
            logical_minute, oldest = moves_to, moves_to - RETENTION_MINUTES
        if minute >= oldest:
            keep(
                tag_row(
                    record.number,
                    record.project,
                    minute,
                    moves_to,
                    event.action,
                    event.origin,
                    event.brand_id,
                    event.category_id,
                    event.price,
                )
            )
    inside = rows
    if known[0] != logical_minute:
        # A leap within the batch may have outdated its own rows; fewer partitions are touched.
        inside = [row for row in rows if row.minute >= oldest]
    if records:
        carry = Reached(logical_minute, max(logical_minute, newest_minute))
    return Rows(inside, carry, len(records) - len(inside))


def profile_group(cookie: str, action: str) -> bytes:
    """The cookie first: whoever asks for both of its groups finds them side by side."""
    return f"{cookie}{action[0]}".encode()


def profile_entries(records: Sequence[Record[TagRecorded]]) -> list[Entry]:
    """Newest first, of equal times the later accepted first (AU-46).

    The value is the tag as it will be answered: rendered once when it arrives, not at every look.
    """
    order, entries = _NEWEST_FIRST.pack, []
    for record in records:
        event = record.event
        group = profile_group(event.cookie, event.action)
        sort = order(_LAST - event.time_ms, _LAST - record.number)
        entries.append(Entry(group, sort, spell(event)))
    return entries


def within(newest_first: Sequence[tuple[bytes, bytes]], start_ms: int, end_ms: int) -> list[bytes]:
    """The values of those with `start_ms <= time < end_ms`, of pairs of sort key and value."""
    order = _NEWEST_FIRST.pack
    low = bisect_left(newest_first, (order(_LAST - end_ms + 1, 0),))
    high = bisect_left(newest_first, (order(_LAST - start_ms + 1, 0),), low)
    return [value for _, value in newest_first[low:high]]


def oldest_partition(carry: Sequence[int] | None) -> int | None:
    """Partitions are hours; whole ones behind the retention go, without touching any row."""
    if carry is None:
        return None
    return (Reached(*carry).logical_minute - RETENTION_MINUTES) // _PARTITION_MINUTES


def gauges(carry: Sequence[int] | None) -> dict[str, float]:
    if carry is None:
        return {}
    reached = Reached(*carry)
    return {
        "audiences.newest_tag_seconds": reached.newest_minute * 60.0,
        "audiences.retention_horizon_seconds": (reached.logical_minute - RETENTION_MINUTES) * 60.0,
    }


def newest_tag_ms(carry: Sequence[int] | None) -> int | None:
    return None if carry is None else Reached(*carry).newest_minute * 60_000


profiles = Index(
    space="audiences.profiles",
    topic=TAGS,
    entries=profile_entries,
    keep=PROFILE_DEPTH,
    flush=Flush(wait_seconds=0.006),
)

aggregates = Table(
    table="audiences_tags",
    topic=TAGS,
    row=TagRow,
    rows=tag_rows,
    flush=Flush.adaptive(share=0.08, wait_seconds=0.5),
    retained="minute >= (SELECT max(logical_minute) - 1440 FROM {table})",
    expired=oldest_partition,
    gauges=gauges,
    newest_ms=newest_tag_ms,
)
