"""Who and what the tags speak of: cookies, campaigns, products and their names (AU-124, AU-127)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

ProductIdType = Literal["int", "string"]

DEVICES = ("PC", "MOBILE", "TV")
ACTIONS = ("VIEW", "BUY")

COOKIE_COUNT = 1_000_000
PRODUCT_COUNT = 20_000
ORIGIN_COUNT = 1_000
PRICE_MIN, PRICE_MAX = 100, 100_000
PRICE_VARIATIONS = 21

_ALPHABET = np.frombuffer(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=np.uint8
)
_COOKIE_CHARACTERS = 20
_CHARACTERS_PER_DRAW = 10
_FIRST_PRODUCT_ID = 10_000
# Each table draws from its own sequence, so that one may grow without disturbing the others.
_COOKIE_SEQUENCE, _PRODUCT_SEQUENCE = 1, 2

_COUNTRY_CODES = (
    "AE AF AL AM AR AT AU AZ BA BD BE BG BH BO BR BY CA CH CL CN CO CR CU CY CZ DE DK DO DZ EC "
    "EE EG ES ET FI FR GB GE GH GR GT HK HN HR HU ID IE IL IN IQ IR IS IT JM JO JP KE KH KR KW "
    "KZ LB LK LT LU LV MA MD MK MT MX MY NG NI NL NO NP NZ OM PA PE PH PK PL PT PY QA RO RS RU "
    "SA SE SG SI SK TH TR TW UA US"
)
_MAKERS = (
    "Abena Bruvo Calix Dorma Ebros Fenno Galbi Hurst Ivaro Jotun Kelda Lumio Mavik Norba Orvel "
    "Pelta Quiro Rosto Silva Tarno Ulmar Vesta Wendo Xylon Zephy"
)
_LINES = "Basic Craft Daily Gift Home Kids Night Outdoor Sport Studio"
_KINDS = (
    "Accessories Bags Belts Blouses Boots Coats Dresses Gloves Hats Jackets Jeans Shirts Shoes "
    "Skirts Socks Sweaters Trousers"
)
_WEARERS = ("", "___Accessories", "_for_Men", "_for_Women")

COUNTRIES = tuple(_COUNTRY_CODES.split())
BRANDS = tuple(f"{maker}_{line}" for maker in _MAKERS.split() for line in _LINES.split())
CATEGORIES = tuple(f"{kind}{wearer}" for kind in _KINDS.split() for wearer in _WEARERS)[:67]


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The names behind the numbers in a block's columns."""

    cookies: npt.NDArray[np.bytes_]
    countries: tuple[str, ...]
    origins: tuple[str, ...]
    brands: tuple[str, ...]
    categories: tuple[str, ...]
    product_ids: tuple[int | str, ...]
    product_brands: npt.NDArray[np.uint16]
    product_categories: npt.NDArray[np.uint16]
    product_prices: npt.NDArray[np.int64]

    def cookie(self, number: int) -> str:
        name: bytes = self.cookies[number]
        return name.decode()

    def prices(
        self, products: npt.NDArray[np.uint16], variations: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.int64]:
        """What each tag costs: the product's base price, varied by up to ten per cent."""
        percent = variations.astype(np.int64) + (100 - PRICE_VARIATIONS // 2)
        return self.product_prices[products] * percent // 100


def populate(
    seed: int, *, cookies: int = COOKIE_COUNT, product_id: ProductIdType = "int"
) -> Population:
    """The population of a seed; the same on every platform."""
    halves = split(_raw(seed, _PRODUCT_SEQUENCE, PRODUCT_COUNT * 2)).reshape(-1, 4)
    numbers = range(_FIRST_PRODUCT_ID, _FIRST_PRODUCT_ID + PRODUCT_COUNT)
    return Population(
        cookies=_cookie_names(seed, cookies),
        countries=COUNTRIES,
        origins=tuple(f"CAMPAIGN_{number}" for number in range(1, ORIGIN_COUNT + 1)),
        brands=BRANDS,
        categories=CATEGORIES,
        product_ids=tuple(numbers) if product_id == "int" else tuple(map(str, numbers)),
        product_brands=scale(halves[:, 0], len(BRANDS)).astype(np.uint16),
        product_categories=scale(halves[:, 1], len(CATEGORIES)).astype(np.uint16),
        product_prices=PRICE_MIN + scale(halves[:, 2], PRICE_MAX - PRICE_MIN + 1).astype(np.int64),
    )


def split(raw: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Each 64-bit draw as two 32-bit ones, high half first, on any byte order."""
    halves = np.empty(raw.size * 2, dtype=np.uint64)
    halves[0::2] = raw >> np.uint64(32)
    halves[1::2] = raw & np.uint64(0xFFFF_FFFF)
    return halves


def scale(draws: npt.NDArray[np.uint64], bound: int) -> npt.NDArray[np.uint64]:
    """32-bit draws mapped evenly onto 0..bound-1."""
    return (draws * np.uint64(bound)) >> np.uint64(32)


def _raw(seed: int, sequence: int, count: int) -> npt.NDArray[np.uint64]:
    return np.random.PCG64([seed, sequence]).random_raw(count)


def _cookie_names(seed: int, count: int) -> npt.NDArray[np.bytes_]:
    rest = _raw(seed, _COOKIE_SEQUENCE, count * (_COOKIE_CHARACTERS // _CHARACTERS_PER_DRAW))
    characters = np.empty((rest.size, _CHARACTERS_PER_DRAW), dtype=np.uint8)
    base = np.uint64(_ALPHABET.size)
    for position in range(_CHARACTERS_PER_DRAW):
        rest, digit = np.divmod(rest, base)
        characters[:, position] = _ALPHABET[digit.astype(np.intp)]
    return characters.reshape(-1).view(f"S{_COOKIE_CHARACTERS}")
