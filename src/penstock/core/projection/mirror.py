"""Mirrors: what a fold knows of each key, as a table that can be asked by anything but the key.

The table has the newest row of a key, as of the newest version; `FINAL` shows that alone, and no
row that says of a key that it was forgotten. It lags behind the fold, which never waits for it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

BEFORE, BEHIND = ("log_offset", "project", "key"), ("version", "is_deleted")
"""Columns that the platform fills, before those of the application and behind them."""
ENGINE = "ReplacingMergeTree(version, is_deleted)"
ORDER = "ORDER BY (project, key)"
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, kw_only=True)
class Mirror(Generic[S]):
    """A table of the application's `tables.sql`, with the columns `log_offset UInt64`, `project
    String`, `key String`, those of `columns` in their order, `version UInt64` and `is_deleted
    UInt8`; its engine is `ReplacingMergeTree(version, is_deleted)`, `ORDER BY (project, key)`. Ask
    it with `FINAL`. Raise `ValueError` for one that cannot work.
    """

    table: str
    columns: type[msgspec.Struct]
    """Its fields are the columns that are the application's own."""
    row: Callable[[bytes, S], msgspec.Struct | None]
    """The key as the topic makes it, and its state → a `columns`, or None: as if the key were
    forgotten. Pure. A key at which it raises lags until the application is corrected.
    """
    wait_seconds: float = 1.0
    """Between two looks at what has changed: a key that changes often goes in once for each."""

    def __post_init__(self) -> None:
        fields = self.columns.__struct_fields__
        if taken := [name for name in fields if name in (*BEFORE, *BEHIND)]:
            raise ValueError(f"{self.table}: {', '.join(taken)} is the platform's to fill")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all columns."""
        return (*BEFORE, *self.columns.__struct_fields__, *BEHIND)


def wrongly_declared(mirror: Mirror[Any], declaration: str) -> str:
    """What of a table's declaration does not make it a mirror, in words; or nothing."""
    text = _SPACE.sub(" ", declaration)
    lacking = [clause for clause in (ENGINE, ORDER) if clause not in text]
    if not lacking:
        return ""
    return f"tables.sql has to declare {mirror.table} with {' and '.join(lacking)}: it is a mirror"
