"""What a mirror has not been told yet: a mark for each key, written with the state that it is of.

Marks lie in the group without a name, beside timers and jobs. A key has one, and what it says is
the version that is to be in the table: as many changes as there may be, one row is to be written.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from penstock.core.log import record_number, record_place
from penstock.core.projection.due import GROUP
from penstock.core.state import Entry, State

_MARK, _NOTE, _GIVEN = b"m", b"w", b"v"
"""Kinds of places in that group; see `core.projection.due` for the others."""
_ROOM = 1 << 15
"""Versions between that of one record and of the next, for what changes without a record. They are
even; an odd one is that of a state which has expired since.
"""
_pack = msgspec.msgpack.Encoder().encode


class Note(NamedTuple):
    """What is known of a mirror, of one partition."""

    version: int = 0
    """The highest that went in: a table that has less has lost it."""
    until_ms: int = 0
    """What expires up to then has been said to have."""
    whole: bool = False
    """Whether all that the fold knew at some time has gone in, so that marks say the rest."""


_note = msgspec.msgpack.Decoder(Note).decode


def version_of(number: int) -> int:
    """Of what this record has made. The partition is not in it: a key is of one."""
    return record_place(number)[1] * _ROOM


def number_of(partition: int, version: int) -> int:
    """The newest record that what has this version is of."""
    return record_number(partition, version // _ROOM)


def marks(partition: int) -> bytes:
    """How the places of a partition's marks begin."""
    return _MARK + partition.to_bytes(2)


def key_of(mark: bytes) -> bytes:
    """Whose mark is at this place."""
    return mark[5 : 5 + int.from_bytes(mark[3:5])]


def changed(partition: int, records: Mapping[bytes, int]) -> list[Entry]:
    """Keys, and the numbers of the records that changed them last."""
    return [
        Entry(GROUP, _mark(partition, key), version_of(number).to_bytes(8))
        for key, number in records.items()
    ]


def entries(partition: int, keys: Iterable[bytes], version: int) -> list[Entry]:
    """Beside those of the keys' records."""
    at = version.to_bytes(8)
    return [Entry(GROUP, _mark(partition, key) + at, at) for key in keys]


def out_of_turn(state: State, space: str, partition: int, keys: Iterable[bytes]) -> list[Entry]:
    """Of a dead letter that is stepped now, after what came behind it; it may be in another
    process.
    """
    version = following(state, space, partition)
    return [*entries(partition, keys, version), given(partition, version)]


def following(state: State, space: str, partition: int) -> int:
    """A version that no key has by now, and every record to come has a higher one than. To be
    written down as `given` with what it is given to.
    """
    at = current(state, space, partition)
    return min(at + 2, (at // _ROOM + 1) * _ROOM - 2)


def given(partition: int, version: int) -> Entry:
    return Entry(GROUP, _GIVEN + partition.to_bytes(2), version.to_bytes(8))


def current(state: State, space: str, partition: int) -> int:
    """No key has a higher version by now, and every record to come has. To be asked before the
    states that are to be of it.
    """
    position = state.position(space, partition)
    last = 0 if position is None else max(0, position.next - 1) * _ROOM
    return max(last, int.from_bytes(_value(state, space, _GIVEN + partition.to_bytes(2)) or b""))


def noted(state: State, space: str, partition: int) -> Note:
    found = _value(state, space, _NOTE + partition.to_bytes(2))
    return Note() if found is None else _note(found)


def note(partition: int, known: Note) -> Entry:
    return Entry(GROUP, _NOTE + partition.to_bytes(2), _pack(known))


def _mark(partition: int, key: bytes) -> bytes:
    return b"%b%b%b" % (marks(partition), len(key).to_bytes(2), key)


def _value(state: State, space: str, sort: bytes) -> bytes | None:
    [found] = state.first(space, [GROUP], 1, sort)
    return found[0][1] if found and found[0][0] == sort else None
