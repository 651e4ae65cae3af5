"""A log carried over into another one: everything, in order, and compared."""

from contextlib import closing
from pathlib import Path

import pytest

from penstock.core import copying
from penstock.core.copying import Copy
from penstock.core.errors import Misconfigured, NotReady
from penstock.core.log import DUPLICATE, Append, Log, Origin
from penstock.core.log.carrying import carry_origins
from penstock.core.log.memory import MemoryLog
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projects import DEFAULT_PROJECT
from support.clock import MovedClock
from support.logs import add, contents, submit
from support.notes import NOTES, Noted, codec, note


def silent(done: int, total: int) -> None:
    assert 0 < done <= total


HOUR_MS = 3_600_000


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def source(tmp_path: Path, clock: MovedClock) -> SqliteLog:
    return SqliteLog(tmp_path / "log.db", clock, Limits())


def test_every_record_arrives_in_its_order_and_both_sides_are_equal(source: SqliteLog) -> None:
    note(source, *range(12_345))
    target = MemoryLog(MovedClock())
    moved: list[tuple[int, int]] = []
    (copied,) = Copy(source, target, [NOTES]).run(lambda *at: moved.append(at))
    assert copied.equal
    assert copied.target.records == 12_345
    assert contents(target, NOTES.name) == contents(source, NOTES.name)
    assert moved[-1] == (2 * 12_345, 2 * 12_345)
    source.close()


@pytest.mark.parametrize("engine", ["sqlite", "memory"])
def test_records_keep_their_times_and_their_projects(
    source: SqliteLog, clock: MovedClock, tmp_path: Path, engine: str
) -> None:
    for word in "abc":
        add(source, codec.encode(Noted(1, word)), codec.of("acme")(Noted(2, word)))
        clock.pass_hours(1)
    target: Log = MemoryLog(clock)
    if engine == "sqlite":
        target = SqliteLog(tmp_path / "target.db", clock, Limits())
    (copied,) = Copy(source, target, [NOTES]).run(silent)
    assert copied.equal
    note(target, 9)
    with closing(target.reader()) as reader:
        read = reader.read(NOTES.name, 0, 0, 99)
    began = clock.now_ms() - 3 * HOUR_MS
    assert list(read.times_ms) == [began + n * HOUR_MS for n in (0, 0, 1, 1, 2, 2, 3)]
    assert [codec.read(payload)[0] for payload in read.payloads[:2]] == [DEFAULT_PROJECT, "acme"]
    assert {line.minute for line in target.ledger(NOTES.name, 0)} == {
        at_ms // 60_000 for at_ms in read.times_ms if engine == "sqlite"
    } | {clock.now_ms() // 60_000}
    source.close()
    target.close()


def test_what_was_made_of_a_record_is_known_in_a_copy(source: SqliteLog, tmp_path: Path) -> None:
    """A fold that is made again from the copy says nothing twice."""
    said = Append(NOTES.name, [codec.encode(Noted(1))], origin=Origin("tests.fold", 0, [7]))
    submit(source, said)
    target = SqliteLog(tmp_path / "target.db", MovedClock(), Limits())
    (copied,) = Copy(source, target, [NOTES]).run(silent)
    assert not copied.renumbered
    for log in (source, target):
        log.close()
    files = tmp_path / "log.db", tmp_path / "target.db"
    assert (carry_origins(*files), carry_origins(*files)) == (1, 1)
    again = SqliteLog(files[1], MovedClock(), Limits())
    assert submit(again, said) == [DUPLICATE]
    again.close()


def test_what_is_no_event_goes_over_as_it_is(source: SqliteLog) -> None:
    note(source, 1)
    add(source, b"no event", b"")
    target = MemoryLog(MovedClock())
    (copied,) = Copy(source, target, [NOTES]).run(silent)
    assert copied.equal
    assert contents(target, NOTES.name)[1:] == [b"no event", b""]
    source.close()


def test_a_target_that_holds_something_is_refused(source: SqliteLog) -> None:
    target = MemoryLog(MovedClock())
    note(target, 1)
    with pytest.raises(Misconfigured, match="holds 1 records already"):
        Copy(source, target, [NOTES])
    source.close()


def test_a_target_that_takes_nothing_is_said_to(source: SqliteLog) -> None:
    note(source, 1)
    target = MemoryLog(MovedClock())
    target.failing = "its disk is full"
    with pytest.raises(NotReady, match="its disk is full"):
        Copy(source, target, [NOTES]).run(silent)
    source.close()


class Slow(MemoryLog):
    """Acknowledges what its brokers get and tell of later, or never."""

    def __init__(self, looks: float) -> None:
        super().__init__(MovedClock())
        self.looks = looks

    def end(self, topic: str, partition: int) -> int:
        end = super().end(topic, partition)
        if end:
            self.looks -= 1
        return end if self.looks < 0 else 0


def test_what_is_on_its_way_to_the_target_is_waited_for(source: SqliteLog) -> None:
    note(source, *range(10))
    (copied,) = Copy(source, Slow(looks=3), [NOTES]).run(silent)
    assert copied.equal
    source.close()


def test_a_target_that_never_gets_it_all_is_not_waited_for_in_vain(
    source: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_STALLED_SECONDS", 0.1)
    note(source, *range(10))
    with pytest.raises(NotReady, match="have 0 of 10 records"):
        Copy(source, Slow(looks=float("inf")), [NOTES]).run(silent)
    source.close()


@pytest.mark.parametrize("change", ["lost", "altered", "doubled"])
def test_a_difference_is_found(source: SqliteLog, change: str) -> None:
    note(source, *range(10))

    class Faulty(MemoryLog):
        def reader(self) -> MemoryLog:
            records = self._records[NOTES.name]
            if change == "lost":
                del records[4]
            elif change == "doubled":
                records[4] = records[5]
            else:
                records[4] = (0, NOTES.codec().encode(NOTES.events[0](4, "altered")))
            return self

    other = Faulty(MovedClock())
    (copied,) = Copy(source, other, [NOTES]).run(silent)
    assert not copied.equal
    source.close()
