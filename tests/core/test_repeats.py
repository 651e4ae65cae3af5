"""A record whose id belongs to an earlier one is left out by every projection, whatever happens."""

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli import remote
from penstock.cli.warehouse import pull_sql
from penstock.cli.why import why as command
from penstock.core.engines import open_state
from penstock.core.errors import Disproved, Misconfigured
from penstock.core.log import Batch
from penstock.core.projection import Topic, repeats
from penstock.core.projection.cursor import PARKED_IN_A_ROW_MAX
from penstock.core.projection.ids import Named, id_of
from penstock.core.projection.why import Asked, why
from penstock.core.settings import Settings
from penstock.core.state import State
from support import ided
from support.folded import Failing
from support.ided import POISON, Bench, Paid, Views, views
from support.logs import wait_until
from support.notes import Crash

HOUR_MS = 3_600_000
ENGINES = ["rocksdb", pytest.param("redis", marks=pytest.mark.services)]


@pytest.fixture(params=ENGINES)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    url = f"rocksdb://{tmp_path}/state"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        redis.Redis.from_url(url).flushdb()
    with closing(open_state(Settings(state=url))) as opened:
        yield opened


@pytest.fixture
def bench(tmp_path: Path, state: State) -> Iterator[Bench]:
    made = Bench(tmp_path, state)
    yield made
    made.log.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("repeats")
    with closing(Failing(folder / "state")) as state:
        made = Bench(folder, state)
        yield made
        made.log.close()


ACTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "", POISON, "long" * 9]), min_size=1, max_size=4),
        st.sampled_from(["default", "default", "shop"]),
        st.sampled_from([-30, -1, 0, 1, 5, 24, 40]),
        st.integers(0, 3),
        st.sampled_from(["", "", "before", "after"]),
    ),
    max_size=12,
)


def counted(said: list[tuple[str, str, int]]) -> list[int]:
    """Which records count, of project, id and time of each: all that the rule is."""
    firsts: dict[tuple[str, str], int] = {}
    found = []
    for number, (project, name, at_ms) in enumerate(said):
        first = firsts.get((project, name))
        if name == POISON or (name and first is not None and at_ms - first < 24 * HOUR_MS):
            continue
        firsts[project, name] = at_ms
        found.append(number)
    return found


@settings(max_examples=12)
@given(acts=ACTS, block=st.integers(1, 5), chunk=st.sampled_from([2, 4_096]))
def test_who_counts_does_not_depend_on_blocks_readers_and_kills(
    shared: Bench, acts: list[Any], block: int, chunk: int
) -> None:
    """Reliability 10: the clock is set back and forth between records. Two projections are at
    different positions; each is killed before or behind a write, of the ids or of its own.
    """
    bench, of, said = shared, views(), list[tuple[str, str, int]]()
    assert isinstance(bench.state, Failing)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(repeats, "_CHUNK", chunk)
        for ids, project, hours, blocks, at in acts:
            bench.clock.step_hours(hours)
            bench.pay(of, *ids, project=project)
            said += [(project, name, bench.clock.ms) for name in ids]
            bench.state.at = at
            with suppress(Crash):
                bench.carry(of.index if blocks % 2 else of.fold, block, blocks)
        bench.state.at = ""
        bench.carry(of.index, block)
        bench.carry(of.fold, 40)
        assert bench.indexed(of) == bench.folded(of) == counted(said)
        told = bench.repeats(of)
        assert told.keys() == {*range(len(said))} - {*counted(said)}
        assert bench.rebuild(of.index, swap=False).differences == []
        bench.state.drop(repeats.SPACES + of.topic.name)
        assert not bench.asked(of).catch_up(bench.log, 0, len(said))
        assert bench.repeats(of) == told, "what is decided again is as it was"


def test_an_id_belongs_to_its_record_until_the_very_end_of_its_hours(bench: Bench) -> None:
    """And then to the next one that has it: from there it is counted."""
    of = views(hours=1.5)
    for minutes in (0, 89, 90, 91, 179, 180):
        began_ms, bench.clock.ms = bench.clock.ms, bench.clock.ms + minutes * 60_000
        bench.pay(of, "a")
        bench.clock.ms = began_ms
    bench.pay(of, "a")  # the clock is set back, behind the first
    bench.clock.step_hours(-1_000)
    bench.pay(of, "a")
    bench.carry(of.index, 2)
    assert bench.indexed(of) == [0, 2, 5]
    assert bench.repeats(of) == {1: 0, 3: 2, 4: 2, 6: 5, 7: 5}


