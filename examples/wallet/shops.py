"""What the purchases of a shop come to that are wanted and neither paid nor over."""

from typing import Any

import msgspec

from penstock.core.projection import Fold, Record, Step
from penstock.core.projection.flush import Flush
from wallet.events import SHOPS, Wanted


class Shop(msgspec.Struct, frozen=True, array_like=True):
    open: int = 0
    """Cents."""


def step(shop: Shop, record: Record[Any]) -> Step[Shop]:
    event = record.event
    return Step(Shop(shop.open + (event.cents if isinstance(event, Wanted) else -event.cents)))


shops: Fold[Any, Shop] = Fold(
    space="wallet.shops", topic=SHOPS, state=Shop, step=step, near=True, flush=Flush.immediate()
)
