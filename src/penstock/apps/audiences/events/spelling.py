"""A tag as this wire spells it: what was sent, member by member, is what is answered (AU-48)."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.apps.audiences.events import WORD_BYTES_MAX, TagRecorded
from penstock.apps.audiences.events.times import spell_tag

Word = Annotated[str, Meta(min_length=1, max_length=WORD_BYTES_MAX)]
"""Characters are counted here; that it has no more bytes either is for who reads it to check."""
Price = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
ProductNumber = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Product(msgspec.Struct, frozen=True, gc=False):
    product_id: Word | ProductNumber
    brand_id: Word
    category_id: Word
    price: Price


class Tag(msgspec.Struct, frozen=True, gc=False):
    """A tag as it is sent and answered (AU-20)."""

    time: str
    cookie: Word
    country: Word
    device: Literal["PC", "MOBILE", "TV"]
    action: Literal["VIEW", "BUY"]
    origin: Word
    product_info: Product


_encode = msgspec.json.Encoder().encode


def spell(event: TagRecorded) -> bytes:
    """JSON of one tag."""
    return _encode(
        Tag(
            spell_tag(event.time_ms, event.fraction_digits),
            event.cookie,
            event.country,
            event.device,  # type: ignore[arg-type] # was one of them when it was recorded
            event.action,  # type: ignore[arg-type] # likewise
            event.origin,
            Product(event.product_id, event.brand_id, event.category_id, event.price),
        )
    )
