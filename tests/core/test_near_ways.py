"""What a near fold knows, whichever way and in whatever order it comes to hear of it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.core.edge.knowing import Knowledge
from penstock.core.errors import NotReady
from penstock.core.projection import Fold, near
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.near import Near
from penstock.core.projection.runner import Consumer
from penstock.core.projection.stores import Stores
from penstock.core.state.rocksdb import RocksState
from support.alarms import Set, Timed, fold
from support.capped import CLICKED, Clicked, Clicks, clicks, offered
from support.folded import Bench
from support.logs import add, wait_until

KEYS = ("a", "b")


class Edge:
    """A fold of its own topic and space, near; a cursor that is moved by hand, and what was said
    and is neither stored nor given up.
    """

    number = 0

    def __init__(self, bench: Bench, **of_topic: Any) -> None:
        Edge.number += 1
        topic = replace(CLICKED, name=f"tests.clicked{self.number}", **of_topic)
        self.fold: Fold[Any, Any] = replace(clicks, topic=topic, space=f"tests.clicks{self.number}")
        self.bench = bench
        self.cursor: Cursor = bench.cursor(self.fold)
        assert isinstance(self.cursor.sink, FoldSink)
        self.near: Near[Clicked, Clicks] = Near(
            self.fold,
            bench.state,
            bench.stores.codec,
            bench.clock,
            reader=bench.log.reader,
            vouch=lambda: None,
            ends=lambda: [bench.log.end(topic.name, 0)],
            repeats=self.cursor.sink.repeats,
        )
        self.cursor.sink.near = self.near
        self.encode = topic.codec().encode
        self.gathered: list[bytes] = []
        self.stored: list[bytes] = []
        """All there is in the log, in order."""
        self.resume()

    def take(self, event: Clicked) -> None:
        payload = self.encode(event)
        self.near.take(payload)
        self.gathered.append(payload)

    def store(self) -> None:
        self.add(*self.gathered)
        self.near.keep(len(self.gathered))
        self.gathered = []

    def fail(self) -> None:
        for payload in self.gathered:
            self.near.drop(payload)
        self.gathered = []

    def add(self, *payloads: bytes) -> None:
        """Whoever it is."""
        if payloads:
            add(self.bench.log, *payloads, topic=self.fold.topic.name)
            self.stored += payloads

    def resume(self) -> None:
        with closing(self.bench.log.reader()) as reader:
            self.cursor.resume(reader)

    def hear(self, records: int) -> None:
        with closing(self.bench.log.reader()) as reader:
            self.cursor.step(reader, records)

    def rebuild(self) -> None:
        """By somebody who has heard everything, while this cursor stood still."""
        swapped = replace(self.fold, space=f"{self.fold.space}.shadow")
        self.bench.carry(swapped)
        self.bench.state.swap(swapped.space, self.fold.space)
        self.resume()

    def is_own(self, payload: bytes) -> bool:
        return self.fold.topic.codec().decode(payload).by not in ("u", "v")

    def known(self) -> list[Clicks]:
        return [self.get(key) for key in KEYS]

    def get(self, key: str) -> Clicks:
        return self.near.get(key.encode())

    def expected(self, payloads: list[bytes]) -> list[Clicks]:
        """What comes of them for each key, without anything of the platform's."""
        found, decode = dict.fromkeys(KEYS, Clicks()), self.fold.topic.codec().decode
        for event in map(decode, payloads):
            was = found[event.shop]
            if event.by == "forget":
                found[event.shop] = Clicks()
            elif event.by != "poison":
                found[event.shop] = Clicks(was.count + 1, event.by)
        return [*found.values()]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("near"))
    yield made
    made.close()


ours = st.builds(Clicked, st.sampled_from(KEYS), st.sampled_from(["x", "poison", "forget"]))
others = st.builds(Clicked, st.sampled_from(KEYS), st.sampled_from(["u", "v"]))
doings = st.one_of(
    st.tuples(st.just("take"), ours),
    st.tuples(st.just("other"), others),
    st.tuples(st.just("hear"), st.integers(1, 4)),
    st.tuples(st.just("store"), st.none()),
    st.tuples(st.just("fail"), st.none()),
    st.tuples(st.sampled_from(["resume", "rebuild"]), st.none()),
)
OURS, THEIRS = ("take", Clicked("a", "x")), ("other", Clicked("a", "u"))
STORE, HEAR, REBUILD, RESUME = (
    (what, 4 if what == "hear" else None) for what in ("store", "hear", "rebuild", "resume")
)


