"""What became of every tag: the columns, the fate and the chains the oracle answers from."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from penstock.load.audiences.instants import EveryMillisecond, Instants
from penstock.load.audiences.population import ACTIONS, Population
from penstock.load.audiences.stream import Block
from penstock.load.fates import Fates

DEPTH = 200

_ABSENT = -1


class Ledger(Fates):
    """Every tag of a run, in stream order, at about 16 bytes each.

    `capacity` bounds the number of tags; memory is taken only as tags arrive.
    """

    def __init__(
        self, population: Population, *, capacity: int, instants: Instants | None = None
    ) -> None:
        super().__init__(capacity)
        self.population = population
        self.instants = instants or EveryMillisecond()
        self.kinds = np.empty(capacity, dtype=np.uint8)
        self.countries = np.empty(capacity, dtype=np.uint8)
        self.origins = np.empty(capacity, dtype=np.uint16)
        self.products = np.empty(capacity, dtype=np.uint16)
        self.variations = np.empty(capacity, dtype=np.uint8)
        self.cookies = np.empty(capacity, dtype=np.int32)
        chains = len(population.cookies) * len(ACTIONS)
        self._previous = np.empty(capacity, dtype=np.int32)
        self._previous_at = self._previous.data
        self._newest = np.full(chains, _ABSENT, dtype=np.int32)
        self._lengths = np.zeros(chains, dtype=np.int32)
        self.hot: list[tuple[int, int]] = []
        """(index from which it holds, cookie) of cookies with more VIEWs than the depth."""

    def append(self, block: Block) -> None:
        """Take in the next tags of the stream, unsent."""
        assert block.first == self.size
        end = self.size + len(block)
        self.kinds[self.size : end] = block.kinds
        self.countries[self.size : end] = block.countries
        self.origins[self.size : end] = block.origins
        self.products[self.size : end] = block.products
        self.variations[self.size : end] = block.variations
        self.cookies[self.size : end] = block.cookies
        self._link(block, end)
        self.size = end

    def newest_first(self, cookie: int, action: int) -> Iterator[int]:
        """The tags of one cookie and action by descending index, whatever their fate."""
        previous = self._previous_at
        index = int(self._newest[cookie * len(ACTIONS) + action])
        while index != _ABSENT:
            yield index
            index = previous[index]

    def _link(self, block: Block, end: int) -> None:
        chain = block.cookies.astype(np.int64) * len(ACTIONS) + block.kinds % len(ACTIONS)
        order = np.argsort(chain, kind="stable")
        chain, index = chain[order], (order + block.first).astype(np.int32)
        repeated = chain[1:] == chain[:-1]
        previous = self._newest[chain]
        previous[1:][repeated] = index[:-1][repeated]
        self._previous[index] = previous
        last = np.append(~repeated, [True])
        self._newest[chain[last]] = index[last]
        self._lengthen(chain, last, end)

    def _lengthen(self, chain: npt.NDArray[np.int64], last: npt.NDArray[np.bool], end: int) -> None:
        touched = chain[last]
        before = self._lengths[touched]
        after = before + np.diff(np.flatnonzero(last), prepend=-1)
        self._lengths[touched] = after
        hot = touched[(before <= DEPTH) & (after > DEPTH) & (touched % len(ACTIONS) == 0)]
        self.hot += [(end, chain_number // len(ACTIONS)) for chain_number in hot.tolist()]
