"""Mirrors: the newest row of each key of a fold, whatever is away or killed meanwhile."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import NotReady
from penstock.core.log import Batch, partition_of
from penstock.core.projection import Fold, Step
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.mirroring import Mirroring, Told
from penstock.core.state.redis import RedisState
from support.logs import add
from support.mirrored import HIDDEN, NEGATIVE, ODD, Held, Mirrored, Put, declaration, kept
from support.notes import Crash

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    with closing(Mirrored(tmp_path_factory.mktemp("mirrors"))) as opened:
        yield opened


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.sampled_from([0, 1, 2, HIDDEN])),
        st.tuples(st.just("brief"), st.sampled_from("abc"), st.sampled_from([1, 5])),
        st.tuples(st.just("pass"), st.just(""), st.sampled_from([1, 3, 60])),
        st.tuples(st.just("set back"), st.just(""), st.sampled_from([1, 4])),
        st.tuples(
            st.just("fill"),
            st.sampled_from(["", "refuse", "lose the reply", "crash before", "crash after"]),
            st.just(0),
        ),
        st.tuples(st.just("fill and die"), st.sampled_from(["before", "after"]), st.just(0)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=14,
)


def mirroring_of(cursor: FoldCursor) -> Mirroring:
    return cursor.sink.mirrorings[0]


def filled_and_killed(bench: Mirrored, cursor: FoldCursor, act: str, what: str) -> bool:
    """Whether the process has ended in this turn, or behind it."""
    bench.warehouse.faults = [what] if act == "fill" else []
    bench.state.at = what if act == "fill and die" else ""
    try:
        if act != "restart":
            bench.fill(cursor)
    except Crash:
        return True
    except NotReady:
        return False
    finally:
        bench.warehouse.faults, bench.state.at = [], ""
    return act != "fill"


@settings(max_examples=20)
@given(acts=ACTS)
def test_a_mirror_shows_what_the_fold_knows_however_it_was_killed(
    bench: Mirrored, acts: list[tuple[str, str, int]]
) -> None:
    """Reliability 8 and 9: between any two writes of the warehouse and of the state; the newest row
    of a key is one.
    """
    fold = kept()
    cursor = bench.open(fold)
    for act, what, number in acts:
        if act in ("put", "brief"):
            until_ms = bench.clock.ms + number * HOUR_MS if act == "brief" else 0
            bench.say(fold, Put(what, number, until_ms))
            bench.settle(cursor)
        elif act == "pass":
            bench.clock.pass_hours(number)
        elif act == "set back":
            bench.clock.step_hours(-number)
        elif filled_and_killed(bench, cursor, act, what):
            cursor = bench.settle(bench.owner(fold))
    bench.clock.pass_hours(100)  # what was shown to have expired has
    bench.fill(bench.settle(cursor))
    assert bench.shown(fold) == bench.expected(fold)
    assert bench.torn(fold) == []
    mirroring = mirroring_of(cursor)
    assert (mirroring.whole, mirroring.lag_seconds()) == (True, 0.0)


def fresh(bench: Mirrored, **more: Any) -> tuple[Fold[Any, Any], FoldCursor]:
    fold = kept(**more)
    return fold, bench.open(fold)


def test_a_key_that_changes_often_goes_in_once_and_what_changes_meanwhile_again(
    bench: Mirrored,
) -> None:
    """As many changes as there were since the last turn, and a change while the rows go in."""
    fold, cursor = fresh(bench)
    bench.say(fold, *(Put("a", number) for number in range(1, 100)), Put("b", 1))
    bench.settle(cursor)
    sink = cursor.sink
    mirroring = sink.mirrorings[0]

    def meanwhile(told: Told) -> None:
        if told.marks and not bench.events(fold.topic)[100:]:
            bench.say(fold, Put("a", 100))
            bench.settle(cursor)
        sink.settle_mirror(0, told)

    mirroring.turn(bench.clock.ms, meanwhile, partitions=1)
    assert mirroring.table.rows == 2
    assert bench.shown(fold)["default", "a"] == (99, "x" * 99)
    assert mirroring.lag_seconds() > 0
    bench.fill(cursor)
    assert (mirroring.table.rows, mirroring.lag_seconds()) == (3, 0.0)
    assert bench.shown(fold) == bench.expected(fold)


def test_keys_of_any_bytes_and_of_projects_are_apart(bench: Mirrored) -> None:
    fold, cursor = fresh(bench)
    keys = [b"a", b"\x00ff", b"\xff", b"\x00\x00", "ż".encode()]
    encode = fold.topic.codec().of
    payloads = [
        encode(project)(Put(key.decode("utf-8", "surrogateescape"), number))
        for project in ("default", "shop")
        for number, key in enumerate(keys, 1)
        if key.decode(errors="ignore")
    ]
    add(bench.log, *payloads, topic=fold.topic.name)
    bench.settle(cursor)
    bench.fill(cursor)
    assert len(bench.shown(fold)) == len(payloads)
    assert bench.shown(fold)["shop", "ż"] == (5, "x")


def test_a_row_that_cannot_be_holds_up_no_other(bench: Mirrored) -> None:
    """Reliability 10: at which the application raises, and which the engine refuses."""
    fold, cursor = fresh(bench)
    bench.say(
        fold, *(Put(str(n), n) for n in range(1, 9)), Put("odd", ODD), Put("negative", NEGATIVE)
    )
    bench.settle(cursor)
    bench.fill(cursor)
    mirroring = cursor.sink.mirrorings[0]
    assert {key for _, key in bench.shown(fold)} == {str(n) for n in range(1, 9)}
    assert mirroring.table.refused is not None
    assert mirroring.lag_seconds() > 0
    bench.say(fold, Put("odd", 1), Put("negative", 0))
    bench.settle(cursor)
    bench.fill(cursor)
    assert bench.shown(fold) == bench.expected(fold)
    assert mirroring.table.refused is None


def test_what_expires_leaves_the_mirror_and_what_is_put_off_stays(bench: Mirrored) -> None:
    fold, cursor = fresh(bench)
    soon, later = bench.clock.ms + HOUR_MS, bench.clock.ms + 3 * HOUR_MS
    bench.say(fold, Put("a", 1, soon), Put("b", 1, soon), Put("b", 2, later), Put("c", 1))
    bench.settle(cursor)
    bench.fill(cursor)
    assert len(bench.shown(fold)) == 3
    for hours, left in ((1, {"b", "c"}), (2, {"c"}), (24 * 30, {"c"})):
        bench.clock.pass_hours(hours)
        bench.fill(cursor)
        assert {key for _, key in bench.shown(fold)} == left
    bench.say(fold, Put("c", 1))
    bench.settle(cursor)  # what has expired goes from the space
    bench.fill(cursor)
    assert set(bench.known(fold)) == {"c"}
    assert bench.shown(fold) == bench.expected(fold)
    bench.say(fold, Put("a", 7))
    bench.settle(cursor)
    bench.fill(cursor)
    assert bench.shown(fold)["default", "a"] == (7, "x")


def test_what_expires_while_the_warehouse_is_away_is_kept_until_it_is_told(
    bench: Mirrored,
) -> None:
    fold, cursor = fresh(bench)
    bench.say(fold, Put("a", 1, bench.clock.ms + HOUR_MS))
    bench.settle(cursor)
    bench.fill(cursor)
    bench.clock.pass_hours(24 * 30)
    bench.say(fold, Put("b", 1))
    bench.settle(cursor)
    assert set(bench.known(fold)) == {"a", "b"}
    bench.fill(cursor)
    bench.say(fold, Put("b", 1))
    bench.settle(cursor)
    assert set(bench.known(fold)) == {"b"}
    bench.fill(cursor)
    assert bench.shown(fold) == bench.expected(fold)


def test_a_dead_letter_that_is_retried_is_newer_than_what_came_behind_it(bench: Mirrored) -> None:
    """Also where its key's last record is the last of all."""
    fold, cursor = fresh(bench)
    bench.say(fold, Put("a", 1, trick=True), Put("a", 2))
    bench.settle(cursor)
    bench.fill(cursor)
    assert bench.shown(fold)["default", "a"] == (2, "x")
    [letter] = bench.stores.dead_letters.letters(fold.name)
    tame = replace(fold, step=lambda held, _: Step(Held(9, held.word + "retried")))
    FoldSink(tame, bench.stores).retry(bench.log.identity(fold.topic.name), letter)
    for _ in range(2):
        bench.fill(bench.settle(bench.owner(fold)))
        assert bench.shown(fold)["default", "a"] == (9, "xretried")


