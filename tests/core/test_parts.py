"""Keys whose records are in several partitions: parts of them, and what they are together."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.events import Event
from penstock.core.log import Batch
from penstock.core.manifest import Manifest
from penstock.core.platform.answering import ApplicationContext
from penstock.core.projection import Due, Elapsed, Fold, Record, Step, Topic, parts
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.why import Asked, why
from penstock.core.projects import key_of
from penstock.core.state import Entry
from penstock.main import build
from support.folded import Bench
from support.logs import add
from support.mirrored import kept
from support.purses import Settings


class Bought(Event, frozen=True, array_like=True, gc=False, tag="bought/1"):
    buyer: str
    shop: str
    cents: int


class Sold(msgspec.Struct, frozen=True, array_like=True):
    cents: int = 0
    most: int = 0
    buyers: frozenset[str] = frozenset()


def step(sold: Sold, record: Record[Bought]) -> Step[Sold]:
    bought = record.event
    if bought.cents < 0:
        return Step(sold, due=[Due("later", 0)])
    return Step(merge(sold, Sold(bought.cents, bought.cents, frozenset((bought.buyer,)))))


def merge(one: Sold, other: Sold) -> Sold:
    return Sold(one.cents + other.cents, max(one.most, other.most), one.buyers | other.buyers)


BOUGHT: Topic[Any] = Topic("tests.bought", (Bought, Elapsed), key=lambda e: e.buyer.encode())
FOLD: Fold[Any, Sold] = Fold(
    space="tests.sold",
    topic=BOUGHT,
    key=lambda event: event.shop.encode(),
    state=Sold,
    step=step,
    merge=merge,
    flush=Flush(wait_seconds=0.0, block_records=40),
)
encode = BOUGHT.codec().of


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with closing(Bench(tmp_path_factory.mktemp("parts"))) as opened:
        yield opened


def carry(bench: Bench, fold: Fold[Any, Sold], split: Sequence[Sequence[bytes]]) -> None:
    """As a topic of so many partitions would be, each in blocks of two."""
    sink = FoldSink(fold, bench.stores)
    for partition, payloads in enumerate(split):
        sink.resume("log", partition)
        for first in range(0, len(payloads), 2):
            some = payloads[first : first + 2]
            offsets = range(first, first + len(some))
            sink.apply("log", partition, Batch(first, offsets.stop, offsets, some, 1))


def known(bench: Bench, fold: Fold[Any, Sold], partitions: int, project: str, shop: str) -> Sold:
    places = parts.places(fold, shop.encode(), partitions)
    values = bench.state.get_many(fold.space, [key_of(project, place) for place in places])
    return parts.together(fold, values)


BUYS = st.lists(
    st.tuples(
        st.sampled_from(["default", "other"]),
        st.builds(
            Bought,
            st.sampled_from("abc"),
            st.sampled_from(["x", "y", "x\x00"]),
            st.integers(-1, 9),
        ),
        st.integers(0, 2),
    ),
    max_size=20,
)
_names = count()


@settings(max_examples=40)
@given(buys=BUYS)
def test_however_records_are_split_over_partitions_a_key_is_the_same(
    bench: Bench, buys: list[tuple[str, Bought, int]]
) -> None:
    """And the plain sum of them; a step that wants a timer is a dead letter wherever it is."""
    whole, apart = (replace(FOLD, space=f"tests.sold{next(_names)}") for _ in range(2))
    carry(bench, whole, [[encode(project)(bought) for project, bought, _ in buys]])
    split = [[encode(of)(bought) for of, bought, at in buys if at == part] for part in range(3)]
    carry(bench, apart, split)
    for project in ("default", "other"):
        for shop in ("x", "y", "x\x00", "nobody"):
            here = [b for of, b, _ in buys if (of, b.shop) == (project, shop) and b.cents >= 0]
            sold = Sold(
                sum(b.cents for b in here),
                max((b.cents for b in here), default=0),
                frozenset(b.buyer for b in here),
            )
            assert known(bench, whole, 1, project, shop) == sold
            assert known(bench, apart, 3, project, shop) == sold
    refused = sum(b.cents < 0 for _, b, _ in buys)
    for fold in (whole, apart):
        assert len(bench.stores.dead_letters.letters(fold.name)) == refused


def test_what_is_asked_of_a_key_and_why_has_all_parts(tmp_path: Path) -> None:
    offered = Manifest(
        name="tests",
        summary="What is sold.",
        settings=Settings,
        topics=(BOUGHT,),
        projections=(FOLD,),
        package="support.purses",
    )
    environment = {"PENSTOCK_DISK_FREE_BYTES_MIN": "0"}
    platform = build(environment, {"data": str(tmp_path)}, others=(offered,))
    try:
        platform.start()
        assert platform.log is not None
        said = [Bought("a", "x", 2), Bought("b", "x", 3), Bought("b", "y", 4)]
        add(platform.log, *map(encode("default"), said), topic=BOUGHT.name)
        context = ApplicationContext(platform.sources, None, ())
        # As another process has left it, that carries another partition.
        values = {b"x\x00\x01": Sold(10, 10, frozenset("c"))}

        async def asked() -> list[Sold]:
            assert await context.caught_up(FOLD.name, 60.0)
            for key, sold in values.items():
                state.put(FOLD.space, Entry(key, b"", msgspec.msgpack.encode(sold)))
            return [await context.get(FOLD, key) for key in (b"x", b"y", b"nobody")]

        state, log = platform.require_stores().state, platform.follow
        two = replace(platform.sources, partitions=lambda _: 2)
        assert asyncio.run(asked())[0] == Sold(5, 3, frozenset("ab"))
        context = ApplicationContext(two, None, ())
        both = Sold(15, 10, frozenset("abc"))
        assert asyncio.run(asked()) == [both, Sold(4, 4, frozenset("b")), Sold()]
        about = Asked(FOLD.name, "x", "default", 9)
        told = why(FOLD, about, platform.require_stores(), log, lambda *_: None)
        assert [heard.offset for heard in told.records] == [0, 1]
        assert '"cents":5' in told.state
    finally:
        platform.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"merge": None},
        {"key": None},
        {"expires": lambda _: None},
        {"near": True},
        {"mirror": kept().mirror},
    ],
)
def test_what_cannot_be_of_a_key_in_parts_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="parts"):
        replace(FOLD, **wrong)
