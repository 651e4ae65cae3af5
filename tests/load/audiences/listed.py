"""Hand-written tags as a ledger, and the oracle's answers as plain JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from penstock.load.audiences.instants import Listed, parse_tag_time
from penstock.load.audiences.ledger import Ledger
from penstock.load.audiences.population import ACTIONS, DEVICES, PRICE_VARIATIONS, Population
from penstock.load.audiences.stream import Block
from penstock.load.fates import ACCEPTED


@dataclass(frozen=True, kw_only=True)
class Event:
    """One tag; `fate` is what the sender knows of it."""

    time: str
    cookie: str
    action: str
    origin: str
    product_id: int | str
    brand: str
    category: str
    price: int
    fate: int = ACCEPTED

    @property
    def ms(self) -> int:
        ms = parse_tag_time(self.time)
        assert ms is not None
        return ms

    def json(self) -> dict[str, Any]:
        return {
            "time": self.time,
            "cookie": self.cookie,
            "country": "PL",
            "device": "PC",
            "action": self.action,
            "origin": self.origin,
            "product_info": {
                "product_id": self.product_id,
                "brand_id": self.brand,
                "category_id": self.category,
                "price": self.price,
            },
        }


def ledger_of(events: Sequence[Event]) -> tuple[Ledger, dict[str, int]]:
    """The ledger of events given in order of acceptance, and the numbers of its cookies.

    Every event has a product of its own, so that it can have any price.
    """
    ordered = sorted(events, key=lambda event: event.ms)
    cookies, origins, brands, categories = (
        list(dict.fromkeys(names))
        for names in (
            [event.cookie for event in ordered],
            [event.origin for event in ordered],
            [event.brand for event in ordered],
            [event.category for event in ordered],
        )
    )
    population = Population(
        cookies=np.array([name.encode() for name in cookies], dtype=np.bytes_),
        countries=("PL",),
        origins=tuple(origins),
        brands=tuple(brands),
        categories=tuple(categories),
        product_ids=tuple(event.product_id for event in ordered),
        product_brands=np.array([brands.index(e.brand) for e in ordered], dtype=np.uint16),
        product_categories=np.array(
            [categories.index(e.category) for e in ordered], dtype=np.uint16
        ),
        product_prices=np.array([event.price for event in ordered], dtype=np.int64),
    )
    count = len(ordered)
    ledger = Ledger(population, capacity=count, instants=Listed([e.ms for e in ordered]))
    kinds = [DEVICES.index("PC") * len(ACTIONS) + ACTIONS.index(e.action) for e in ordered]
    ledger.append(
        Block(
            first=0,
            cookies=np.array([cookies.index(e.cookie) for e in ordered], dtype=np.int32),
            kinds=np.array(kinds, dtype=np.uint8),
            countries=np.zeros(count, dtype=np.uint8),
            origins=np.array([origins.index(e.origin) for e in ordered], dtype=np.uint16),
            products=np.arange(count, dtype=np.uint16),
            variations=np.full(count, PRICE_VARIATIONS // 2, dtype=np.uint8),
        )
    )
    for index, event in enumerate(ordered):
        ledger.fate[index] = event.fate
    return ledger, {name: number for number, name in enumerate(cookies)}


def plain(answer: msgspec.Struct) -> Any:
    return msgspec.to_builtins(answer)
