"""What a fold hears of itself again and again ends; what comes later by the clock goes on."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from typing import Any

import msgspec
import pytest

from penstock.core.copying import _append
from penstock.core.events import Event, Format, Undecodable
from penstock.core.events.generations import generation
from penstock.core.projection import Due, Elapsed, Fold, Record, Step, Topic
from penstock.core.projection.circles import circles
from penstock.core.projection.due import Waiting, framed, table_of
from penstock.core.projection.flush import Flush
from penstock.core.projects import DEFAULT_PROJECT
from support.alarms import Timed
from support.notes import Crash

HOUR_MS = 3_600_000
MAX = 7
_names = count()


class Said(Event, frozen=True, array_like=True, gc=False, tag="said/1"):
    key: str
    left: int
    """So often it is said again; less than none: for ever."""
    set: str = ""
    """The timer that is set instead: `now`, `past`, `same`, or `hours`."""


class Asked(Event, frozen=True, array_like=True, gc=False, tag="asked/1"):
    key: str


class Heard(msgspec.Struct, frozen=True, array_like=True):
    times: int = 0


def step(heard: Heard, record: Record[Any]) -> Step[Heard]:
    event, more = record.event, Heard(heard.times + 1)
    if isinstance(event, Elapsed):
        at_ms = {
            "now": record.at_ms,
            "past": record.at_ms - 1,
            "same": event.at_ms,
            "hours": event.at_ms + HOUR_MS,
        }[event.name]
        late = event.name == "hours" and at_ms > record.at_ms
        return Step(more, due=() if late else [Due(event.name, at_ms)])
    if event.set:
        back = 20 * HOUR_MS if event.set == "hours" else 0
        return Step(more, due=[Due(event.set, record.at_ms - back)])
    again = [Said(event.key, event.left - 1)] if event.left else []
    return Step(more, again)


def echo() -> Fold[Any, Heard]:
    name = f"tests.echo{next(_names)}"
    topic: Topic[Any] = Topic(name, (Said, Elapsed), key=lambda event: event.key.encode())
    flush = Flush(wait_seconds=0.0, block_records=40)
    return Fold(
        space=name,
        topic=topic,
        state=Heard,
        step=step,
        emits=(topic,),
        generations_max=MAX,
        flush=flush,
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    with closing(Timed(tmp_path_factory.mktemp("chains"))) as opened:
        yield opened


def heard(bench: Timed, fold: Fold[Any, Heard]) -> dict[str, int]:
    return {key: state.times for key, state in bench.known(fold).items()}


@pytest.mark.parametrize("block", [1, 3, 40])
@pytest.mark.parametrize("at", ["", "before", "after"])
def test_what_a_fold_says_to_itself_for_ever_ends_with_a_dead_letter(
    bench: Timed, block: int, at: str
) -> None:
    """Whoever is killed meanwhile, and rebuilt it is the same."""
    fold = echo()
    bench.say(fold, Said("a", -1), Said("b", MAX), Said("c", MAX + 1), Said("d", 0))
    for _ in range(4):
        bench.state.at = at
        with suppress(Crash):
            bench.carry(fold, block, blocks=2)
        bench.state.at = ""
    assert bench.carry(fold, block).last_error == ""
    assert heard(bench, fold) == {"a": MAX, "b": MAX + 1, "c": MAX, "d": 1}
    letters = bench.stores.dead_letters.letters(fold.name)
    assert [fold.topic.codec().decode(one.payload).key for one in letters] == ["a", "c"]
    assert [generation(one.payload) for one in letters] == [MAX, MAX]
    assert all("generations_max" in one.reason for one in letters)
    assert bench.rebuild(fold, swap=False).differences == []
    bench.say(fold, Said("a", 2))
    bench.carry(fold, block)
    assert heard(bench, fold)["a"] == MAX + 3


def test_a_dead_letter_of_a_chain_goes_on_under_a_fold_that_allows_more(bench: Timed) -> None:
    fold = echo()
    bench.say(fold, Said("a", MAX + 2))
    bench.carry(fold)
    [letter] = bench.stores.dead_letters.letters(fold.name)
    more = replace(fold, generations_max=MAX + 2)
    cursor = bench.cursor(more)
    cursor.sink.retry(bench.log.identity(fold.topic.name), letter)
    bench.carry(more)
    assert heard(bench, more) == {"a": MAX + 3}


@pytest.mark.parametrize("kind", ["now", "past", "same"])
def test_a_timer_that_always_comes_at_once_ends(bench: Timed, kind: str) -> None:
    """However the clock goes on meanwhile."""
    fold = echo()
    bench.say(fold, Said("a", 0, kind))
    cursor = bench.owner(fold)
    for _ in range(3 * MAX):
        bench.clock.ms += 2
        bench.settle(cursor, 2)
    bench.settle(cursor)
    assert heard(bench, fold) == {"a": MAX}
    [letter] = bench.stores.dead_letters.letters(fold.name)
    assert isinstance(fold.topic.codec().decode(letter.payload), Elapsed)
    assert bench.rebuild(fold, swap=False).differences == []


def test_timers_that_catch_up_with_the_clock_are_no_chain(bench: Timed) -> None:
    fold = echo()
    bench.say(fold, Said("a", 0, "hours"))
    bench.settle(bench.owner(fold))
    assert heard(bench, fold) == {"a": 1 + 21}
    assert bench.stores.dead_letters.letters(fold.name) == []


def test_two_folds_that_say_to_each_other_for_ever_end(bench: Timed) -> None:
    """What leads nowhere back is not counted."""
    name = f"tests.pair{next(_names)}"
    ours: Topic[Any] = Topic(name, (Said,), key=lambda event: event.key.encode())
    theirs: Topic[Any] = Topic(f"{name}.b", (Asked,), key=lambda event: event.key.encode())
    away: Topic[Any] = Topic(f"{name}.c", (Elapsed,))
    flush = Flush(wait_seconds=0.0, block_records=40)

    def ask(state: Heard, record: Record[Any]) -> Step[Heard]:
        return Step(Heard(state.times + 1), [Asked(record.event.key)])

    def answer(state: Heard, record: Record[Any]) -> Step[Heard]:
        return Step(Heard(state.times + 1), [Said(record.event.key, 0)])

    one: Fold[Any, Heard] = Fold(
        space=name, topic=ours, state=Heard, step=ask, emits=(theirs, away), flush=flush,
        generations_max=MAX,
    )  # fmt: skip
    two = replace(one, space=f"{name}.b", topic=theirs, step=answer, emits=(ours,))
    around = circles([one, two])
    assert around == {(one.space, theirs.name), (two.space, ours.name)}
    assert circles([one, replace(two, emits=(away,))]) == frozenset()
    bench.stores = bench.stores._replace(circles=around)
    bench.say(one, Said("a", 0))
    for _ in range(MAX + 3):
        bench.carry(one)
        bench.carry(two)
    assert heard(bench, one)["a"] + heard(bench, two)["a"] == MAX
    names = (one.name, two.name)
    assert sum(len(bench.stores.dead_letters.letters(name)) for name in names) == 1


@pytest.mark.parametrize("project", [DEFAULT_PROJECT, "acme"])
@pytest.mark.parametrize("form", ["msgpack", "json", "avro"])
def test_a_record_has_its_generation_in_every_form_and_is_read_as_without(
    form: Format, project: str
) -> None:
    """A copy into another form has it, too."""
    codec: Any = type(Topic("tests.t", (Said, Asked)).codec())
    writer = codec((Said, Asked), form)
    event = Said("\x82\xa0\xce", 1 << 40, '","$generation":7}')
    plain, counted = writer.of(project)(event), writer.of(project, 300)(event)
    assert (generation(plain), generation(counted)) == (0, 300)
    assert writer.of(project, 0)(event) == plain
    topic: Topic[Any] = Topic("tests.t", (Said, Asked))
    for other in ("msgpack", "json", "avro"):
        reader = codec((Said, Asked), other)
        assert reader.read(counted) == (project, event)
        [copied] = _append(topic, writer, reader, [counted]).payloads
        assert (reader.read(copied), generation(copied)) == ((project, event), 300)


@pytest.mark.parametrize("payload", [b"\x82", b"\x82\xa0\xce\0\0\0\1", b"\x82\xa1a\x90\xa1b\x90"])
def test_what_only_begins_like_a_generation_is_no_event(payload: bytes) -> None:
    with pytest.raises(Undecodable):
        Topic("tests.t", (Said,)).codec().read(payload)


def test_what_waits_is_stored_as_it_was_where_it_has_no_generation() -> None:
    usual, chained = Waiting(1, 2, "p"), Waiting(1, 2, "p", generation=3)
    tail = msgspec.msgpack.encode({"x": [1, 2, "p", ""]})
    assert framed(b"", {"x": usual}) == b"\xc1" + bytes(4) + tail
    for one in (usual, chained):
        assert table_of(framed(b"state", {"x": one})) == {"x": one}
