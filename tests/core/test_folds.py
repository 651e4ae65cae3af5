"""Folds: the state of each key, and what is decided on it, once, however often it is tried."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import reduce
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Disproved, NotReady
from penstock.core.projection import Fold, Record, Step, Topic
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import sink
from penstock.core.projects import DEFAULT_PROJECT, key_of
from penstock.core.watch import Watch
from support.folded import Bench
from support.logs import ANSWER_SECONDS, add, contents, wait_until
from support.notes import Crash
from support.purses import TRICKS, Decided, Emptied, Moved, Purse, purses, renamed, step
from support.records import records

POT = "pot"
_names = count()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with closing(Bench(tmp_path_factory.mktemp("folds"))) as opened:
        yield opened


@pytest.fixture
def fold() -> Fold[Moved, Purse]:
    return another()


def another() -> Fold[Moved, Purse]:
    return renamed(f"f{next(_names)}")


def oracle(moves: Sequence[Moved]) -> tuple[dict[str, Purse], list[list[object]]]:
    """The plain fold that it is to be: `reduce` over the records of each key."""
    decided: list[object] = []

    def after(states: dict[str, Purse], record: Record[Moved]) -> dict[str, Purse]:
        event = record.event
        if event.trick:
            return states
        made = step(states.get(event.purse, Purse()), record)
        decided.extend(made.events)
        rest = {name: purse for name, purse in states.items() if name != event.purse}
        if made.state is None:
            return rest
        return {**rest, event.purse: msgspec.convert(msgspec.to_builtins(made.state), Purse)}

    states = reduce(after, records(moves, range(len(moves))), dict[str, Purse]())
    kinds = (Decided, Emptied)
    return states, [[event for event in decided if isinstance(event, kind)] for kind in kinds]


MOVES = st.lists(
    st.builds(
        Moved,
        st.sampled_from("abc"),
        st.integers(-3, 3),
        st.sampled_from(["", "", "", "", "raise", "spoil", "stray", "bad"]),
    ),
    max_size=30,
)
STOPS = st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", "before", "after"])), max_size=6)


@given(moves=MOVES, stops=STOPS)
def test_a_fold_is_a_reduce_over_its_records_however_it_is_cut_and_killed(
    bench: Bench, moves: list[Moved], stops: list[tuple[int, str]]
) -> None:
    """Killed between append and apply, and behind apply, with blocks of other sizes each time."""
    fold = another()
    if moves:
        bench.say(fold, *moves)
    for block, at in stops:
        bench.state.at = at
        with suppress(Crash):
            bench.carry(fold, block, blocks=1)
        bench.state.at = ""
    bench.carry(fold)
    states, said = oracle(moves)
    assert bench.known(fold) == states
    assert bench.said(fold) == said
    tricked = [n for n, move in enumerate(moves) if move.trick]
    letters = bench.stores.dead_letters.letters(fold.name)
    assert [(letter.offset, letter.code) for letter in letters] == [(n, "rows") for n in tricked]


@pytest.mark.parametrize("trick", TRICKS)
def test_a_step_that_may_not_is_a_dead_letter_and_changes_nothing(
    bench: Bench, fold: Fold[Moved, Purse], trick: str
) -> None:
    moves = [Moved(POT, 5), Moved(POT, 5, trick), Moved(POT, -2)]
    bench.say(fold, *moves)
    cursor = bench.carry(fold)
    assert (bench.known(fold), bench.said(fold)) == oracle(moves)
    assert cursor.counts == (2, 0, 1)
    [letter] = bench.stores.dead_letters.letters(fold.name)
    assert (letter.offset, letter.code) == (1, "rows")
    assert re.search(r"\w+: .* \(\w+/\w+\.py:\d+\)$", letter.reason), "what, and where"
    assert bench.lines.named("projection.dead_lettered")[-1]["reason"] == letter.reason


@pytest.mark.parametrize("name", ["", "x" * 65_535])
def test_a_key_that_cannot_be_kept_is_a_dead_letter(
    bench: Bench, fold: Fold[Moved, Purse], name: str
) -> None:
    bench.say(fold, Moved(name, 1), Moved(POT, 1))
    assert bench.carry(fold).counts == (1, 0, 1)
    assert list(bench.known(fold)) == [POT]


def test_two_that_believe_a_partition_is_theirs_say_everything_once(
    bench: Bench, fold: Fold[Moved, Purse]
) -> None:
    """The state refuses the second, and the log what it says."""
    moves = [Moved(POT, 9), *[Moved(POT, -1)] * 5]
    bench.say(fold, *moves)
    one, two = bench.cursor(fold), bench.cursor(fold)
    with closing(bench.log.reader()) as reader:
        one.resume(reader)
        two.resume(reader)
        one.step(reader, 3)
        with pytest.raises(Exception, match="is at"):
            two.step(reader, 6)
        two.resume(reader)
        two.step(reader, 6)
    assert (bench.known(fold), bench.said(fold)) == oracle(moves)


def test_a_log_that_takes_nothing_moves_no_state(
    bench: Bench, fold: Fold[Moved, Purse], monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = [Moved(POT, 2), Moved(POT, -1)]
    bench.say(fold, *moves)

    def full(*_: object) -> None:
        raise NotReady("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(bench.log, "submit", full)
        with pytest.raises(NotReady):
            bench.carry(fold)
    assert bench.known(fold) == {}
    bench.carry(fold)
    assert (bench.known(fold), bench.said(fold)) == oracle(moves)


def test_a_step_that_does_not_end_is_named(bench: Bench, fold: Fold[Moved, Purse]) -> None:
    gate = threading.Event()

    def waiting(was: Purse, record: Record[Moved]) -> Step[Purse]:
        assert gate.wait(ANSWER_SECONDS)
        return step(was, record)

    slow = replace(fold, step=waiting)
    inner = FoldSink(slow, bench.stores)
    consumer = Consumer(slow, inner, bench.log, bench.clock, bench.lines.logger)
    watch = Watch(
        {slow.name: consumer}, bench.log, None, clock=bench.clock, logger=bench.lines.logger
    )
    bench.say(slow, Moved(POT, 1))
    consumer.start()
    try:
        wait_until(lambda: inner.stepping == 0)
        watch._look()
        assert consumer.hangs() == ""
        bench.clock.seconds += 11
        watch._look()
        assert "record 0/0" in watch.problem(slow.name)
        gate.set()
        wait_until(lambda: consumer.cursors[0].held == 1)
        watch._look()
        assert watch.problem(slow.name) == ""
    finally:
        gate.set()
        consumer.stop()


# -- retried and rebuilt ------------------------------------------------------------------------


def heard(record: Record[Moved], event: Moved) -> Record[Moved]:
    return msgspec.structs.replace(record, event=event)


@pytest.mark.parametrize("at", ["", "before", "after"])
def test_a_dead_letter_that_is_retried_is_stepped_once_whenever_that_is_killed(
    bench: Bench, fold: Fold[Moved, Purse], at: str
) -> None:
    bench.say(fold, Moved(POT, 5), Moved(POT, -2, "raise"), Moved(POT, 5))
    bench.carry(fold)
    [letter] = bench.stores.dead_letters.letters(fold.name)
    mended = replace(fold, step=lambda was, r: step(was, heard(r, Moved(POT, r.event.cents))))
    identity = bench.log.identity(fold.topic.name)
    bench.state.at = at
    with suppress(Crash):
        sink(mended, bench.stores).retry(identity, letter)
    for again in bench.stores.dead_letters.letters(
        fold.name
    ):  # as an operator does who sees it there
        sink(mended, bench.stores).retry(identity, again)
    assert bench.known(fold)[POT].cents == 8
    assert bench.said(fold) == [[Decided(POT, 1, 8, taken=True)], []]
    assert bench.stores.dead_letters.letters(fold.name) == []


def test_projects_have_states_of_their_own_and_what_is_said_is_of_them(
    bench: Bench, fold: Fold[Moved, Purse]
) -> None:
    codec, decisions = fold.topic.codec(), fold.emits[0].codec()
    projects = ["acme", DEFAULT_PROJECT, "acme", DEFAULT_PROJECT, "other"]
    moves = [codec.of(of)(Moved(POT, -3 if n > 1 else 5)) for n, of in enumerate(projects)]
    add(bench.log, *moves, topic=fold.topic.name)
    bench.carry(fold, block=2)
    assert [
        [decisions.read(payload) for payload in contents(bench.log, topic.name)]
        for topic in fold.emits
    ] == [
        [
            ("acme", Decided(POT, 2, 2, taken=True)),
            (DEFAULT_PROJECT, Decided(POT, 3, 2, taken=True)),
            ("other", Decided(POT, 4, 0, taken=False)),
        ],
        [],
    ]
    values = bench.state.get_many(fold.space, [key_of(of, POT.encode()) for of in projects])
    assert [fold.read(value).records for value in values] == [2, 2, 2, 2, 1]
    rebuilt = bench.rebuild(fold)
    assert (rebuilt.differences, rebuilt.swapped) == ([], True)


def test_a_rebuild_says_nothing_and_compares_equal(bench: Bench, fold: Fold[Moved, Purse]) -> None:
    moves = [Moved("abc"[n % 3], 4 - n % 9) for n in range(60)]
    bench.say(fold, *moves)
    bench.carry(fold)
    rebuilt = bench.rebuild(fold)
    assert (rebuilt.differences, rebuilt.lost, rebuilt.swapped) == ([], [], True)
    assert (bench.known(fold), bench.said(fold)) == oracle(moves)


def test_a_rebuild_names_a_key_that_differs(bench: Bench, fold: Fold[Moved, Purse]) -> None:
    bench.say(fold, Moved("a", 1), Moved("b", 1))
    bench.carry(fold)
    richer = replace(fold, step=lambda was, r: step(was, heard(r, Moved(r.event.purse, 2))))
    [difference] = bench.rebuild(replace(richer, emits=fold.emits), swap=False).differences[:1]
    assert "'a'" in difference


def test_a_rebuild_names_the_first_event_that_differs(
    bench: Bench, fold: Fold[Moved, Purse]
) -> None:
    """Also where the states are equal: another event, one that is not said any more, and one that
    was not said.
    """
    bench.say(fold, Moved("a", 5), Moved("a", -1), Moved("a", -2), Moved("a", -2))
    bench.carry(fold)

    def saying(change: Callable[[Any], Sequence[Any]]) -> list[str]:
        def stepped(was: Purse, record: Record[Moved]) -> Step[Purse]:
            made = step(was, record)
            return made._replace(events=[kept for event in made.events for kept in change(event)])

        differences: list[str] = bench.rebuild(replace(fold, step=stepped), swap=False).differences
        return differences

    decisions = fold.emits[0].name
    assert saying(lambda event: [event]) == []
    [other] = saying(lambda e: [msgspec.structs.replace(e, left=9) if e.number == 2 else e]
                     if isinstance(e, Decided) else [e])  # fmt: skip
    assert other.startswith(f"{decisions}/1 is Decided")
    assert "rebuilt record 0/2 says Decided" in other
    [fewer] = saying(lambda e: [e] if e.number != 3 or not isinstance(e, Decided) else [])
    assert fewer.startswith(f"{decisions}/2 is Decided")
    assert fewer.endswith("which nothing says rebuilt")
    [more] = saying(lambda e: [e, e] if e.number == 3 and isinstance(e, Decided) else [e])
    assert more.startswith(f"{decisions} lacks what rebuilt record 0/3 says")


def test_what_was_lost_with_the_state_is_said_by_who_makes_it_again(
    bench: Bench, fold: Fold[Moved, Purse]
) -> None:
    """From scratch it says what the log lacks, and nothing that it has."""
    moves = [Moved(POT, 9), *[Moved(POT, -1)] * 6]
    bench.say(fold, *moves[:4])
    bench.carry(fold)
    bench.say(fold, *moves[4:])
    bench.state.drop(fold.space)
    assert bench.rebuild(fold, compare=False).swapped
    assert (bench.known(fold), bench.said(fold)) == oracle(moves)


def test_states_of_another_form_or_version_stop_it_and_name_the_rebuild(
    bench: Bench, fold: Fold[Moved, Purse]
) -> None:
    class Other(msgspec.Struct, frozen=True):
        cents: str = ""

    bench.say(fold, Moved(POT, 1))
    bench.carry(fold)
    with pytest.raises(Disproved, match=f"penstock rebuild {fold.space} --from-scratch"):
        bench.carry(replace(fold, version=2))
    bench.say(fold, Moved(POT, 1))
    form: Any = Other
    changed = replace(fold, state=form)
    with pytest.raises(Disproved, match=f"penstock rebuild {fold.space} --from-scratch"):
        bench.carry(changed)


# -- what cannot work ---------------------------------------------------------------------------


class Thawed(msgspec.Struct):
    cents: int = 0


class Needy(msgspec.Struct, frozen=True):
    cents: int


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"topic": Topic("tests.loose", (Moved,))}, "has none"),
        ({"state": Thawed}, "frozen=True"),
        ({"state": Needy}, "give cents a default"),
        ({"emits": (purses.emits[0], replace(purses.emits[0], name="tests.b"))}, "more than one"),
    ],
)
def test_a_fold_that_cannot_work_is_refused_when_it_is_made(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        replace(purses, **change)


@pytest.mark.parametrize("muted", [True, False])
def test_over_a_copy_of_a_log_a_fold_says_nothing_again_if_it_is_told_so(
    bench: Bench, fold: Fold[Moved, Purse], *, muted: bool
) -> None:
    """A copy does not know what its records were made from."""
    bench.say(fold, Moved("a", 5), Moved("a", -2))
    bench.carry(fold)
    said = bench.said(fold)
    other = replace(fold, space=f"{fold.space}.copied")
    bench.rebuild(other, compare=False, muted=muted)
    assert bench.known(other) == bench.known(fold)
    assert (bench.said(fold) == said) is muted
