"""The deterministic tag stream: tag i depends on the seed and i alone (AU-120, AU-121)."""

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.load.audiences.instants import STREAM_START_MS, second_text
from penstock.load.audiences.population import (
    ACTIONS,
    DEVICES,
    PRICE_VARIATIONS,
    Population,
    scale,
    split,
)

Skew = Literal["uniform", "zipf"]
Spell = Literal["always3", "drop000"]

_DRAWS_PER_TAG = 4
_TV_FROM, _MOBILE_FROM = 95, 60
_BUYS_IN = 10
_COOKIE_EXPONENT, _ORIGIN_EXPONENT, _PRODUCT_EXPONENT = 0.9, 0.8, 1.0
# 26 bits hide what libraries differ in at the last place of a power, and keep sums below 2^32.
_WEIGHT_SCALE = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Consecutive tags as columns of small numbers; `kinds` is device * 2 + action."""

    first: int
    cookies: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.uint8]
    countries: npt.NDArray[np.uint8]
    origins: npt.NDArray[np.uint16]
    products: npt.NDArray[np.uint16]
    variations: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.cookies)


class Choice:
    """Draws of one of `count` numbers, evenly or by Zipf's law with the given exponent."""

    def __init__(self, count: int, *, exponent: float | None) -> None:
        self._count = count
        self._bounds: npt.NDArray[np.uint64] | None = None
        if exponent is not None:
            weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
            self._bounds = np.cumsum(np.rint(weights * _WEIGHT_SCALE).astype(np.uint64))
            self._count = int(self._bounds[-1])
            assert self._count < 1 << 32

    def __call__(self, draws: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        numbers = scale(draws, self._count)
        if self._bounds is None:
            return numbers
        return np.searchsorted(self._bounds, numbers, side="right").astype(np.uint64)


class Stream:
    """Blocks of tags and their JSON bodies, at any position and in any order."""

    def __init__(
        self, population: Population, *, seed: int, skew: Skew = "uniform", spell: Spell = "always3"
    ) -> None:
        self.population = population
        self._seed = seed
        zipf = skew == "zipf"
        self._cookie = _choice(len(population.cookies), _COOKIE_EXPONENT, skewed=zipf)
        self._origin = _choice(len(population.origins), _ORIGIN_EXPONENT, skewed=zipf)
        self._product = _choice(len(population.product_ids), _PRODUCT_EXPONENT, skewed=zipf)
        self._ends = [f".{millis:03d}Z" for millis in range(1000)]
        if spell == "drop000":
            self._ends[0] = "Z"
        self._kinds = _kind_fragments(population)
        self._products = _product_fragments(population)

    def block(self, first: int, count: int) -> Block:
        bits = np.random.PCG64(self._seed)
        bits.advance(first * _DRAWS_PER_TAG)
        draws = split(bits.random_raw(count * _DRAWS_PER_TAG)).reshape(-1, 2 * _DRAWS_PER_TAG)
        share = scale(draws[:, 4], 100)
        devices = (share >= _MOBILE_FROM).astype(np.uint8) + (share >= _TV_FROM)
        actions = scale(draws[:, 5], _BUYS_IN) == 0
        return Block(
            first=first,
            cookies=self._cookie(draws[:, 0]).astype(np.int32),
            kinds=(devices * len(ACTIONS) + actions).astype(np.uint8),
            countries=scale(draws[:, 3], len(self.population.countries)).astype(np.uint8),
            origins=self._origin(draws[:, 2]).astype(np.uint16),
            products=self._product(draws[:, 1]).astype(np.uint16),
            variations=scale(draws[:, 6], PRICE_VARIATIONS).astype(np.uint8),
        )

    def bodies(self, block: Block) -> list[bytes]:
        """The JSON body of every tag of `block`, compact, keys in the documented order."""
        population = self.population
        origins, kinds, products = population.origins, self._kinds, self._products
        row = block.countries.astype(np.int64) * (len(DEVICES) * len(ACTIONS)) + block.kinds
        return [
            f'{{"time":"{time}","cookie":"{cookie}{kinds[kind]}{origins[origin]}'
            f"{products[product]}{price}}}}}".encode()
            for time, cookie, kind, origin, product, price in zip(
                self._times(block.first, len(block)),
                population.cookies[block.cookies].astype(np.str_).tolist(),
                row.tolist(),
                block.origins.tolist(),
                block.products.tolist(),
                population.prices(block.products, block.variations).tolist(),
                strict=True,
            )
        ]

    def _times(self, first: int, count: int) -> list[str]:
        times: list[str] = []
        ms, stop = STREAM_START_MS + first, STREAM_START_MS + first + count
        while ms < stop:
            second, fraction = divmod(ms, 1000)
            ends = self._ends[fraction : fraction + stop - ms]
            text = second_text(second)
            times += [text + end for end in ends]
            ms += len(ends)
        return times


def _choice(count: int, exponent: float, *, skewed: bool) -> Choice:
    return Choice(count, exponent=exponent if skewed else None)


def _kind_fragments(population: Population) -> list[str]:
    return [
        f'","country":"{country}","device":"{device}","action":"{action}","origin":"'
        for country in population.countries
        for device in DEVICES
        for action in ACTIONS
    ]


def _product_fragments(population: Population) -> list[str]:
    ids = (msgspec.json.encode(product_id).decode() for product_id in population.product_ids)
    brands = population.product_brands.tolist()
    categories = population.product_categories.tolist()
    return [
        f'","product_info":{{"product_id":{product_id},"brand_id":"{population.brands[brand]}"'
        f',"category_id":"{population.categories[category]}","price":'
        for product_id, brand, category in zip(ids, brands, categories, strict=True)
    ]
