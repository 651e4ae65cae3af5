"""The witness: what the warehouse counted of a table, once more in the state.

The warehouse misses rows by what it had counted of them, and keeps that on the disk that they are
on: whoever removes a part can remove the counts as well, and all that is left would be taken for
all there was. So the last counts stand in the state too. One of the two is enough.

A warehouse whose plans end earlier than they did then was put back to an older copy: it may have
less, and the log fills it again.
"""

from contextlib import suppress

import msgspec

from penstock.core.errors import NotReady
from penstock.core.state import Entry, State
from penstock.core.warehouse import Counted, Warehouse
from penstock.core.warehouse.counts import fewer

SPACE = "penstock.counted"
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Counted)


def missing(warehouse: Warehouse, state: State, table: str) -> str:
    """Which rows of a table are lost by either account, in words; empty when none are. Remembers
    what is counted. Raise `Unavailable`; while the state is away the warehouse is believed.
    """
    was = _last(state, table)  # before the next count, or another process would be ahead of ours
    if lost := warehouse.lacking(table):
        return lost
    now = warehouse.counted(table)
    if was is not None and _goes_on(was, now) and (lost := fewer(was.rows, now.rows)):
        return lost
    if now != was and now.rows:
        with suppress(NotReady):
            state.put(SPACE, Entry(table.encode(), b"", _encode(now)))
    return ""


def _goes_on(was: Counted, now: Counted) -> bool:
    """Whether this is what was counted then, and what was added to it since."""
    return was.contents == now.contents and all(
        now.ends.get(partition, 0) >= end for partition, end in was.ends.items()
    )


def _last(state: State, table: str) -> Counted | None:
    with suppress(NotReady):
        [value] = state.get_many(SPACE, [table.encode()])
        return None if value is None else _decoder.decode(value)
    return None