@settings(max_examples=15, deadline=None)
@given(done=st.lists(doings, min_size=10, max_size=20))
@example(done=[OURS, STORE, REBUILD])
@example(done=[OURS, STORE, OURS, REBUILD, OURS, STORE, HEAR])
@example(done=[OURS, THEIRS, OURS, REBUILD, STORE, RESUME])
@example(done=[OURS, STORE, THEIRS, OURS, HEAR, OURS, ("take", Clicked("a", "poison")), STORE])
@example(done=[OURS, OURS, STORE, OURS, ("hear", 1), ("fail", None), ("hear", 1)])
def test_it_knows_what_was_heard_and_behind_it_what_was_said_here(
    bench: Bench, done: list[tuple[str, Any]]
) -> None:
    """Whatever fails, whoever else says something, and whoever rebuilds what is known."""
    edge = Edge(bench)
    for what, given_event in done:
        if what == "take":
            edge.take(given_event)
        elif what == "other":
            edge.add(edge.encode(given_event))
        elif what == "hear":
            edge.hear(given_event)
        else:
            getattr(edge, what)()
        heard, unheard = edge.stored[: edge.cursor.position], edge.stored[edge.cursor.position :]
        own = [payload for payload in unheard if edge.is_own(payload)] + edge.gathered
        assert edge.near.waiting == len(own)
        assert edge.known() == edge.expected(heard + own)
    edge.store()
    edge.hear(1_000)
    assert (edge.near.waiting, edge.known()) == (0, edge.expected(edge.stored))


def test_between_the_cursor_s_write_and_its_word_nothing_counts_twice_or_not_at_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge, seen = Edge(bench), list[list[int]]()
    edge.take(Clicked("a", "x"))
    edge.store()
    edge.add(edge.encode(Clicked("b", "u")))
    heard = edge.near.heard

    def told(*given: Any) -> None:
        seen.append([clicks.count for clicks in edge.known()])
        for key in KEYS:
            edge.take(Clicked(key, "x"))
        seen.append([clicks.count for clicks in edge.known()])
        heard(*given)

    with monkeypatch.context() as patch:
        patch.setattr(edge.near, "heard", told)
        edge.hear(10)
    seen.append([clicks.count for clicks in edge.known()])
    edge.store()
    edge.hear(10)
    seen.append([clicks.count for clicks in edge.known()])
    assert seen == [[1, 1], [2, 2], [2, 2], [2, 2]]


@pytest.mark.parametrize("fails", [True, False])
def test_what_somebody_else_said_alike_may_be_heard_in_its_place(bench: Bench, fails: bool) -> None:
    edge = Edge(bench)
    event = Clicked("a", "x")
    edge.take(event)
    edge.add(edge.encode(event))
    assert edge.get("a").count == 1, "the other one is not heard yet"
    edge.hear(1)
    assert edge.get("a").count == 1, "one of both is"
    (edge.fail if fails else edge.store)()
    edge.hear(10)
    assert (edge.get("a").count, edge.near.waiting) == (1 if fails else 2, 0)


def test_a_copy_hears_of_timers_that_came_and_sets_none_off(tmp_path: Path) -> None:
    """They are events of the topic; what the copy says itself is in the log already."""
    with closing(Timed(tmp_path)) as timed:
        kept = fold()
        timed.say(kept, Set("a", "x", 5), Set("b", "y", 50))
        owner = timed.settle(timed.owner(kept))
        timed.clock.ms += 20
        timed.settle(owner)
        assert timed.rung(kept) == [("x", 5)]
        said = len(timed.elapsed(kept))
        copy = Stores(None, RocksState(tmp_path / "near"), timed.stores.dead_letters, timed.clock)
        with closing(copy.state):
            muted = FoldSink(kept, copy)
            muted.muted = True
            consumer = Consumer(kept, muted, timed.log, timed.clock, timed.lines.logger, whole=True)
            timed.clock.ms += 100
            consumer.start()
            wait_until(lambda: consumer.cursors[0].position == timed.log.end(kept.topic.name, 0))
            consumer.stop()
            both = ([*state.scan(kept.space)] for state in (copy.state, timed.state))
            assert next(both) == next(both)
        assert len(timed.elapsed(kept)) == said


