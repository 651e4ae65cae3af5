"""The oracle for minute aggregates: exact cells, and the grade of given ones (AU-60..73)."""

import re
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.load.audiences.instants import MINUTE_MS, second_text
from penstock.load.audiences.ledger import Ledger
from penstock.load.audiences.population import ACTIONS
from penstock.load.audiences.wire import AggregateAnswer
from penstock.load.fates import ACCEPTED, INDETERMINATE, PENDING
from penstock.load.workload import Verdict

COUNT, SUM_PRICE = "COUNT", "SUM_PRICE"
FILTERS = ("origin", "brand_id", "category_id")

_decode = msgspec.json.Decoder(AggregateAnswer).decode
_INTEGER = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)


class AggregateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Range ends are whole minutes; a filter that is None is not given."""

    from_ms: int
    to_ms: int
    action: str
    aggregates: tuple[str, ...]
    origin: str | None = None
    brand_id: str | None = None
    category_id: str | None = None

    @property
    def filters(self) -> list[tuple[str, str]]:
        given = ((name, getattr(self, name)) for name in FILTERS)
        return [(name, value) for name, value in given if value is not None]

    @property
    def target(self) -> str:
        times = f"{second_text(self.from_ms // 1000)}_{second_text(self.to_ms // 1000)}"
        parameters = [("time_range", times), ("action", self.action), *self.filters]
        parameters += [("aggregates", name) for name in self.aggregates]
        return f"/aggregates?{urlencode(parameters, safe=':')}"


class Cell(NamedTuple):
    """One minute: what must be counted, and the ascending prices of what may be besides."""

    tags: int
    total: int
    possible: list[int]

    def allows_count(self, count: int) -> bool:
        return self.tags <= count <= self.tags + len(self.possible)

    def allows_total(self, total: int) -> bool:
        low = sum(price for price in self.possible if price < 0)
        high = sum(price for price in self.possible if price > 0)
        return low <= total - self.total <= high

    def allows(self, count: int, total: int) -> bool:
        """Whether one choice of the possible tags can explain both numbers."""
        if not self.allows_count(count):
            return False
        chosen, extra = count - self.tags, total - self.total
        low = sum(self.possible[:chosen])
        high = sum(self.possible[len(self.possible) - chosen :])
        return low <= extra <= high


class AggregateOracle:
    """Answers from the tags of a ledger, with the same notion of certainty as for profiles."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        population = ledger.population
        self._origins = {name: number for number, name in enumerate(population.origins)}
        self._brands = {name: number for number, name in enumerate(population.brands)}
        self._categories = {name: number for number, name in enumerate(population.categories)}

    def expected(self, query: AggregateQuery, *, settled: int) -> AggregateAnswer:
        """The answer if only the tags that must be counted are."""
        rows = [
            [
                *_row_head(query, minute),
                *(str(cell.tags if name == COUNT else cell.total) for name in query.aggregates),
            ]
            for minute, cell in self.cells(query, settled=settled)
        ]
        return AggregateAnswer(_columns(query), rows)

    def judge(self, query: AggregateQuery, body: bytes, *, settled: int) -> Verdict:
        """Grade the answer to `query`, sent when `settled` was the settled index."""
        cells = self.cells(query, settled=settled)
        empty = not any(cell.tags for _, cell in cells)
        try:
            answer = _decode(body)
        except msgspec.DecodeError as error:
            return Verdict(f"not an aggregate: {error}", empty)
        if answer.columns != _columns(query):
            return Verdict(f"columns are {answer.columns}", empty)
        if len(answer.rows) != len(cells):
            return Verdict(f"{len(answer.rows)} rows, expected {len(cells)}", empty)
        for number, (row, (minute, cell)) in enumerate(zip(answer.rows, cells, strict=True)):
            if not _is_allowed(row, query, minute, cell):
                return Verdict(f"rows[{number}] is {row}, expected {cell}"[:500], empty)
        return Verdict(None, empty)

    def cells(self, query: AggregateQuery, *, settled: int) -> list[tuple[int, Cell]]:
        """(minute start, cell) of every minute of the range, in order."""
        products = self._products(query)
        if query.origin is not None and query.origin not in self._origins:
            products = None
        return [
            (
                minute,
                Cell(0, 0, [])
                if products is None
                else self._cell(query, minute, products, settled),
            )
            for minute in range(query.from_ms, query.to_ms, MINUTE_MS)
        ]

    def _products(self, query: AggregateQuery) -> npt.NDArray[np.bool] | None:
        """Which products pass the brand and category filters; None where none can."""
        population = self._ledger.population
        chosen = np.ones(len(population.product_ids), dtype=np.bool)
        for value, numbers, column in (
            (query.brand_id, self._brands, population.product_brands),
            (query.category_id, self._categories, population.product_categories),
        ):
            if value is None:
                continue
            if value not in numbers:
                return None
            chosen &= column == numbers[value]
        return chosen

    def _cell(
        self, query: AggregateQuery, minute: int, products: npt.NDArray[np.bool], settled: int
    ) -> Cell:
        ledger = self._ledger
        first = min(ledger.size, ledger.instants.first_at(minute))
        stop = min(ledger.size, ledger.instants.first_at(minute + MINUTE_MS))
        fates = ledger.fates[first:stop]
        chosen = ledger.kinds[first:stop] % len(ACTIONS) == ACTIONS.index(query.action)
        if query.origin is not None:
            chosen &= ledger.origins[first:stop] == self._origins[query.origin]
        if query.brand_id is not None or query.category_id is not None:
            chosen &= products[ledger.products[first:stop]]
        certain = chosen & (fates == ACCEPTED)
        certain[max(0, settled - first) :] = False
        possible = chosen & ~certain & (fates >= PENDING) & (fates <= INDETERMINATE)
        prices = self._prices(first, certain)
        return Cell(len(prices), int(prices.sum()), sorted(self._prices(first, possible).tolist()))

    def _prices(self, first: int, chosen: npt.NDArray[np.bool]) -> npt.NDArray[np.int64]:
        index = np.flatnonzero(chosen) + first
        ledger = self._ledger
        return ledger.population.prices(ledger.products[index], ledger.variations[index])


def _columns(query: AggregateQuery) -> list[str]:
    filters = (name for name, _ in query.filters)
    return ["1m_bucket", "action", *filters, *(name.lower() for name in query.aggregates)]


def _row_head(query: AggregateQuery, minute: int) -> list[str]:
    return [second_text(minute // 1000), query.action, *(value for _, value in query.filters)]


def _is_allowed(row: list[str], query: AggregateQuery, minute: int, cell: Cell) -> bool:
    head = _row_head(query, minute)
    texts = row[len(head) :]
    if row[: len(head)] != head or len(texts) != len(query.aggregates):
        return False
    if not all(_INTEGER.fullmatch(text) for text in texts):
        return False
    numbers = dict(zip(query.aggregates, map(int, texts), strict=True))
    if COUNT not in numbers:
        return cell.allows_total(numbers[SUM_PRICE])
    if SUM_PRICE not in numbers:
        return cell.allows_count(numbers[COUNT])
    return cell.allows(numbers[COUNT], numbers[SUM_PRICE])
