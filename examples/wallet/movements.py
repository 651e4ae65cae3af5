"""Movements of money as rows, for whoever adds up."""

from collections.abc import Sequence

from penstock.core.projection import Record, Row, Rows, Table
from penstock.core.projection.flush import Flush
from wallet.events import MOVEMENTS, Moved


class Movement(Row, frozen=True, array_like=True, gc=False):
    at_ms: int
    account: str
    payment: str
    shop: str
    cents: int


def rows(records: Sequence[Record[Moved]], carry: None) -> Rows:
    return Rows([row(record) for record in records], carry)


def row(record: Record[Moved]) -> Movement:
    moved = record.event
    return Movement(
        record.number,
        record.project,
        record.at_ms,
        moved.account,
        moved.payment,
        moved.shop,
        moved.cents,
    )


movements = Table(
    table="wallet_movements",
    topic=MOVEMENTS,
    row=Movement,
    rows=rows,
    flush=Flush.adaptive(share=0.2, wait_seconds=0.5),
)
