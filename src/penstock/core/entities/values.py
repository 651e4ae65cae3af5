"""What is stored of a model, and when two of them are the same. Pure."""

from typing import Any

import msgspec

_JSON = msgspec.json.Encoder(order="deterministic")
"""Sets in an order; that of keys no database keeps."""


def plain(value: Any) -> Any:
    """As it is stored and comes back: what JSON has, so that no tuple differs from its list."""
    return msgspec.json.decode(_JSON.encode(value))


def alike(one: Any, other: Any) -> bool:
    """Whether both are the same JSON, however numbers are spelled: PostgreSQL says 1e2 as 100. True
    is no 1.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        whole = isinstance(one, int) and isinstance(other, int)
        return one == other if whole else float(one) == float(other)
    return bool(one == other)