def test_a_clock_that_was_ahead_hides_nothing_for_good(bench: Mirrored) -> None:
    """Reliability 37: what is written while it is right again expires, though all that was to
    expire by then was told before; the process dies between the two.
    """
    fold, cursor = fresh(bench)
    bench.say(fold, Put("a", 1, bench.clock.ms + HOUR_MS))
    bench.settle(cursor)
    bench.clock.step_hours(50)
    bench.fill(cursor)
    bench.clock.step_hours(-50)
    bench.say(fold, Put("b", 1, bench.clock.ms + 10 * HOUR_MS))
    bench.settle(cursor)

    def dies_behind(told: Told) -> None:
        cursor.sink.settle_mirror(0, told)
        if told.marks:
            raise Crash

    with pytest.raises(Crash):
        mirroring_of(cursor).turn(bench.clock.ms, dies_behind, partitions=1)
    assert ("default", "b") in bench.shown(fold)
    bench.clock.pass_hours(60)
    bench.fill(bench.settle(bench.owner(fold)))
    assert bench.shown(fold) == {}


@pytest.mark.parametrize("lost", ["all of it", "its newest", "what it should not have"])
def test_a_table_that_has_less_or_other_than_it_had_is_filled_from_the_states(
    bench: Mirrored, lost: str
) -> None:
    """Reliability 9 and 46."""
    fold, cursor = fresh(bench)
    assert fold.mirror is not None
    table = fold.mirror.table
    bench.say(fold, Put("a", 1), Put("b", HIDDEN), Put("gone", 1), Put("gone", 0), Put("z", ODD))
    bench.settle(cursor)
    bench.fill(cursor)
    bench.say(fold, Put("z", 2))
    bench.settle(cursor)
    bench.fill(cursor)
    if lost == "all of it":
        bench.warehouse.command(f"TRUNCATE TABLE {table}")
    elif lost == "its newest":
        bench.warehouse.command(
            f"ALTER TABLE {table} DELETE WHERE key = 'z' SETTINGS mutations_sync = 2"
        )
    else:
        bench.warehouse.command(
            f"INSERT INTO {table} VALUES (0, 'default', 'stranger', 1, '', 1099511627776, 0)"
        )
        cursor.sink.adopt_mirror(0, whole=False)
    cursor = bench.settle(bench.owner(fold))
    bench.fill(cursor, even=False)
    assert not mirroring_of(cursor).whole
    bench.fill(cursor)
    assert mirroring_of(cursor).whole
    assert bench.shown(fold) == bench.expected(fold)
    rows = mirroring_of(cursor).table.rows
    cursor = bench.settle(bench.owner(fold))
    bench.fill(cursor)
    assert (rows > 0, mirroring_of(cursor).table.rows) == (True, 0)


