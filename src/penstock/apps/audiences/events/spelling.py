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


Time = Annotated[
    str,
    Meta(
        description="When, by the sender's clock: 0 to 9 digits of fraction, cut to milliseconds, "
        "and `Z` or an offset. It is told back at `Z`, with as many digits as came, up to 3.",
        examples=["2026-03-01T14:00:00.649Z"],
        # For readers only: what reads a time is `times.parse_tag`, and it answers `bad_time`.
        extra_json_schema={
            "format": "date-time",
            "pattern": r"^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d"
            r"(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$",
        },
    ),
]


class Product(msgspec.Struct, frozen=True, gc=False):
    """What was looked at or bought."""

    product_id: Annotated[
        Word | ProductNumber,
        Meta(description='The type is part of it: 12486 and `"12486"` are two products.'),
    ]
    brand_id: Word
    category_id: Word
    price: Annotated[Price, Meta(description="In the smallest unit of the currency.")]


class Tag(msgspec.Struct, frozen=True, gc=False):
    """A tag as it is sent and answered."""

    time: Time
    cookie: Annotated[Word, Meta(description="Whose it is.")]
    country: Annotated[Word, Meta(description="By custom two letters, as in `PL`.")]
    device: Literal["PC", "MOBILE", "TV"]
    action: Literal["VIEW", "BUY"]
    origin: Annotated[Word, Meta(description="The campaign that led there.")]
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
