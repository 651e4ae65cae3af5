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
from wallet.events import STATEMENTS, Stated
from wallet.movements import movements

KEPT = 366


async def state(run: Run, reach: Reach) -> Sequence[Stated]:
    """Whatever was taken before the interval's end is in the table once that has caught up."""
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


daily = Schedule(
    name="wallet.statement",
    at="0 0 * * * Europe/Warsaw",
    run=state,
    emits=(STATEMENTS,),
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
