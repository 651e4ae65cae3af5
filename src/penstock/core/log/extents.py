"""Where each topic of the embedded log begins, and what it takes: written down beside the blocks.

Where the first block lies would not tell it: what the disk lost at the front is damage, and what
was trimmed is not. And a topic of which everything was trimmed still knows which number is next.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import apsw

from penstock.core.log import Extent

ROW_BYTES = 48
"""What a block takes beside its body, about."""
_SIZE = f"coalesce(length(body), 0) + {ROW_BYTES}"


class Front(NamedTuple):
    """One of the oldest blocks."""

    first: int
    at_ms: int
    size: int


def of(connection: apsw.Connection, topic_id: int) -> Extent:
    try:
        found = connection.execute(
            "SELECT start, until_ms, trimmed_bytes, counted, bytes FROM extents WHERE topic = ?",
            (topic_id,),
        )
        return next((Extent(*row) for row in found), Extent())
    except apsw.SQLError:  # a file of a version that trims nothing
        return Extent()


def note(connection: apsw.Connection, topic_id: int, extent: Extent) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO extents VALUES (?, ?, ?, ?, ?, ?)", (topic_id, *extent)
    )


def fronts(connection: apsw.Connection, topic_id: int, first: int) -> Iterator[Front]:
    """The blocks from there on, the oldest first; close it, for it holds on to a moment."""
    rows = connection.execute(
        f"SELECT first, coalesce(CAST(at_ms AS INTEGER), 0), {_SIZE} FROM blocks_{topic_id} "
        "WHERE first >= ? ORDER BY first",
        (first,),
    )
    with closing(rows):
        for row in rows:
            yield Front(*row)


def counted(
    connection: apsw.Connection, topic_id: int, extent: Extent, blocks: int
) -> Extent | None:
    """The extent with so many more blocks counted; None where there are no more. No body is read:
    SQLite knows lengths without.
    """
    [(number, size, last)] = connection.execute(
        f"SELECT count(*), coalesce(sum(size), 0), max(first) FROM (SELECT first, {_SIZE} AS size "
        f"FROM blocks_{topic_id} WHERE first >= ? ORDER BY first LIMIT ?)",
        (extent.counted, blocks),
    )
    if not number:
        return None
    return extent._replace(counted=last + 1, bytes=extent.bytes + size)
