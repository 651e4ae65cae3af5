"""A tag as this wire spells it: what was sent, member by member, is what is answered (AU-48)."""

import msgspec

from penstock.apps.audiences.events import TagRecorded
from penstock.apps.audiences.events.times import spell_tag


class _Product(msgspec.Struct, frozen=True, gc=False):
    product_id: int | str
    brand_id: str
    category_id: str
    price: int


class _Tag(msgspec.Struct, frozen=True, gc=False):
    time: str
    cookie: str
    country: str
    device: str
    action: str
    origin: str
    product_info: _Product


_encode = msgspec.json.Encoder().encode


def spell(event: TagRecorded) -> bytes:
    """JSON of one tag."""
    return _encode(
        _Tag(
            spell_tag(event.time_ms, event.fraction_digits),
            event.cookie,
            event.country,
            event.device,
            event.action,
            event.origin,
            _Product(event.product_id, event.brand_id, event.category_id, event.price),
        )
    )