def test_what_repeats_something_by_its_id_counts_once_wherever_that_is(bench: Bench) -> None:
    edge = Edge(bench, unique=lambda event: event.by.encode())
    first, again = Clicked("a", "x"), Clicked("a", "x", more="7")
    edge.take(first)
    edge.take(again)
    assert edge.get("a").count == 1, "the first one waits"
    edge.fail()
    edge.take(again)
    assert edge.get("a").count == 1, "it was not stored, so this one is the first"
    edge.store()
    edge.take(first)
    edge.hear(10)
    assert (edge.get("a").count, edge.near.waiting) == (1, 1), "that was heard while this waits"
    edge.store()
    edge.hear(10)
    edge.take(Clicked("a", "y"))
    assert edge.get("a").count == 2
    edge.take(again)
    assert edge.get("a").count == 2, "it was heard before"
    edge.store()
    edge.hear(10)
    assert (edge.get("a").count, edge.near.waiting) == (2, 0)


def test_a_store_that_fell_back_is_not_asked_before_it_is_where_it_was(bench: Bench) -> None:
    """Reliability 45."""
    edge = Edge(bench)
    edge.add(*[edge.encode(Clicked("a", "x"))] * 5)
    edge.hear(5)
    edge.bench.state.drop(edge.fold.space)
    edge.resume()
    for _ in range(5):
        with pytest.raises(NotReady, match="too much to hear yet"):
            edge.get("a")
        edge.hear(1)
    assert edge.get("a").count == 5


def test_what_waits_for_a_log_that_was_cleared_waits_no_longer(bench: Bench) -> None:
    edge = Edge(bench)
    edge.take(Clicked("a", "x"))
    edge.near.resumed("another/tests.clicked", 0, 0)
    assert (edge.get("a").count, edge.near.waiting) == (0, 0)


@pytest.mark.parametrize("ends", ["heard", "fails and nothing comes behind it"])
def test_of_more_than_can_wait_nothing_is_told_before_all_of_it_was_heard(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Reliability 7: a cursor that stands still takes neither memory nor rooms away."""
    monkeypatch.setattr(near, "WAITING_MAX", 10)
    edge = Edge(bench)
    for _ in range(25):
        edge.take(Clicked("a", "x"))
    assert edge.near.waiting <= 10
    if ends == "heard":
        edge.store()
    else:
        edge.add(edge.encode(Clicked("a", "u")))
        edge.fail()
    with pytest.raises(NotReady):
        edge.get("b")
    edge.hear(20)
    if ends == "heard":
        with pytest.raises(NotReady):
            edge.get("b")
    edge.hear(5)
    assert edge.known() == edge.expected(edge.stored)
    edge.take(Clicked("a", "x"))
    assert edge.get("a").count == len(edge.stored) + 1


def test_a_key_of_which_too_much_waits_is_not_told_and_others_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "KEY_WAITING_MAX", 3)
    edge = Edge(bench)
    for _ in range(4):
        edge.take(Clicked("a", "x"))
    with pytest.raises(NotReady):
        edge.get("a")
    assert edge.get("b").count == 0
    edge.store()
    edge.hear(1)
    assert edge.get("a").count == 4


@pytest.mark.parametrize("project", ["default", "theirs"])
def test_a_key_is_one_project_s(bench: Bench, project: str) -> None:
    edge = Edge(bench)
    edge.near.take(edge.fold.topic.codec().of(project)(Clicked("a", "x")))
    known: Knowledge[None, None] = Knowledge(None, None).asking({edge.fold.space: edge.near.get})
    told = {of: known.of(of).get(edge.fold, b"a").count for of in ("default", "theirs")}
    assert told == {"default": 0, "theirs": 0, project: 1}


@pytest.mark.parametrize(
    ("fold", "asked", "said"),
    [
        (replace(clicks, near=False), (clicks,), "declare it with near=True"),
        (clicks, (), "no operation asks tests.clicks: name it in the `near`"),
        (None, (clicks,), "asks tests.clicks, which is not offered"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_with_the_remedy(
    fold: Fold[Any, Any] | None, asked: tuple[Fold[Any, Any], ...], said: str
) -> None:
    made = offered(clicks)
    asked = tuple(fold or one for one in asked)
    with pytest.raises(ValueError, match=said):
        replace(
            made,
            ingest=(replace(made.ingest[0], near=asked),),
            projections=() if fold is None else (fold,),
        )
