"""Builders of tags as they are sent, and of the requests that carry them."""

import json
from typing import Any

from penstock.apps.audiences.events.times import parse_tag, spell_second
from penstock.core.edge import Received

Tag = dict[str, Any]

_PRODUCT = ("product_id", "brand_id", "category_id", "price")
NOW_MS = 1_700_000_000_000


def a_tag(**changes: Any) -> Tag:
    """A tag; members of its product are named like all others."""
    tag: Tag = {
        "time": "2022-03-01T00:00:00.649Z",
        "cookie": "9WkYGxkiXBfpMIjBGURC",
        "country": "CL",
        "device": "MOBILE",
        "action": "VIEW",
        "origin": "CAMPAIGN_321",
        "product_info": {
            "product_id": 12486,
            "brand_id": "Ebros_Gift",
            "category_id": "Trousers",
            "price": 28969,
        },
    }
    for name, value in changes.items():
        (tag["product_info"] if name in _PRODUCT else tag)[name] = value
    return tag


def plain(tag: Tag) -> Tag:
    """The tag flattened: its product's members beside its own."""
    outer = {name: tag[name] for name in tag if name != "product_info"}
    return {**outer, **tag["product_info"]}


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def received(body: bytes = b"", *, at_ms: int = NOW_MS, **headers: str) -> Received:
    """A request as an ingest handler gets it; underscores of header names are dashes."""
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Received("POST", (), b"", named, body, "127.0.0.1", at_ms)


def instant(time_ms: int) -> str:
    """A tag's time with three digits."""
    return f"{spell_second(time_ms // 1000)}.{time_ms % 1000:03d}Z"


def time_ms(tag: Tag) -> int:
    return parse_tag(tag["time"])[0]
