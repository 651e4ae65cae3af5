"""Groups whose records are in several partitions of a topic: what each partition knows of one.

Whoever carries a partition steps the part that is of it, under a key of its own, and nobody else
writes that. Readers have all parts, and merge them in the order of their partitions.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Any, TypeVar

import msgspec

from penstock.core.log import RECORD_BITS
from penstock.core.projection import Fold

S = TypeVar("S", bound=msgspec.Struct)
_PART_BYTES = 2


def part(key: bytes, number: int) -> bytes:
    """Where a record of this number has what is known of the key."""
    return key + (number >> RECORD_BITS).to_bytes(_PART_BYTES)


def size(fold: Fold[Any, Any]) -> int:
    """How many bytes of its keys say the part."""
    return 0 if fold.merge is None else _PART_BYTES


def places(fold: Fold[Any, Any], key: bytes, partitions: int) -> list[bytes]:
    """Where all is that is known of a key."""
    if fold.merge is None:
        return [key]
    return [key + partition.to_bytes(_PART_BYTES) for partition in range(partitions)]


def together(fold: Fold[Any, S], values: Iterable[bytes | None], now_ms: int = 0) -> S:
    """What is stored in these places → the state of the key, if that has not expired by now."""
    states = [fold.read(value, now_ms) for value in values if value is not None]
    if fold.merge is None or len(states) < 2:
        return states[0] if states else fold.state()
    return reduce(fold.merge, states)