def test_ids_are_of_a_project_and_of_a_topic_and_may_be_none(bench: Bench) -> None:
    of, other = views(), views()
    for project in ("default", "shop", "default", "shop"):
        bench.pay(of, "a", "", "a" * 100, project=project)
    bench.pay(other, "a")
    for one in (of, other):
        bench.carry(one.index)
    assert bench.indexed(of) == [0, 1, 2, 3, 4, 5, 7, 10]
    assert bench.repeats(of) == {6: 0, 8: 2, 9: 3, 11: 5}
    assert bench.indexed(other) == [0]
    assert bench.carry(of.index).counts.skipped == 0
    again = bench.cursor(of.fold)
    with closing(bench.log.reader()) as reader:
        again.resume(reader)
        again.step(reader, 40)
    assert (again.counts.projected, again.counts.skipped) == (8, 4)


def test_long_ids_are_hashed_and_none_of_them_is_like_a_short_one() -> None:
    long = id_of(lambda event: event.id.encode(), "default", Paid("x" * 17))
    assert len(long) == 17
    assert id_of(lambda _: long[1:], "default", None) == long[1:]
    assert id_of(lambda _: long, "default", None) not in (long, long[1:])
    assert id_of(lambda event: event.id.encode(), "shop", Paid("x" * 17)) != long
    with pytest.raises(TypeError, match="an id is bytes, not str"):
        id_of(lambda event: event.id, "default", Paid("x"))


def test_a_topic_without_a_key_has_its_ids_as_keys() -> None:
    """Equal ids meet in one partition."""
    topic: Topic[Paid] = Topic("tests.paid", (Paid,), unique=lambda event: event.id.encode())
    assert topic.key(Paid("x")) == b"x"
    with pytest.raises(ValueError, match="unique_hours is above nothing"):
        Topic("tests.paid", (Paid,), unique=lambda _: b"", unique_hours=0)


def test_an_id_that_cannot_be_told_is_a_dead_letter_and_counts_when_it_is_retried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 5: what raises stops nobody. Mended, it is taken in, by a rebuild as well."""
    of = views()
    bench.pay(of, "a", POISON, "a", POISON, "b")
    bench.carry(of.index)
    letters = bench.stores.dead_letters.letters(of.index.name)
    assert [(letter.offset, letter.code) for letter in letters] == [(1, "unique"), (3, "unique")]
    assert letters[0].reason.startswith("ValueError: cannot bear this id (support/ided.py:")
    assert bench.indexed(of) == [0, 4]
    live = bench.cursor(of.index)
    with pytest.raises(ValueError, match="cannot bear"):
        live.sink.retry(bench.log.identity(of.topic.name), letters[0])
    monkeypatch.setattr(ided, "POISON", "other")
    live.sink.retry(bench.log.identity(of.topic.name), letters[0])
    assert bench.indexed(of) == [0, 1, 4]
    bench.rebuild(of.index)
    assert bench.indexed(of) == [0, 1, 3, 4]


def test_an_older_copy_that_was_put_back_is_asked_anew(bench: Bench, tmp_path: Path) -> None:
    """Reliability 14: what the lost records repeated is nothing to those in their place."""
    of = views()
    bench.pay(of, "a", "b")
    bench.log.close()
    older = (tmp_path / "log.db").read_bytes()
    bench.reopen_log()
    bench.pay(of, "a", "c", "c")
    bench.carry(of.index)
    assert bench.repeats(of) == {2: 0, 4: 3}
    bench.log.close()
    (tmp_path / "log.db").write_bytes(older)
    for name in ("log.db-wal", "log.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    bench.reopen_log()
    bench.pay(of, "c", "d", "b")
    with pytest.raises(Disproved):
        bench.carry(of.index)
    assert bench.repeats(of) == {2: 0, 4: 3}, "nobody who may go on has asked"
    bench.rebuild(of.index, compare=False, accept_loss=True)
    assert bench.indexed(of) == [0, 1, 2, 3]
    assert bench.repeats(of) == {4: 1}


def test_what_is_long_past_goes_and_with_the_log_what_it_forgot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans go two days after their last id was anybody's, by the records and by the clock both;
    chunks as soon as the log has none of their records.
    """
    monkeypatch.setattr(repeats, "_CHUNK", 2)
    of, day = views(hours=2), 24
    for days in range(8):
        bench.pay(of, "a", "a", f"b{days}")
        bench.clock.pass_hours(day)
    bench.clock.step_hours(-8 * day)
    bench.carry(of.index, 3)
    spans, marks, chunks = counts(bench, of)
    assert (spans, marks, chunks) == (8, 16, 8), "the clock says that all is of today or later"
    bench.clock.step_hours(8 * day)
    bench.pay(of, "a")
    bench.carry(of.index, 3)
    assert counts(bench, of)[1] == 5 + 2
    bench.log.trim(bench.log.identity(of.topic.name), of.topic.name, 12, 0)
    wait_until(lambda: bench.log.start(of.topic.name, 0) == 12)
    bench.clock.pass_hours(3)
    for _ in range(2):
        bench.pay(of, "a", "a")
        bench.carry(of.index, 1)
    spans, marks, chunks = counts(bench, of)
    assert (spans, marks, chunks) == (3, 5, 4 + 2), "what was trimmed is written off, too"
    assert bench.indexed(of) == [n for n in range(25) if n % 3 != 1] + [25]


