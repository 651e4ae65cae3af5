"""The answers as they travel."""

import msgspec


class ProductInfo(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    product_id: int | str
    brand_id: str
    category_id: str
    price: int


class Tag(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    time: str
    cookie: str
    country: str
    device: str
    action: str
    origin: str
    product_info: ProductInfo


class ProfileAnswer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    cookie: str
    views: list[Tag]
    buys: list[Tag]


class AggregateAnswer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    columns: list[str]
    rows: list[list[str]]
