"""What the open purchases of a shop come to."""

import msgspec

from penstock.core.projection import Fold, Record, Step
from penstock.core.projection.flush import Flush
from wallet.events import HOLDS, Held


class Shop(msgspec.Struct, frozen=True, array_like=True):
    held: int = 0


def step(shop: Shop, record: Record[Held]) -> Step[Shop]:
    return Step(Shop(shop.held + record.event.cents))


shops: Fold[Held, Shop] = Fold(
    space="wallet.shops", topic=HOLDS, state=Shop, step=step, flush=Flush.immediate()
)
