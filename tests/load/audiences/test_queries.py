from collections import Counter

import pytest

from penstock.load.audiences.instants import MINUTE_MS, STREAM_START_MS
from penstock.load.audiences.ledger import Ledger
from penstock.load.audiences.plans import Options, Plan
from penstock.load.audiences.queries import QueryMix
from penstock.load.audiences.workload import Audiences, progress_percent, total_score
from penstock.load.fates import ACCEPTED, Frontier
from penstock.load.preload import assume
from penstock.load.report import Tally, score

TAGS = 400_000


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    options = Options(url="http://127.0.0.1", skew="zipf", cookies=5_000)
    workload = Audiences(options, Plan(rate=1_000, events=TAGS))
    assume(workload, TAGS)
    return workload.ledger


def test_au_121_queries_depend_on_seed_rate_and_number_alone(ledger: Ledger) -> None:
    def some(seed: int, rate: int) -> list[object]:
        mix = QueryMix(ledger, seed=seed, rate=rate)
        profiles = [mix.profile(number, before=300_000) for number in range(20)]
        return [*profiles, *(mix.aggregate(number, before=300_000) for number in range(20))]

    assert some(1, 1000) == some(1, 1000)
    assert some(1, 1000) != some(2, 1000)
    assert some(1, 1000) != some(1, 100)


def test_au_128_the_profile_mix_has_its_shares(ledger: Ledger) -> None:
    mix = QueryMix(ledger, seed=1, rate=1000)
    queries = [mix.profile(number, before=350_000) for number in range(2_000)]
    unknown = sum(query.number is None for query in queries)
    assert unknown / 2_000 == pytest.approx(0.05, abs=0.02)
    limits = Counter(query.limit if query.limit in (None, 0, 200) else "other" for query in queries)
    shares = {limit: count / 2_000 for limit, count in limits.items()}
    assert shares == pytest.approx({200: 0.7, None: 0.05, "other": 0.24, 0: 0.01}, abs=0.03)


def test_au_123_profiles_ask_only_for_old_enough_tags_inside_the_depth(ledger: Ledger) -> None:
    mix = QueryMix(ledger, seed=1, rate=1000)
    for number in range(1_000):
        query = mix.profile(number, before=350_000)
        assert query.from_ms <= query.to_ms
        if query.number is None:
            continue
        assert query.to_ms <= STREAM_START_MS + 350_000
        for action in (0, 1):
            deep = [index for index in ledger.newest_first(query.number, action) if index < 350_000]
            assert all(STREAM_START_MS + index < query.from_ms for index in deep[150:])


def test_au_128_the_aggregate_mix_covers_every_family(ledger: Ledger) -> None:
    mix = QueryMix(ledger, seed=1, rate=1000)
    queries = [mix.aggregate(number, before=350_000) for number in range(2_000)]
    families = Counter((query.action, *(name for name, _ in query.filters)) for query in queries)
    assert len(families) == 16
    assert min(families.values()) > 80
    assert len({query.aggregates for query in queries}) == 4
    assert {(query.to_ms - query.from_ms) // MINUTE_MS for query in queries} == set(range(1, 11))
    closed = (STREAM_START_MS + 350_000) // MINUTE_MS * MINUTE_MS
    assert all(query.to_ms <= closed for query in queries)
    filtered = [query for query in queries if query.filters]
    unknown = [q for q in filtered if any("UNKNOWN" in value for _, value in q.filters)]
    assert len(unknown) / len(filtered) == pytest.approx(0.1, abs=0.03)


def test_au_123_settled_tags_are_those_finished_long_enough_ago(ledger: Ledger) -> None:
    frontier = Frontier(ledger, start=10, memory_seconds=60)
    ledger.fate[20] = 1
    frontier.advance(100.0)
    ledger.fate[20] = ACCEPTED
    frontier.advance(105.0)
    seen = [frontier.settled(now, wait_seconds=10) for now in (105, 111, 114.9, 115, 200)]
    assert seen == [10, 20, 20, TAGS, TAGS]


def test_au_131_a_published_score_is_reproduced() -> None:
    profiles = Tally(exact=8_193_121, wrong=8_640_265 - 8_193_121)
    aggregates = Tally(exact=70_654, wrong=75_169 - 70_654)
    profile = score(profiles, answered_only=False)
    aggregate = score(aggregates, answered_only=False)
    assert profile == pytest.approx(94.82, abs=0.01)
    assert aggregate == pytest.approx(93.99, abs=0.01)
    scores = {"profiles": profile, "aggregates": aggregate}
    assert total_score(scores, 100.04) == pytest.approx(18_889, abs=1)
    assert progress_percent(86_400_000) == 100.0
    assert score(Tally(), answered_only=False) is None
