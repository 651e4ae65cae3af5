"""What a fold has known for long enough is as if it had never been heard of, and goes."""

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.events import Event
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from penstock.core.projection import Due, Elapsed, Fold, Record, Step, Topic
from penstock.core.projection.expiry import GRACE_MS
from penstock.core.projection.flush import Flush
from penstock.core.projection.why import Asked, why
from support.alarms import Timed
from support.notes import Crash

HOUR_MS = 3_600_000
GRACE_HOURS = GRACE_MS // HOUR_MS
_names = count()


class Seen(Event, frozen=True, array_like=True, gc=False, tag="seen/1"):
    key: str
    hours: int
    """How long that is known; 0: for ever; less than none: it is forgotten."""
    timer_hours: int = 0


class Visit(msgspec.Struct, frozen=True, array_like=True):
    times: int = 0
    until_ms: int = 0
    rung: Sequence[str] = ()


def step(visit: Visit, record: Record[Any]) -> Step[Visit]:
    event, at_ms = record.event, record.at_ms
    if isinstance(event, Elapsed):
        rung = [*visit.rung, event.name]
        return Step(msgspec.structs.replace(visit, rung=rung, until_ms=at_ms + HOUR_MS))
    due = [Due("x", at_ms + event.timer_hours * HOUR_MS)] if event.timer_hours else []
    if event.hours < 0:
        return Step(None, due=due)
    until_ms = at_ms + event.hours * HOUR_MS if event.hours else 0
    return Step(Visit(visit.times + 1, until_ms, visit.rung), due=due)


def visits() -> Fold[Any, Visit]:
    name = f"tests.visits{next(_names)}"
    topic: Topic[Any] = Topic(name, (Seen, Elapsed), key=lambda event: event.key.encode())
    return Fold(
        space=name,
        topic=topic,
        state=Visit,
        step=step,
        expires=lambda visit: visit.until_ms or None,
        flush=Flush(wait_seconds=0.0, block_records=40),
    )


