"""Near folds: what an edge knows of what is on its way, and that nobody gets beyond a cap."""

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from penstock.core.admin import reset
from penstock.core.manifest import Manifest
from penstock.core.platform import Platform, nearing
from penstock.core.projection.near import Near
from penstock.core.worker import Worker
from penstock.main import build
from services.kafka import Kafka
from support import capped
from support.asking import until
from support.capped import CAP, CLICKED, Clicks, clicks
from support.kafka import kafka_settings, new_topic
from support.lines import Lines
from support.logs import contents
from support.pipes import asked
from support.workers import PATHS

T = TypeVar("T")


class Bench:
    def __init__(
        self,
        folder: Path,
        roles: Sequence[str] = ("edge", "work"),
        manifest: Manifest | None = None,
        **settings: object,
    ) -> None:
        self.runner = asyncio.Runner()
        self.platform: Platform = build(
            {"PENSTOCK_DISK_FREE_BYTES_MIN": "0"},
            {"data": str(folder), **settings},
            roles=roles,
            others=(manifest or capped.manifest,),
        )
        self.platform.start()
        self.runner.run(self._attach())

    async def _attach(self) -> None:
        self.platform.edge.attach(asyncio.get_running_loop())

    def on(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(work())

    async def ask(self, path: str, body: bytes = b"", *headers: str) -> int:
        told = "".join(f"{line}\r\n" for line in headers)
        head = f"POST {path} HTTP/1.1\r\nHost: t\r\n{told}Content-Length: {len(body)}\r\n\r\n"
        return (await asked(self.platform.edge, "POST", [head.encode() + body]))[0]

    async def many(self, *asking: Coroutine[Any, Any, int]) -> Counter[int]:
        return Counter(await asyncio.gather(*asking))

    @property
    def log(self) -> Any:
        return self.platform.log

    @property
    def stored(self) -> Counter[str]:
        """Clicks in the log, by shop."""
        read = CLICKED.codec().decode
        return Counter(read(payload).shop for payload in contents(self.log, CLICKED.name))

    def fail(self, problem: str) -> None:
        """Let what is committed from now on fail, or be stored again."""
        self.log._space.problem = lambda: problem

    def known(self, shop: str) -> int:
        near = self.platform.near.nears["tests"].get[clicks.space]
        return int(near(shop.encode()).count)

    def metric(self, name: str) -> float:
        families = {family.name: family for family in self.platform.registry.collect()}
        [sample] = families[name].samples
        assert sample.labels == {"projection": clicks.name}
        return float(sample.value)

    def begin(self) -> None:
        """As a start does: what the log holds now, the copy is to have."""
        near = self.platform.near
        assert near._watch is not None
        near._watch.begin()
        near._nears[clicks.name]._vouched_until = 0.0

    @property
    def waiting(self) -> int:
        return self.platform.near._nears[clicks.name].waiting

    def close(self) -> None:
        self.platform.close()
        self.runner.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_of_hundreds_at_once_as_many_get_in_as_there_is_room_for(bench: Bench) -> None:
    async def work() -> Counter[int]:
        return await bench.many(*(bench.ask("/click", b"a") for _ in range(4 * CAP)))

    assert bench.on(work) == {204: CAP, 429: 3 * CAP}
    assert bench.stored == {"a": CAP}


def test_nobody_gets_beyond_a_cap_whatever_could_not_be_stored_between(bench: Bench) -> None:
    """Reliability 4: what failed gives its room back, and no more than that."""

    async def work() -> Counter[int]:
        told: Counter[int] = Counter()
        for turn in range(8):
            bench.fail("the disk is full" if turn % 2 else "")
            packed = gzip.compress(b"a\na\n")
            asking = [bench.ask("/click", b"a x") for _ in range(4)]
            asking += [bench.ask("/click", packed, "Content-Encoding: gzip") for _ in range(2)]
            asking += [bench.ask("/click", b"b"), bench.ask("/note", b"b")]
            told += await bench.many(*asking)
        bench.fail("")
        while 429 not in await bench.many(*(bench.ask("/click", b"a") for _ in range(20))):
            pass
        return told

    told = bench.on(work)
    assert told[503] == 4 * 8
    assert bench.stored["a"] == CAP
    assert bench.stored["b"] == 2 * 4
    bench.on(lambda: until(lambda: not bench.waiting))
    assert (bench.known("a"), bench.known("b")) == (CAP, 2 * 4)


def test_what_is_not_heard_yet_counts_and_counts_once(bench: Bench) -> None:
    consumer = bench.platform.consumers[clicks.name]

    async def work() -> None:
        with consumer.paused():
            assert await bench.many(*(bench.ask("/click", b"a") for _ in range(30))) == {204: 30}
            assert await bench.many(*(bench.ask("/note", b"a") for _ in range(5))) == {204: 5}
            assert (bench.known("a"), bench.waiting) == (35, 35)
        await until(lambda: not bench.waiting)
        assert bench.known("a") == 35

    bench.on(work)


def test_a_repeat_under_its_key_takes_no_room(bench: Bench) -> None:
    async def work() -> Counter[int]:
        repeats = [bench.ask("/click", b"a", "Idempotency-Key: k") for _ in range(20)]
        told = await bench.many(*repeats)
        return told + await bench.many(*(bench.ask("/click", b"a") for _ in range(CAP)))

    assert bench.on(work) == {204: 20 + CAP - 1, 429: 1}
    assert bench.stored == {"a": CAP}


def test_what_is_answered_first_and_lost_gives_its_room_back(bench: Bench) -> None:
    async def work() -> None:
        bench.fail("the disk is full")
        assert await bench.many(*(bench.ask("/first", b"a") for _ in range(10))) == {204: 10}
        await until(lambda: not bench.waiting)
        bench.fail("")
        assert await bench.ask("/note", b"b") == 204, "the log has recovered"
        assert await bench.many(*(bench.ask("/first", b"a") for _ in range(CAP + 1))) == {
            204: CAP,
            429: 1,
        }
        await until(lambda: bench.stored == {"a": CAP, "b": 1})

    bench.on(work)


def test_who_asks_while_a_dear_body_is_judged_is_judged_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two who look at once would both find room."""
    looked, go_on, get = threading.Event(), threading.Event(), Near.get

    def held(near: Near[Any, Any], key: bytes) -> Any:
        found = get(near, key)
        if threading.current_thread() is not threading.main_thread():
            looked.set()
            assert go_on.wait(60)
        return found

    monkeypatch.setattr(Near, "get", held)
    bench = Bench(tmp_path)

    async def work() -> tuple[int, int, int]:
        dear = asyncio.create_task(bench.ask("/click", b"a\n" * CAP + b"\n" * 300))
        await until(looked.is_set)
        asks = asyncio.create_task(bench.ask("/click", b"a"))
        other = await bench.ask("/note", b"b")
        go_on.set()
        return await dear, await asks, other

    try:
        assert bench.on(work) == (204, 429, 204)
        assert bench.stored == {"a": CAP, "b": 1}
    finally:
        bench.close()


def test_what_was_judged_elsewhere_is_known_and_who_asks_is_judged_here(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    worker = Worker("from support.capped import judges; judges()", None, Lines().logger)
    bench.platform.edge._judge = worker

    async def work() -> tuple[int, int, bool]:
        coded = (gzip.compress(b"a"), "Content-Encoding: gzip")
        noted = await bench.ask("/note", *coded)
        is_elsewhere = worker.pid > 0
        return noted, await bench.ask("/click", *coded), is_elsewhere

    with bench.platform.consumers[clicks.name].paused():
        assert bench.on(work) == (204, 204, True)
        assert bench.known("a") == 2


def test_what_a_route_says_is_known_at_once_and_no_longer_after_a_reset(tmp_path: Path) -> None:
    bench = Bench(tmp_path, roles=("edge", "api", "work"))
    try:
        with bench.platform.consumers[clicks.name].paused():
            asking = [bench.ask("/visit", b"a") for _ in range(3)]
            assert bench.on(lambda: bench.many(*asking)) == {204: 3}
            assert bench.known("a") == 3
        reset(bench.platform)
        bench.on(lambda: until(lambda: not bench.platform.near.problem(clicks.name)))
        assert (bench.known("a"), bench.waiting) == (0, 0)
    finally:
        bench.close()


def test_who_does_not_say_what_is_asked_is_told_so(bench: Bench) -> None:
    assert bench.on(lambda: bench.ask("/curious", b"a")) == 500


def test_nobody_is_answered_by_what_is_not_to_be_believed(bench: Bench) -> None:
    async def work() -> None:
        assert await bench.ask("/click", b"a") == 204
        bench.platform.consumers[clicks.name].judge("somebody took its entries")
        async with asyncio.timeout(60):
            while await bench.ask("/click", b"a") != 503:
                pass
        assert await bench.ask("/note", b"a") == 204

    bench.on(work)


@pytest.mark.parametrize("again", ["with its copy", "without it"])
def test_an_edge_apart_keeps_a_copy_of_its_own(tmp_path: Path, again: str) -> None:
    """And knows what it knows whether or not whoever has the state is there. Reliability 7."""
    first = Bench(tmp_path, roles=("edge",))
    work = Bench(tmp_path, roles=("work",))
    told = first.on(lambda: first.many(*(first.ask("/click", b"a") for _ in range(CAP - 5))))
    state, carried = work.platform.require_stores().state, work.platform.consumers[clicks.name]
    first.on(lambda: until(lambda: carried.cursors[0].position == CAP - 5))
    assert clicks.read(state.get_many(clicks.space, [b"a"])[0] or b"") == Clicks(CAP - 5)
    work.close()
    told += first.on(lambda: first.many(*(first.ask("/click", b"a") for _ in range(10))))
    assert told == {204: CAP, 429: 5}
    first.close()
    if again == "without it":
        (tmp_path / "near").rename(tmp_path / "away")
    second = Bench(tmp_path, roles=("edge",))
    try:
        assert second.known("a") == CAP
        assert second.on(lambda: second.ask("/click", b"a")) == 429
        assert second.platform.near.problem(clicks.name) == ""
        assert second.platform.near.bytes_on_disk() > 0
    finally:
        second.close()


@pytest.mark.parametrize("change", ["another version", "another log"])
def test_a_copy_of_what_is_no_more_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Reliability 45."""
    first = Bench(tmp_path, roles=("edge",))
    first.on(lambda: first.many(*(first.ask("/click", b"a") for _ in range(5))))
    first.on(lambda: until(lambda: not first.waiting))
    first.close()
    if change == "another log":
        for file in tmp_path.glob("log.db*"):
            file.unlink()
    else:
        monkeypatch.setattr(capped, "manifest", capped.offered(replace(clicks, version=2)))
    second = Bench(tmp_path, roles=("edge",))
    try:
        assert second.known("a") == (0 if change == "another log" else 5)
    finally:
        second.close()


def test_a_copy_that_is_far_behind_is_told_as_a_warning_and_before_it_has_caught_up_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearing, "_LAGS_SECONDS", -1.0)
    bench = Bench(tmp_path, roles=("edge",))
    try:
        consumer = bench.platform.near._copies[clicks.name]
        with consumer.paused():
            bench.on(lambda: bench.ask("/click", b"a"))
            assert "1 records" in dict(bench.platform.near.warnings())[f"near {clicks.name}"]
            assert bench.metric("penstock_near_waiting_events") == 1
            assert bench.metric("penstock_near_lag_seconds") >= 0
            assert bench.platform.near.problem(clicks.name) == ""
            bench.begin()
            assert "0 of 1 records" in bench.platform.near.problem(clicks.name)
            assert bench.on(lambda: bench.ask("/click", b"a")) == 503
        bench.on(lambda: until(lambda: not bench.platform.near.problem(clicks.name)))
        assert bench.on(lambda: bench.ask("/click", b"a")) == 204
    finally:
        bench.close()