def test_each_partition_fills_what_is_of_it(bench: Mirrored) -> None:
    """Also what is filled from the states, which lie together."""
    fold = kept()
    assert fold.mirror is not None
    table = fold.mirror.table
    bench.warehouse.create([declaration(fold)])
    split = [
        [key for key in "abcdefgh" if partition_of(key.encode(), 2) == part] for part in (0, 1)
    ]
    sink, encode = FoldSink(fold, bench.stores), fold.topic.codec().encode
    for part, keys in enumerate(split):
        sink.resume("log", part)
        offsets = range(len(keys))
        payloads = [encode(Put(key, 1)) for key in keys]
        sink.apply("log", part, Batch(0, len(keys), offsets, payloads, 1))
    for lost in (False, True):
        if lost:
            bench.warehouse.command(f"TRUNCATE TABLE {table}")
        for part in (0, 1):
            sink.resume("log", part)
            mirroring, hand = sink.mirrorings[part], partial(sink.settle_mirror, part)
            mirroring.turn(bench.clock.ms, hand, partitions=2)
            assert mirroring.whole
        rows = bench.warehouse.query(
            f"SELECT bitShiftRight(log_offset, 48), arraySort(groupArray(key)) FROM {table} FINAL "
            "GROUP BY 1 ORDER BY 1",
            {},
        )
        assert [(int(str(part)), keys) for part, keys in rows] == [*enumerate(split)]


def test_on_redis_it_is_the_same(bench: Mirrored, redis_url: str) -> None:
    """What is marked, unmarked, put off and forgotten, through two owners."""
    with closing(RedisState(redis_url)) as state:
        bench = bench.over(state)
        fold, cursor = fresh(bench)
        until_ms = bench.clock.ms + HOUR_MS
        bench.say(fold, Put("a", 1), Put("b", 1, until_ms), Put("c", 1, until_ms), Put("a", 2))
        bench.settle(cursor)
        bench.fill(cursor)
        bench.say(fold, Put("c", 0), Put("d", 4))
        bench.settle(cursor)
        cursor = bench.settle(bench.owner(fold))
        bench.clock.pass_hours(2)
        for _ in range(2):
            bench.fill(cursor)
            assert bench.shown(fold) == {("default", "a"): (2, "xx"), ("default", "d"): (4, "x")}
            assert mirroring_of(cursor).lag_seconds() == 0.0
