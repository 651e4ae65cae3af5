"""Audiences as a workload of the driver: tags in, profiles and aggregates asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec

from penstock.load.audiences.aggregates import COUNT, AggregateOracle, AggregateQuery
from penstock.load.audiences.instants import DAY_MS, MINUTE_MS
from penstock.load.audiences.ledger import Ledger
from penstock.load.audiences.plans import Options, Plan
from penstock.load.audiences.population import ACTIONS, populate
from penstock.load.audiences.profiles import ProfileOracle, ProfileQuery
from penstock.load.audiences.queries import QueryMix
from penstock.load.audiences.stream import Stream
from penstock.load.audiences.tail import questions
from penstock.load.audiences.wire import AggregateAnswer, ProfileAnswer
from penstock.load.workload import Facts, Kind, Query, Verdict

PROFILE_BOUND_SECONDS, AGGREGATE_BOUND_SECONDS = 10.0, 60.0
TAGS_PER_PROFILE, TAGS_PER_AGGREGATE = 10, 1_000
_AGGREGATE_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class _Shown:
    target: str
    in_profile: bool

    def shows(self, body: bytes) -> bool:
        try:
            if self.in_profile:
                profile = msgspec.json.decode(body, type=ProfileAnswer)
                return bool(profile.views or profile.buys)
            aggregate = msgspec.json.decode(body, type=AggregateAnswer)
        except msgspec.DecodeError:
            return False
        return [row[-1:] for row in aggregate.rows] not in ([], [["0"]])


class Audiences:
    """See `penstock.load.workload.Workload`."""

    name = "audiences"
    unit = "tag"
    topic = "audiences.tags"
    operation = "user_tags"
    path = "/user_tags"
    success = 204
    batch_path = "/user_tags/batch"

    def __init__(self, options: Options, plan: Plan) -> None:
        population = populate(options.seed, cookies=options.cookies, product_id=options.product_id)
        self.stream = Stream(population, seed=options.seed, skew=options.skew, spell=options.spell)
        self.ledger = Ledger(population, capacity=options.first + plan.events)
        self._plan = plan
        self._seed = options.seed
        self._mix = QueryMix(self.ledger, seed=options.seed, rate=plan.rate or 0)
        self._profiles = ProfileOracle(
            self.ledger, drop_zero_fraction=options.spell == "drop000", raw_time=options.raw_time
        )
        self._aggregates = AggregateOracle(self.ledger)
        self.timeout_seconds, profile_seconds, aggregate_seconds = options.timeouts
        self._profile = Kind(
            name="user_profiles",
            tail_name="tail_profiles",
            every=TAGS_PER_PROFILE,
            wait_seconds=plan.profile_wait,
            after_seconds=plan.profile_wait,
            timeout_seconds=profile_seconds,
            connections=None,
            look_every_seconds=0.5,
            look_seconds_max=PROFILE_BOUND_SECONDS,
        )
        self._aggregate = Kind(
            name="aggregates",
            tail_name="tail_aggregates",
            every=TAGS_PER_AGGREGATE,
            wait_seconds=plan.aggregate_wait,
            after_seconds=plan.aggregates_after,
            timeout_seconds=aggregate_seconds,
            connections=_AGGREGATE_CONNECTIONS,
            look_every_seconds=1.0,
            look_seconds_max=AGGREGATE_BOUND_SECONDS,
        )
        self.kinds = (self._profile, self._aggregate)

    def bodies(self, count: int) -> list[bytes]:
        block = self.stream.block(self.ledger.size, count)
        self.ledger.append(block)
        return self.stream.bodies(block)

    def skip(self, count: int) -> None:
        self.ledger.append(self.stream.block(self.ledger.size, count))

    def query(self, kind: Kind, number: int, *, before: int) -> Query:
        if kind is self._profile:
            return self._mix.profile(number, before=before)
        return self._mix.aggregate(number, before=before)

    def tail(self, first: int, settled: int) -> Iterator[tuple[Kind, Query]]:
        asked = questions(
            self.ledger,
            self._mix,
            seed=self._seed,
            first=first,
            settled=settled,
            cookies_max=self._plan.tail_cookies,
        )
        for query in asked:
            yield self._profile if isinstance(query, ProfileQuery) else self._aggregate, query

    def expected(self, query: Query, *, settled: int) -> object:
        if isinstance(query, ProfileQuery):
            return self._profiles.expected(query, settled=settled)
        return self._aggregates.expected(cast("AggregateQuery", query), settled=settled)

    def judge(self, query: Query, body: bytes, *, settled: int) -> Verdict:
        if isinstance(query, ProfileQuery):
            return self._profiles.judge(query, body, settled=settled)
        return self._aggregates.judge(cast("AggregateQuery", query), body, settled=settled)

    def look(self, kind: Kind, index: int) -> _Shown | None:
        if kind is self._profile:
            return _Shown(self._profile_of(index).target, in_profile=True)
        query = self._cell_of(index)
        _, cell = self._aggregates.cells(query, settled=0)[0]
        if len(cell.possible) != 1:
            # Another tag of this cell and minute could be taken for the sampled one.
            return None
        return _Shown(query.target, in_profile=False)

    def facts(self, sent: int, scores: Mapping[str, float | None]) -> Facts:
        percent = progress_percent(sent)
        return {
            "ms_of_a_logical_day": sent,
            "percent_of_a_logical_day": percent,
            "score_of_20000_for_a_whole_day": total_score(scores, percent),
        }

    def _profile_of(self, index: int) -> ProfileQuery:
        ledger = self.ledger
        cookie, at = ledger.cookies.item(index), ledger.instants.at(index)
        return ProfileQuery(
            cookie=ledger.population.cookie(cookie),
            number=cookie,
            from_ms=at,
            to_ms=at + 1,
            limit=None,
        )

    def _cell_of(self, index: int) -> AggregateQuery:
        ledger = self.ledger
        population = ledger.population
        product = ledger.products.item(index)
        minute = ledger.instants.at(index) // MINUTE_MS * MINUTE_MS
        return AggregateQuery(
            from_ms=minute,
            to_ms=minute + MINUTE_MS,
            action=ACTIONS[ledger.kinds.item(index) % len(ACTIONS)],
            aggregates=(COUNT,),
            origin=population.origins[ledger.origins.item(index)],
            brand_id=population.brands[population.product_brands.item(product)],
            category_id=population.categories[population.product_categories.item(product)],
        )


def progress_percent(tags: int) -> float:
    """Each tag is one millisecond of a logical day (AU-131)."""
    return round(100 * tags / DAY_MS, 4)


def total_score(scores: Mapping[str, float | None], percent: float) -> float | None:
    """20,000 for a perfect day (AU-131); None where a kind of query was not answered."""
    known = [score for score in scores.values() if score is not None]
    return round(sum(known) * percent, 2) if len(known) == len(scores) else None
