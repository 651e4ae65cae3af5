import hashlib
import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.load.audiences.instants import EveryMillisecond, milli_text, parse_tag_time, tag_time
from penstock.load.audiences.population import (
    BRANDS,
    CATEGORIES,
    COUNTRIES,
    Population,
    ProductIdType,
    populate,
)
from penstock.load.audiences.stream import Skew, Stream

SEED = 20220301
GOLDEN = {
    "uniform": "586da8315845e454a7bca8cecf142c3e930b30e4ce6694d0c2b17ec74448dc0c",
    "zipf": "91983bd0659dbf206f4233460067eedd9f7a630c588f343b889f641d308505df",
}


@pytest.fixture(scope="module")
def population() -> Population:
    return populate(SEED, cookies=50_000)


@pytest.mark.parametrize("skew", ["uniform", "zipf"])
def test_au_127_the_stream_is_the_same_bytes_everywhere(population: Population, skew: Skew) -> None:
    stream = Stream(population, seed=SEED, skew=skew)
    bodies = stream.bodies(stream.block(0, 10_000))
    assert hashlib.sha256(b"\n".join(bodies)).hexdigest() == GOLDEN[skew]


@given(first=st.integers(0, 90_000_000), count=st.integers(1, 300), cut=st.integers(0, 300))
def test_au_120_a_tag_depends_on_its_index_alone(
    population: Population, first: int, count: int, cut: int
) -> None:
    stream = Stream(population, seed=SEED)
    cut = min(cut, count)
    parts = stream.bodies(stream.block(first, cut)) + stream.bodies(
        stream.block(first + cut, count - cut)
    )
    assert parts == stream.bodies(stream.block(first, count))


def test_au_120_times_advance_by_one_millisecond(population: Population) -> None:
    stream = Stream(population, seed=SEED)
    times = [json.loads(body)["time"] for body in stream.bodies(stream.block(0, 2_500))]
    start = datetime.fromisoformat("2022-03-01T00:00:00+00:00")
    assert [datetime.fromisoformat(time) - start for time in times] == [
        timedelta(milliseconds=index) for index in range(2_500)
    ]
    assert all(len(time) == len("2022-03-01T00:00:00.000Z") for time in times)


def test_au_121_another_seed_gives_other_tags(population: Population) -> None:
    other = Stream(populate(SEED + 1, cookies=1_000), seed=SEED + 1)
    same = Stream(population, seed=SEED)
    assert not set(other.bodies(other.block(0, 500))) & set(same.bodies(same.block(0, 500)))


def test_au_124_the_cardinalities_are_those_of_the_reference(population: Population) -> None:
    assert (len(COUNTRIES), len(BRANDS), len(CATEGORIES)) == (100, 250, 67)
    assert all(len(set(names)) == len(names) for names in (COUNTRIES, BRANDS, CATEGORIES))
    block = Stream(population, seed=SEED).block(0, 400_000)
    seen = [len(np.unique(column)) for column in (block.countries, block.origins, block.products)]
    assert seen == [100, 1_000, 20_000]
    assert len(np.unique(population.product_brands)) == 250
    assert len(np.unique(population.product_categories)) == 67
    assert len(np.unique(population.cookies)) == 50_000
    assert np.bincount(block.kinds % 2)[0] / 400_000 == pytest.approx(0.9, abs=0.01)
    shares = np.bincount(block.kinds // 2) / 400_000
    assert shares.tolist() == pytest.approx([0.6, 0.35, 0.05], abs=0.01)


def test_au_127_zipf_prefers_the_first_of_each_kind(population: Population) -> None:
    block = Stream(population, seed=SEED, skew="zipf").block(0, 200_000)
    for column, exponent in ((block.cookies, 0.9), (block.origins, 0.8), (block.products, 1.0)):
        counts = np.bincount(column)
        assert counts[0] / counts[1] == pytest.approx(2**exponent, rel=0.1)


def test_au_05_a_zero_fraction_may_be_dropped(population: Population) -> None:
    stream = Stream(population, seed=SEED, spell="drop000")
    times = [json.loads(body)["time"] for body in stream.bodies(stream.block(999, 3))]
    assert times == ["2022-03-01T00:00:00.999Z", "2022-03-01T00:00:01Z", "2022-03-01T00:00:01.001Z"]


def test_au_21_product_ids_come_as_numbers_or_strings() -> None:
    kinds: list[type] = []
    choices: tuple[ProductIdType, ...] = ("int", "string")
    for product_id in choices:
        stream = Stream(populate(1, cookies=10, product_id=product_id), seed=1)
        body = stream.bodies(stream.block(0, 1))[0]
        kinds.append(type(json.loads(body)["product_info"]["product_id"]))
    assert kinds == [int, str]


@given(ms=st.integers(0, 4_000_000_000_000))
def test_au_04_printed_times_parse_to_the_same_instant(ms: int) -> None:
    assert parse_tag_time(tag_time(ms, drop_zero_fraction=False)) == ms
    assert parse_tag_time(tag_time(ms, drop_zero_fraction=True)) == ms
    assert tag_time(ms, drop_zero_fraction=False) == milli_text(ms) + "Z"


@pytest.mark.parametrize(
    "text", ["2022-03-01T00:00:00", "2022-02-30T00:00:00Z", "2022-03-01T00:00:00.0000Z", "x", ""]
)
def test_au_07_other_spellings_are_no_times(text: str) -> None:
    assert parse_tag_time(text) is None


@given(index=st.integers(0, 10**8))
def test_au_120_instants_and_indexes_are_inverse(index: int) -> None:
    instants = EveryMillisecond()
    assert instants.first_at(instants.at(index)) == index