def test_edges_on_kafka_know_what_the_others_let_in(tmp_path: Path, kafka: Kafka) -> None:
    """Over all partitions, in no consumer group, and each with a copy of its own."""
    topic = replace(CLICKED, name=new_topic(kafka_settings(kafka, tmp_path, kafka_partitions=3)))
    manifest = capped.offered(replace(clicks, topic=topic))
    shops = [b"%d" % n for n in range(6)]
    with ExitStack() as opened:
        one, other = (
            Bench(tmp_path / name, roles, manifest, log=kafka.url, kafka_partitions=3)
            for name, roles in (("one", ("edge",)), ("other", ("edge", "work")))
        )
        for bench in (one, other):
            opened.callback(bench.close)
            assert bench.platform.near.copies
        for shop in shops:
            told = one.on(partial(clicking, one, shop))
            assert told == {204: CAP, 429: 5}
        other.on(lambda: until(lambda: all(other.known(s.decode()) == CAP for s in shops)))
        assert other.on(partial(clicking, other, shops[0])) == {429: CAP + 5}
        one.on(lambda: until(lambda: not one.waiting))
        assert one.known("0") == CAP


async def clicking(bench: Bench, shop: bytes) -> Counter[int]:
    return await bench.many(*(bench.ask("/click", shop) for _ in range(CAP + 5)))