def counts(bench: Bench, of: Views) -> tuple[int, int, int]:
    """How many spans are listed, ids are known, and chunks have repeats."""
    entries = bench.space(of)
    spans = sum(entry.group[:1] == b"s" and entry.sort != b"r" for entry in entries)
    marks = sum(entry.group[:1] == b"d" for entry in entries)
    return spans, marks, len({entry.group for entry in entries if entry.group[:1] == b"r"})


def test_why_says_which_record_one_repeats(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    of = views()
    bench.pay(of, "b", "a", "a")
    bench.carry(of.index)
    asked = Asked(of.index.name, "k", "default", 10)
    found = why(of.index, asked, bench.stores, bench.log, lambda *_: None)
    assert [one.repeats for one in found.records] == [None, None, 1]

    @contextmanager
    def ours(_: str | None) -> Iterator[Any]:
        yield SimpleNamespace(why=lambda *_: found)

    monkeypatch.setattr(remote, "operations", ours)
    told = CliRunner().invoke(command, [of.index.name, "k"]).output.splitlines()
    assert told[-1].endswith('{"type":"paid/1","id":"a"} repeats 0/1, and is left out')
    assert told[-2].endswith('{"type":"paid/1","id":"a"}')


def test_what_clickhouse_would_take_by_itself_is_not_unique(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It knows nothing of ids, so a table of such a topic is not its to fill."""
    topic: Topic[Any] = Topic("audiences.tags", (Paid,), unique=lambda _: b"")
    manifest = SimpleNamespace(topics=[topic], package="penstock.apps.audiences")
    monkeypatch.setattr("penstock.main.manifests", lambda _: [manifest])
    environment = {"PENSTOCK_LOG": "kafka://one", "PENSTOCK_WAREHOUSE": "clickhouse://host/events"}
    done = CliRunner().invoke(pull_sql, env=environment)
    assert isinstance(done.exception, Misconfigured)
    assert "let Penstock project audiences_tags" in done.exception.message


def test_a_function_that_always_raises_stops_its_projection(bench: Bench) -> None:
    """Reliability 5."""
    of = views()
    bench.pay(of, *[POISON] * PARKED_IN_A_ROW_MAX)
    with pytest.raises(Exception, match="could not be projected"):
        bench.carry(of.index)


def test_two_processes_that_share_the_state_decide_alike(bench: Bench) -> None:
    """Each goes on from what the other has written, or finds that it was there before."""
    of, chance = views(), random.Random(7)
    for _ in range(6):
        bench.pay(of, *(chance.choice("abcdefghij") for _ in range(10)))
    one, two = (bench.cursor(projection) for projection in (of.index, of.fold))
    assert one.sink.repeats is not two.sink.repeats
    with closing(bench.log.reader()) as reader:
        for cursor in (one, two):
            cursor.resume(reader)
        while min(one.position, two.position) < 60:
            chance.choice((one, two)).step(reader, chance.randint(1, 9))
    assert bench.indexed(of) == bench.folded(of)
    assert len(bench.indexed(of)) == 10


def test_who_was_overtaken_between_its_question_and_its_write_asks_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = views()
    bench.pay(of, "a", "a", "b")
    first, other = bench.asked(of), bench.asked(of)
    taken, overtaken = first._named, list[bool]()

    def named(batch: Batch, since: int) -> list[Named]:
        if not overtaken:
            overtaken.append(not other.catch_up(bench.log, 0, 2))
        return taken(batch, since)

    monkeypatch.setattr(first, "_named", named)
    with closing(bench.log.reader()) as reader:
        batch = reader.read(of.topic.name, 0, 0, 10, "")
    assert first.marked(bench.log, 0, batch).repeats == {1: 0}
    assert overtaken == [True]
    position = bench.state.position(repeats.SPACES + of.topic.name, 0)
    assert position is not None
    assert position.next == 3
