"""The named queries, with types."""

from typing import NamedTuple, cast

from penstock.core.manifest import Context
from penstock.core.warehouse import sql


class AggregateFilter(NamedTuple):
    """Minutes since the epoch, closed and open; empty words do not filter."""

    start_minute: int
    end_minute: int
    action: str
    origin: str = ""
    brand_id: str = ""
    category_id: str = ""


class Aggregates(NamedTuple):
    logical_minute: int | None
    """Of the tags that are counted; None while there is none."""
    minutes: dict[int, tuple[int, int]]
    """Count and sum of prices, of minutes that have any."""


async def aggregates(context: Context, wanted: AggregateFilter) -> Aggregates:
    rows = cast(
        "list[tuple[int, int, int, int]]",
        await context.query(
            sql.queries(__package__)["aggregates"],
            {
                "start": wanted.start_minute,
                "end": wanted.end_minute,
                "action": wanted.action,
                "origin": wanted.origin,
                "brand_id": wanted.brand_id,
                "category_id": wanted.category_id,
            },
        ),
    )
    known = [minute for minute, _, _, kind in rows if kind == 0]
    return Aggregates(
        known[0] if known else None,
        {minute: (count, total) for minute, count, total, kind in rows if kind == 1},
    )
