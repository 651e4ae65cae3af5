"""What a valid tag is, said once more and independently: with `json` and `re`, slowly."""

import json
import re
from typing import Any

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(\.\d{1,9})?"
    r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FEBRUARY = 2


class _NotOne(ValueError):
    pass


class _Fraction:
    """A number that is not written as a whole one."""


def tag_of(body: bytes) -> dict[str, Any] | None:
    """The tag's members, its product's among them; None when the body is not exactly one tag."""
    try:
        tag = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_int=_whole,
            parse_float=lambda _: _Fraction(),
        )
        return _checked(tag)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _checked(tag: Any) -> dict[str, Any]:
    product = tag["product_info"]
    if not isinstance(tag, dict) or not isinstance(product, dict):
        raise _NotOne
    found = {
        "time": tag["time"],
        "device": tag["device"],
        "action": tag["action"],
        "product_id": product["product_id"],
        "price": product["price"],
    }
    for holder, names in ((tag, ("cookie", "country", "origin")), (product, _PRODUCT_WORDS)):
        for name in names:
            found[name] = _word(holder[name])
    identity, price = found["product_id"], found["price"]
    if not isinstance(identity, int) or isinstance(identity, bool):
        _word(identity)
    elif not 0 <= identity < 2**63:
        raise _NotOne
    if type(price) is not int or not -(2**31) <= price < 2**31:
        raise _NotOne
    if found["device"] not in ("PC", "MOBILE", "TV") or found["action"] not in ("VIEW", "BUY"):
        raise _NotOne
    _time(found["time"])
    return found


_PRODUCT_WORDS = ("brand_id", "category_id")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _NotOne
    return dict(pairs)


def _refuse(name: str) -> None:
    raise _NotOne(name)


def _whole(text: str) -> int | _Fraction:
    return int(text) if len(text) < 30 else _Fraction()


def _word(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value.encode("utf-8")) <= 256:
        raise _NotOne
    return value


def _time(text: Any) -> None:
    found = _TIME.fullmatch(text)
    if found is None:
        raise _NotOne
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    if year < 1 or not 1 <= month <= 12:
        raise _NotOne
    leap = month == _FEBRUARY and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= _DAYS[month - 1] + leap:
        raise _NotOne
    clock = found[4] + found[5]
    offset = found[8][1:].replace(":", "")
    first, last = (year, month, day) == (1, 1, 1), (year, month, day) == (9999, 12, 31)
    if (first and found[8][0] == "+" and clock < offset) or (
        last and found[8][0] == "-" and int(clock) + int(offset) > 2359
    ):
        raise _NotOne  # a moment before or after all that can be told