@pytest.fixture
def bench(tmp_path: Any) -> Iterator[Timed]:
    with closing(Timed(tmp_path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    with closing(Timed(tmp_path_factory.mktemp("expiry"))) as opened:
        yield opened


def times(bench: Timed, fold: Fold[Any, Visit], now_ms: int | None = None) -> dict[str, int]:
    """What readers see."""
    now_ms = bench.clock.ms if now_ms is None else now_ms
    entries = [entry for entry in bench.state.scan(fold.space) if entry.group]
    seen = {entry.group.decode(): fold.read(entry.value, now_ms).times for entry in entries}
    return {key: number for key, number in seen.items() if number}


def places(bench: Timed, fold: Fold[Any, Visit]) -> int:
    return sum(entry.sort[:1] == b"e" for entry in bench.state.scan(fold.space))


ACTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([-1, 0, 1, 5, 40]),
        st.sampled_from([0, 1, 3, 60]),
        st.sampled_from(["", "", "before", "after"]),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(acts=ACTS, block=st.integers(1, 5))
def test_what_has_expired_is_heard_of_no_more_however_it_is_cut_and_killed(
    shared: Timed, acts: list[tuple[str, int, int, str]], block: int
) -> None:
    """The plain fold, which knows nothing of a space; and rebuilt it is the same."""
    bench, fold, known = shared, visits(), dict[str, Visit]()
    for key, hours, pass_hours, at in acts:
        bench.clock.pass_hours(pass_hours)
        event = Seen(key, hours)
        bench.say(fold, event)
        was = known.pop(key, Visit())
        if 0 < was.until_ms <= bench.clock.ms:
            was = Visit()
        record: Record[Any] = Record(0, "", bench.clock.ms, event)
        if (after := step(was, record).state) is not None:
            known[key] = after
        bench.state.at = at
        with suppress(Crash):
            bench.carry(fold, block, blocks=1)
        bench.state.at = ""
    assert bench.carry(fold, block).last_error == ""
    now_ms = bench.clock.ms
    left = {k: v.times for k, v in known.items() if not 0 < v.until_ms <= now_ms}
    assert times(bench, fold) == left
    if acts:
        rebuilt = bench.rebuild(fold)
        assert (rebuilt.differences, rebuilt.lost) == ([], [])
        assert times(bench, fold) == left


def test_steps_go_by_their_records_and_readers_by_the_clock(bench: Timed) -> None:
    """A fold that is late hears what it would have heard in time."""
    fold = visits()
    bench.say(fold, Seen("a", 2))
    bench.clock.pass_hours(1)
    bench.say(fold, Seen("a", 2))
    bench.clock.pass_hours(1.9)
    bench.carry(fold)
    assert times(bench, fold) == {"a": 2}
    bench.clock.pass_hours(0.1)
    assert times(bench, fold) == {}
    bench.say(fold, Seen("a", 2))
    bench.carry(fold)
    assert times(bench, fold) == {"a": 1}


def test_what_has_expired_goes_with_what_comes_and_no_more_is_kept_of_it(bench: Timed) -> None:
    fold = visits()
    bench.say(fold, *(Seen(f"k{n}", 1 + n % 3) for n in range(300)), Seen("ever", 0))
    bench.carry(fold)
    assert places(bench, fold) == 300
    bench.say(fold, *(Seen(f"k{n}", 24 * 30) for n in range(10)))
    bench.carry(fold)
    bench.clock.pass_hours(GRACE_HOURS + 0.9)
    bench.say(fold, Seen("late", 1))
    bench.carry(fold)
    assert len(bench.known(fold)) == 302
    bench.clock.pass_hours(3)
    cursor = bench.owner(fold)
    for _ in range(3):
        bench.say(fold, Seen("late", 1))
        bench.settle(cursor)
    assert set(bench.known(fold)) == {"ever", "late", *(f"k{n}" for n in range(10))}
    assert places(bench, fold) == 11
    assert bench.rebuild(fold).differences == []


def test_timers_of_a_key_that_has_expired_come(bench: Timed) -> None:
    """They find a key that was never heard of."""
    fold = visits()
    bench.say(fold, Seen("a", 1, timer_hours=200), Seen("b", 1))
    cursor = bench.settle(bench.owner(fold))
    bench.clock.pass_hours(1)
    about = Asked(fold.name, "a", "default", 9)
    told = why(fold, about, bench.stores, bench.log, lambda *_: None)
    assert (told.state, [one.name for one in told.waits]) == ("", ["x"])
    bench.clock.pass_hours(GRACE_HOURS + 1)
    bench.say(fold, Seen("c", 0))
    bench.settle(cursor)
    assert {key: visit.times for key, visit in bench.known(fold).items()} == {"a": 0, "c": 1}
    assert bench.rebuild(fold, swap=False).differences == []
    bench.clock.pass_hours(200)
    bench.settle(bench.owner(fold))
    assert bench.known(fold)["a"] == Visit(0, bench.clock.ms + HOUR_MS, ["x"])


@pytest.mark.parametrize("raises", [False, True])
def test_what_goes_with_the_block_that_hears_of_it_is_as_that_left_it(
    bench: Timed, *, raises: bool
) -> None:
    """What has always expired goes with the next block: its timers do not, nor do they come back
    when their step raised.
    """

    def spoilt(visit: Visit, record: Record[Any]) -> Step[Visit]:
        if raises and isinstance(record.event, Elapsed):
            raise ValueError("cannot bear this")
        return step(visit, record)

    fold = replace(visits(), expires=lambda _: 1, step=spoilt)
    for hours in (100, 200):
        bench.say(fold, Seen("a", 0, timer_hours=hours))
        cursor = bench.settle(bench.owner(fold))
    bench.clock.pass_hours(150)
    bench.settle(cursor)
    assert bench.elapsed(fold) == []
    bench.clock.pass_hours(50)
    bench.settle(cursor)
    assert len(bench.elapsed(fold)) == 1
    assert bench.known(fold)["a"].rung == ([] if raises else ["x"])
    for key in "bc":
        bench.say(fold, Seen(key, 0))
        bench.settle(cursor)
    assert list(bench.known(fold)) == ["c"]
    assert places(bench, fold) == 1


def test_what_is_to_expire_sooner_than_was_said_goes_sooner(bench: Timed) -> None:
    fold = visits()
    for hours in (24 * 365, 1):
        bench.say(fold, Seen("a", hours))
        bench.carry(fold)
    bench.clock.pass_hours(GRACE_HOURS + 2)
    bench.say(fold, Seen("b", 0))
    bench.carry(fold)
    assert list(bench.known(fold)) == ["b"]


def test_what_cannot_tell_when_it_expires_stays_and_holds_nobody_up(bench: Timed) -> None:
    fold = visits()
    bench.say(fold, Seen("a", 1), Seen("b", 1), Seen("b", 1))
    bench.carry(fold)
    bench.clock.pass_hours(GRACE_HOURS + 2)
    odd = replace(fold, expires=lambda visit: 1 // (visit.times - 1))
    bench.say(odd, Seen("c", 1))
    assert bench.carry(odd).last_error == ""
    [letter] = bench.stores.dead_letters.letters(fold.name)
    assert (letter.offset, list(bench.known(fold))) == (3, ["a"])


def test_a_clock_that_goes_ahead_of_its_records_takes_nothing_away(bench: Timed) -> None:
    """And records that are ahead of the clock neither. Reliability 37."""
    fold = visits()
    bench.say(fold, Seen("a", 1))
    bench.carry(fold)
    now_ms = bench.clock.ms
    bench.say(fold, Seen("b", 0))
    bench.clock.step_hours(24 * 365)
    bench.carry(fold)
    payload = fold.topic.codec().encode(Seen("c", 0))
    ahead_ms = now_ms + 24 * 365 * HOUR_MS
    stored(bench.log, [Append(fold.topic.name, [payload], [b"c"], taken_ms=ahead_ms)])
    bench.clock.ms = now_ms
    bench.carry(fold)
    bench.say(fold, Seen("a", 1))
    bench.carry(fold)
    assert times(bench, fold) == {"a": 2, "b": 1, "c": 1}


@pytest.mark.parametrize("at_ms", [1.5, 1 << 63, "soon"])
def test_what_is_no_time_is_a_dead_letter_and_changes_nothing(bench: Timed, at_ms: Any) -> None:
    fold = visits()
    bench.say(fold, Seen("a", 0))
    bench.carry(fold)
    bench.say(fold, Seen("a", 0))
    bench.carry(replace(fold, expires=lambda _: at_ms if _.times > 1 else None))
    [letter] = bench.stores.dead_letters.letters(fold.name)
    assert "expires" in letter.reason
    assert times(bench, fold) == {"a": 1}
