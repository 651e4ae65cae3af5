"""Keys of the embedded state, and reading them: what cannot be read is an error, never an end.

A key is the length of its group, the group, and the sort.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from rocksdict import Rdict, ReadOptions

from penstock.core.state import History

LENGTH = struct.Struct(">H")


def prefix(group: bytes) -> bytes:
    """Prefix-free for groups of any bytes, so that a scan of one never meets another."""
    return LENGTH.pack(len(group)) + group


def behind(prefix: bytes) -> bytes:
    """The first key after all that start with the prefix; no length is 0xFFFF."""
    return (int.from_bytes(prefix) + 1).to_bytes(len(prefix))


def history(family: Rdict, group: bytes, limit: int, start: bytes = b"") -> History:
    whole = prefix(group)
    bounds = ReadOptions()
    bounds.set_iterate_upper_bound(behind(whole))  # it need not look at the next group at all
    items: Iterable[tuple[Any, Any]] = family.items(from_key=whole + start, read_opt=bounds)
    found = [(key[len(whole) :], value) for key, value in islice(items, limit)]
    if len(found) < limit:
        _check_end(family, whole + (found[-1][0] if found else start), bounds)
    return found


def _check_end(family: Rdict, last: bytes, bounds: ReadOptions) -> None:
    """Raise what `items` keeps to itself: it ends at what cannot be read as at the end of all."""
    iterator = family.iter(bounds)
    iterator.seek(last)
    if iterator.valid() and iterator.key() == last:
        iterator.next()
    iterator.status()


def walk(family: Rdict, start: bytes = b"", end: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """Keys and values from `start` up to `end`, if there is one. Raise where a file cannot be read:
    the iterator only ends there, and so does every loop of the binding's own, as if that were all.
    """
    options = ReadOptions()  # kept here: the iterator does not keep its bound alive
    if end:
        options.set_iterate_upper_bound(end)  # it need not look beyond at all
    iterator = family.iter(options)
    valid, key, value, onward = iterator.valid, iterator.key, iterator.value, iterator.next
    iterator.seek(start)
    while valid():
        yield key(), value()
        onward()
    iterator.status()
