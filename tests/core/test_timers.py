"""Timers: they come when the log's clock says so, once, whoever was killed meanwhile."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.clock import careful
from penstock.core.errors import NotReady
from penstock.core.log import Append, Origin
from penstock.core.log.awaiting import stored
from penstock.core.projection import Elapsed, Fold, Record
from penstock.core.projection.sinks import sink
from penstock.core.projection.stepping import Stepper
from penstock.core.projects import DEFAULT_PROJECT, key_of, own_key
from support.alarms import Heard, Set, Timed, fold, step
from support.folded import Failing
from support.logs import contents
from support.notes import Crash

YEAR_9999_MS = 253_402_300_799_000
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    with closing(Timed(tmp_path_factory.mktemp("timers"))) as opened:
        yield opened


def oracle(fold: Fold[Any, Heard], events: Sequence[Any]) -> tuple[dict[str, Heard], int]:
    """The plain fold over what is in the log, and how many timers were heard that nobody waits for.

    It knows what waits by name alone: the log has no timer twice.
    """
    states: dict[str, Heard] = {}
    waiting: dict[tuple[str, str], int] = {}
    stale = 0
    for number, event in enumerate(events):
        key = event.key.decode() if isinstance(event, Elapsed) else event.key
        place = (key, event.name)
        if isinstance(event, Elapsed):
            if waiting.get(place) != event.at_ms:
                stale += 1
                continue
            del waiting[place]
        elif event.at_ms is None:
            waiting.pop(place, None)
        elif event.keep == "latest" or event.at_ms < waiting.get(place, event.at_ms + 1):
            waiting[place] = event.at_ms
        if (
            state := step(states.get(key, Heard()), Record(number, DEFAULT_PROJECT, 0, event)).state
        ) is None:
            states.pop(key, None)
        else:
            states[key] = msgspec.convert(msgspec.to_builtins(state), Heard)
    assert not waiting, "everything has come"
    return states, stale


SETS = st.builds(
    Set,
    st.sampled_from("ab"),
    st.sampled_from("xyz"),
    st.one_of(st.none(), st.integers(-5, 60)),
    st.sampled_from(["latest", "latest", "earliest"]),
    st.sampled_from(["", "", "", "forget"]),
)
ACTS = st.lists(
    st.one_of(
        st.lists(SETS, min_size=1, max_size=4),
        st.integers(1, 30),
        st.tuples(st.sampled_from(["before", "after", ""]), st.integers(1, 3)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(acts=ACTS)
def test_every_timer_comes_once_whoever_is_killed_and_whoever_owns_it(
    bench: Timed, acts: list[Any]
) -> None:
    """Two that both believe it is theirs take turns, each killed between append and apply."""
    folding = fold()
    origin_ms = bench.clock.ms
    owners = [bench.owner(folding), bench.owner(folding)]
    for number, act in enumerate(acts):
        match act:
            case int():
                bench.clock.ms += act
            case (str(at), int(most)):
                bench.state.at = at
                with suppress(Crash):
                    bench.settle(owners[number % 2], most)
                if at and not bench.state.at:
                    owners[number % 2] = bench.owner(folding)
                bench.state.at = ""
            case sets:
                # What is said anew is known by when it was said, by the log's own clock, which
                # believes no year that another test has leapt over, but does what passes.
                bench.clock.ms += 2
                bench.clock.seconds += 0.002
                at_ms = [None if s.at_ms is None else origin_ms + s.at_ms for s in sets]
                made = [
                    Set(s.key, s.name, ms, s.keep, s.trick)
                    for s, ms in zip(sets, at_ms, strict=True)
                ]
                bench.say(folding, *made)
    bench.settle(owners[0])
    bench.clock.ms = origin_ms + 1_000
    bench.clock.seconds += 60
    last = bench.settle(bench.owner(folding))
    assert (last.state, last.last_error) == ("running", "")
    states, _ = oracle(folding, bench.events(folding.topic))
    assert bench.known(folding) == states
    said = Counter((one.key, one.name, one.wanted_ms) for one in bench.elapsed(folding))
    assert set(said.values()) <= {1}
    assert [entry for entry in bench.state.scan(folding.space) if entry.sort[:1] == b"t"] == []
    assert bench.rebuild(folding, swap=False).differences == []


def test_one_that_was_taken_back_and_set_again_at_once_is_another_one(bench: Timed) -> None:
    """What was said of the former is on its way."""
    folding, now = fold(), bench.clock.ms
    bench.say(folding, Set("a", "x", 1))
    cursor = bench.owner(folding)
    with closing(bench.log.reader()) as reader:
        while not bench.elapsed(folding):
            cursor.advance(reader)
    bench.say(folding, Set("a", "x", None), Set("a", "x", 2))
    assert bench.clock.ms == now
    bench.settle(cursor)
    assert [at_ms for _, at_ms in bench.rung(folding)] in ([2], [1, 2])


def test_a_timer_in_the_past_comes_at_once_and_the_year_9999_waits(bench: Timed) -> None:
    folding = fold()
    bench.say(folding, Set("a", "old", 7), Set("a", "older", -1), Set("a", "far", YEAR_9999_MS))
    cursor = bench.settle(bench.owner(folding))
    assert bench.rung(folding) == [("older", 0), ("old", 7)]
    bench.clock.pass_hours(24 * 365)
    bench.settle(cursor)
    assert len(bench.elapsed(folding)) == 2


def test_it_is_told_when_the_next_one_comes_and_no_sooner(bench: Timed) -> None:
    folding = fold()
    bench.say(folding, Set("a", "x", bench.clock.ms + 300), Set("a", "y", bench.clock.ms + 400))
    cursor = bench.settle(bench.owner(folding))
    assert cursor.due(0.0) == pytest.approx(0.3)
    bench.clock.ms += 299
    assert cursor.due(0.0) == pytest.approx(0.001)
    bench.clock.ms += 1
    assert [name for name, _ in bench.rung(folding)] == []
    bench.settle(cursor)
    assert [name for name, _ in bench.rung(folding)] == ["x"]


@pytest.mark.parametrize("hours", [24 * 365, -1])
def test_no_step_of_the_clock_brings_a_timer_too_early(bench: Timed, hours: float) -> None:
    """Reliability 37. Ahead by a year: nothing comes. Back by an hour: it comes when the log's own
    clock says so, and at once when it is right again.
    """
    folding, was = fold(), bench.clock
    clock = careful(was)
    bench.say(folding, Set("a", "x", was.ms + HOUR_MS // 2))
    cursor = bench.owner(folding)
    cursor._clock = clock
    bench.settle(cursor)
    was.step_hours(hours)
    bench.settle(cursor)
    assert bench.rung(folding) == []
    if hours < 0:
        was.pass_hours(0.6)
        bench.settle(cursor)
        assert bench.rung(folding) == []
        was.step_hours(-hours)
    else:
        was.pass_hours(0.6)
    bench.settle(cursor)
    assert [name for name, _ in bench.rung(folding)] == ["x"]


def test_a_step_that_cannot_bear_a_timer_is_a_dead_letter_and_the_timer_does_not_come_again(
    bench: Timed,
) -> None:
    """It is retried like any record."""
    folding = fold()
    bench.say(folding, Set("a", "bad", 1), Set("a", "x", 2))
    bench.settle(bench.settle(bench.owner(folding)))
    assert bench.rung(folding) == [("x", 2)]
    assert len(bench.elapsed(folding)) == 2
    [letter] = bench.stores.dead_letters.letters(folding.name)

    def mended(heard: Heard, record: Record[Any]) -> Any:
        return step(heard, msgspec.structs.replace(record, event=Set("a", "z", None)))

    better = replace(folding, step=mended)
    sink(better, bench.stores).retry(bench.log.identity(folding.topic.name), letter)
    assert bench.stores.dead_letters.letters(folding.name) == []


@pytest.mark.parametrize("trick", ["many", "long", "odd"])
def test_what_cannot_wait_is_a_dead_letter_and_changes_nothing(bench: Timed, trick: str) -> None:
    folding = fold()
    bench.say(folding, Set("a", "x", 1, trick=trick), Set("b", "x", 1))
    bench.settle(bench.owner(folding))
    [letter] = bench.stores.dead_letters.letters(folding.name)
    assert letter.offset == 0
    assert [one.key for one in bench.elapsed(folding)] == [b"b"]


def test_a_fold_whose_topic_has_no_elapsed_sets_no_timers(bench: Timed) -> None:
    folding = fold()
    deaf = replace(folding, topic=replace(folding.topic, events=(Set,)))
    bench.say(deaf, Set("a", "x", 1))
    bench.settle(bench.owner(deaf))
    [letter] = bench.stores.dead_letters.letters(deaf.name)
    assert "Elapsed" in letter.reason


def test_a_log_that_takes_nothing_lets_timers_wait(
    bench: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried later and later, and nothing is lost or said twice."""
    folding = fold()
    bench.say(folding, Set("a", "x", 1))
    cursor = bench.owner(folding)

    def full(*_: object) -> None:
        raise NotReady("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(bench.log, "submit", full)
        bench.settle(cursor)
        assert cursor.due(0.0) > 0
    bench.clock.seconds += 60
    bench.settle(cursor)
    assert bench.rung(folding) == [("x", 1)]
    assert len(bench.elapsed(folding)) == 1


def test_turns_that_nobody_can_read_any_more_are_passed_over(bench: Timed) -> None:
    """Of a damaged log the origins are known, and not what they stood for."""
    folding = fold()
    lost = Origin(f"{folding.space}/due", 0, [40])
    stored(bench.log, [Append(folding.topic.name, [b"unreadable"], [b""], origin=lost)])
    bench.say(folding, Set("a", "x", 1))
    bench.settle(bench.owner(folding))
    assert bench.rung(folding) == [("x", 1)]
    assert contents(bench.log, folding.topic.name)[0] == b"unreadable"


def test_what_waits_outlives_its_key_and_a_restart(tmp_path: Any) -> None:
    folding = fold()
    with closing(Timed(tmp_path)) as bench:
        bench.say(folding, Set("a", "x", bench.clock.ms + 5, trick="forget"))
        bench.settle(bench.owner(folding))
        assert bench.known(folding) == {"a": Heard()}
    with closing(Timed(tmp_path, Failing)) as bench:
        bench.clock.ms += 5
        bench.settle(bench.owner(folding))
        assert [name for name, _ in bench.rung(folding)] == ["x"]


def test_what_is_heard_is_of_the_key_and_the_project_that_wanted_it() -> None:
    stepper: Stepper[Any, Any] = Stepper(fold(), lambda topic: topic.codec())
    elapsed = Elapsed(b"\xff", "x", 1, 1, 1)
    assert stepper.key(Record(0, "one", 0, elapsed)) == key_of("one", b"\xff")
    assert own_key("one", key_of("one", b"\xff")) == b"\xff"
    for project in (DEFAULT_PROJECT, "one"):
        for key in (b"a", b"\xff", b"\xffone\xffa", key_of(project, b"a")):
            assert own_key(project, key_of(project, key)) == key
