"""A statement of each account for each day on which it was in use."""

from collections.abc import Sequence
from typing import cast

import msgspec

from penstock.core.errors import NotReady
from penstock.core.manifest import Run, Schedule
from penstock.core.projection import Index, Record
from penstock.core.projection.flush import Flush
from penstock.core.reach import Reach
from penstock.core.state import Entry
from penstock.core.warehouse import sql
from wallet.events import CLOSINGS, STATEMENTS, Closed, Stated
from wallet.movements import movements

DAY = "0 0 * * * Europe/Warsaw"
KEPT = 366


async def close(run: Run, reach: Reach) -> Sequence[Closed]:
    del reach
    return [Closed(run.interval.end_ms)]


closing = Schedule(name="wallet.closing", at=DAY, run=close, emits=(CLOSINGS,), missed="each")


async def state(run: Run, reach: Reach) -> Sequence[Stated]:
    """The log has the closing, so all that it took before; and so has the table in a moment."""
    del reach
    if not await run.context.caught_up(movements.name, 60.0):
        raise NotReady(f"{movements.name} is behind")
    start, end = run.interval
    rows = cast(
        "list[tuple[str, int, int, int]]",
        await run.context.query(
            sql.queries(__package__)["statements"], {"start": start, "end": end}
        ),
    )
    return [
        Stated(account, start, end, opening, credited, debited, opening + credited - debited)
        for account, opening, credited, debited in rows
    ]


statement = Schedule(
    name="wallet.statement",
    at=DAY,
    run=state,
    emits=(STATEMENTS,),
    after=(closing.name,),
    missed="each",
)


def entries(records: Sequence[Record[Stated]]) -> list[Entry]:
    """The newest first."""
    return [
        Entry(
            record.event.account.encode(),
            ((1 << 63) - record.event.end_ms).to_bytes(8),
            msgspec.json.encode(msgspec.structs.asdict(record.event)),
        )
        for record in records
    ]


statements = Index(
    space="wallet.statements",
    topic=STATEMENTS,
    entries=entries,
    keep=KEPT,
    flush=Flush.immediate(),
)
