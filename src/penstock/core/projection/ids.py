"""Whose an id is: the records of a topic that repeat an earlier one, by the ids that they have.

Pure. An id belongs to its first record until `unique_hours` after that by the records' own clock;
then the next record that has it is a first one again.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from penstock.core.projection.due import Heard
from penstock.core.projects import key_of

_BYTES_MAX = 16
_HASHED = b"\0"
"""In front of what is hashed, which so is longer than all that is not."""


class Held(NamedTuple):
    """The record that an id belongs to."""

    offset: int
    at_ms: int


class Named(NamedTuple):
    """A record, by its id."""

    offset: int
    at_ms: int
    id: bytes | None
    """Within the topic. Empty: it has none, and repeats nothing; None: it cannot be told."""


class Judged(NamedTuple):
    repeats: dict[int, int | None]
    """Offsets of records, and of those that they repeat; None where the id cannot be told."""
    firsts: list[Named]
    """To whom an id belongs from now on."""


def id_of(unique: Callable[[Any], bytes], project: str, event: Any) -> bytes:
    """No longer than can be kept, and of one project. Raise whatever `unique` raises, and
    `TypeError` for what is none. What the platform says of a fold has none.
    """
    if isinstance(event, Heard):
        return b""
    told: Any = unique(event)
    if not isinstance(told, bytes):
        raise TypeError(f"an id is bytes, not {type(told).__name__}")
    if not told:
        return told
    named = key_of(project, told)
    if len(named) <= _BYTES_MAX:
        return named
    return _HASHED + blake2b(named, digest_size=_BYTES_MAX).digest()


def judged(records: Iterable[Named], known: Mapping[bytes, Held], lasts_ms: int) -> Judged:
    """Records in their order, and whose their ids were before them."""
    repeats: dict[int, int | None] = {}
    firsts: list[Named] = []
    held = dict(known)
    for record in records:
        offset, at_ms, name = record
        if not name:
            if name is None:
                repeats[offset] = None
            continue
        first = held.get(name)
        if first is not None and at_ms - first.at_ms < lasts_ms:
            repeats[offset] = first.offset
        else:
            held[name] = Held(offset, at_ms)
            firsts.append(record)
    return Judged(repeats, firsts)
