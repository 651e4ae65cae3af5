from penstock.core.events import Event

VIEW = "VIEW"
BUY = "BUY"
WORD_BYTES_MAX = 256
"""Longest cookie, country, origin, product, brand or category, in UTF-8 (AU-20)."""


class TagRecorded(Event, frozen=True, array_like=True, gc=False, tag="tag_recorded/1"):
    """A visitor viewed or bought a product."""

    time_ms: int
    """When, in epoch milliseconds, by the sender's clock."""
    fraction_digits: int
    """How many digits of the fraction the sender wrote, at most 3 of them, so that it reads its own
    spelling back (AU-06)."""
    cookie: str
    country: str
    device: str
    action: str
    origin: str
    product_id: int | str
    """The type is part of the value: 12486 and "12486" are different products (AU-21)."""
    brand_id: str
    category_id: str
    price: int
