"""A position is of one log and of what it holds: compared at every resume, and while running."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from penstock.core.errors import Disproved
from penstock.core.log import Batch
from penstock.core.log.follower import SqliteFollower
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.log.sqlite_reader import SqliteReader
from penstock.core.projection import verdicts
from penstock.core.projection.contract import Outcome
from penstock.core.projection.runner import Consumer
from penstock.core.state import Position
from penstock.core.warehouse import Block
from penstock.core.warehouse.plans import declaration
from support import notes
from support.carried import BOTH, Carried, watching
from support.disks import flip
from support.logs import TOPIC, add, wait_until
from support.notes import note, rows_of

PATIENCE_SECONDS = 60.0


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Carried]:
    made = Carried(tmp_path)
    yield made
    made.close()


# -- another log than the one that was read -------------------------------------------------------


@pytest.mark.parametrize(("added", "opened_between"), [(0, 0), (1, 1), (3, 0), (4, 2), (90, 0)])
def test_an_older_log_put_back_is_refused_however_far_it_has_gone_on(
    carried: Carried, added: int, opened_between: int
) -> None:
    """Reliability 45. Each record alone, all alike, and the clock stands still: so are the blocks,
    and no content tells one log from the other.
    """
    for _ in range(2):
        note(carried.log, 7)
    older = carried.copy_log()
    for _ in range(3):
        note(carried.log, 7)
    carried.carry()
    before = carried.numbers()
    carried.put_back(older)
    for _ in range(opened_between):
        carried.log.close()
        carried.log = carried._open_log()
    for _ in range(added):
        note(carried.log, 7)
    for _ in range(2):  # at every resume
        refused = carried.refusals()
        assert len(refused) == len(BOTH)
        for projection, said in zip(BOTH, refused, strict=True):
            assert "the records before offset 5" in said
            assert f"`penstock rebuild {projection.name} --from-scratch`" in said
    assert carried.numbers() == before


def test_an_older_log_put_back_is_gone_on_from_where_both_are_the_same(carried: Carried) -> None:
    note(carried.log, 0, 1)
    carried.carry()
    older = carried.copy_log()
    note(carried.log, 2)  # nobody has projected it
    carried.put_back(older)
    note(carried.log, 3, 4)
    carried.carry()
    assert carried.numbers() == ([0, 1, 3, 4], [b"0", b"1", b"3", b"4"])


def test_a_log_swapped_for_another_is_refused(carried: Carried, tmp_path: Path) -> None:
    note(carried.log, 0, 1)
    carried.carry()
    other = SqliteLog(tmp_path / "other.db", carried.clock, Limits())
    note(other, 5, 6, 7)
    carried.log.close()
    carried.log = other
    assert ["another log" in said for said in carried.refusals()] == [True, True]


def test_the_newer_log_put_back_again_is_gone_on_from(carried: Carried) -> None:
    note(carried.log, 0)
    older = carried.copy_log()
    note(carried.log, 1)
    carried.carry()
    newer = carried.copy_log("newer")
    carried.put_back(older)
    note(carried.log, 8, 9)
    assert len(carried.refusals()) == 2
    carried.put_back(newer)
    note(carried.log, 2)
    carried.carry()
    assert carried.numbers() == ([0, 1, 2], [b"0", b"1", b"2"])


def test_a_block_that_was_damaged_behind_a_position_disproves_nothing(carried: Carried) -> None:
    marked = [notes.codec.encode(notes.Noted(n, f"MARK{n:04d}")) for n in range(3)]
    carried.log.close()
    carried.log = carried._open_log()
    note(carried.log, 0, 1)
    add(carried.log, *marked)
    carried.carry()
    carried.log.close()
    path = carried.folder / "log" / "log.db"
    connection = apsw.Connection(str(path))
    body = connection.execute("SELECT body FROM blocks_1 WHERE first = 2").get
    connection.close()
    assert isinstance(body, bytes)
    flip(path, body[:16])
    carried.log = carried._open_log()
    note(carried.log, 5)
    carried.carry()
    assert [row[0] for row in rows_of(carried.warehouse)] == [0, 1, 2, 3, 4, 5]


# -- stores that went back ------------------------------------------------------------------------


def test_stores_put_back_to_an_older_state_are_filled_from_where_they_end(carried: Carried) -> None:
    """Reliability 9."""
    note(carried.log, *range(50))
    carried.carry()
    older = carried.copy_stores()
    note(carried.log, *range(50, 120))
    carried.carry()
    carried.put_stores_back(older)
    assert len(carried.numbers()[0]) == 50
    note(carried.log, 120)
    carried.carry()
    assert carried.numbers()[0] == list(range(121))
    assert notes.counted_in_view(carried.warehouse) == 121
    assert carried.numbers()[1][:5] == [b"0", b"1", b"2", b"3", b"4"]


# -- positions and logs of before there were proofs -----------------------------------------------


def test_a_position_without_a_proof_is_believed_once_and_gets_one(carried: Carried) -> None:
    note(carried.log, 0, 1, 2)
    carried.carry()
    identity = carried.log.identity(TOPIC)
    position, planned = (
        carried.state.position("tests.notes", 0),
        carried.warehouse.planned("tests_notes", 0),
    )
    assert position is not None
    assert planned is not None
    assert position.proof == planned.proof != ""
    carried.state.apply(
        "tests.notes", [], partition=0, was=position, position=position._replace(proof="")
    )
    carried.warehouse.command("TRUNCATE TABLE penstock_blocks")
    carried.close_stores()
    carried.open_stores()
    carried.warehouse.plan("tests_notes", 0, None, planned._replace(proof=""))
    older = carried.copy_log()
    carried.carry()  # nothing is new: the proof is written all the same
    assert carried.state.position("tests.notes", 0) == Position(identity, 3, 1, position.proof)
    assert carried.warehouse.planned("tests_notes", 0) == planned
    assert carried.numbers() == ([0, 1, 2], [b"0", b"1", b"2"])
    note(carried.log, 3)
    carried.carry()
    carried.put_back(older)
    note(carried.log, 4, 5)
    assert len(carried.refusals()) == 2


def test_a_log_of_before_openings_were_noted_is_read_on(carried: Carried) -> None:
    note(carried.log, 0, 1)
    carried.log.close()
    connection = apsw.Connection(str(carried.folder / "log" / "log.db"))
    connection.execute("DROP TABLE openings")
    connection.close()
    reader = SqliteReader(carried.folder / "log" / "log.db")  # beside a writer of that version
    assert reader.read(TOPIC, 0, 0, 9, "").proof == reader.identity()
    reader.close()
    carried.log = carried._open_log()
    carried.carry()
    older = carried.copy_log()
    note(carried.log, 2)
    carried.carry()
    assert carried.numbers()[0] == [0, 1, 2]
    carried.put_back(older)
    note(carried.log, 3, 4)
    assert len(carried.refusals()) == 2


def test_plans_of_before_proofs_get_a_place_for_them(carried: Carried) -> None:
    note(carried.log, 0, 1)
    carried.carry()
    older = declaration(alone=True).replace(", proof String", "").partition("\n")[2]
    carried.warehouse.command("ALTER TABLE penstock_blocks DROP COLUMN proof")
    assert "proof" not in carried.warehouse.columns("penstock_blocks")
    assert "proof" not in older
    carried.close_stores()
    carried.open_stores()
    assert carried.warehouse.planned("tests_notes", 0) == Block(
        carried.log.identity(TOPIC), 0, 2, b"\x00"
    )
    note(carried.log, 2)
    carried.carry()
    assert carried.numbers()[0] == [0, 1, 2]


# -- while it runs --------------------------------------------------------------------------------


class Apart:
    """A process that follows the log which another one writes."""

    def __init__(self, carried: Carried) -> None:
        self.follow = SqliteFollower(carried.folder / "log" / "log.db")
        self.consumers: list[Consumer] = [carried.consumer(p, self.follow) for p in BOTH]
        for consumer in self.consumers:
            consumer.start()

    def close(self) -> None:
        for consumer in self.consumers:
            consumer.stop()
        self.follow.close()


@pytest.mark.parametrize("added", [0, 1, 3])
def test_a_log_replaced_under_a_process_that_follows_it_is_noticed(
    carried: Carried, added: int
) -> None:
    """Reliability 45, with roles apart: nobody restarts. It goes on once the right one is back."""
    note(carried.log, 0)
    older = carried.copy_log()
    note(carried.log, 1)
    apart = Apart(carried)
    watch = watching(carried, apart.consumers)
    try:
        wait_until(lambda: all(c.cursors[0].position == 2 for c in apart.consumers))
        for projection in BOTH:
            watch.vouch_sound(projection.name)
        newer = carried.copy_log("newer")
        carried.put_back(older)
        for number in range(added):
            note(carried.log, 8 + number)
        pass_time_until(carried, apart.consumers, lambda c: c.disproved is not None)
        for consumer in apart.consumers:
            name = consumer.projection.name
            assert consumer.state == "stopped"
            assert f"penstock rebuild {name}" in consumer.last_error
        wait_until(lambda: all(verdicts.told(carried.state, p.name) for p in BOTH))
        for projection in BOTH:
            with pytest.raises(Disproved, match=f"rebuild {projection.name}"):
                watch.vouch_sound(projection.name)
        carried.put_back(newer)
        note(carried.log, 2)
        pass_time_until(carried, apart.consumers, lambda c: c.cursors[0].position == 3)
        wait_until(lambda: all(c.state == "running" for c in apart.consumers))
        assert carried.numbers() == ([0, 1, 2], [b"0", b"1", b"2"])
        assert verdicts.told(carried.state, "tests.notes") == {}
    finally:
        apart.close()


def pass_time_until(
    carried: Carried, consumers: list[Consumer], true: Callable[[Consumer], bool]
) -> None:
    """The consumers look again by this clock, and would sleep by the real one."""

    def look() -> bool:
        carried.clock.pass_hours(0.001)
        for consumer in consumers:
            consumer._wake.set()
        return all(true(consumer) for consumer in consumers)

    wait_until(look)


@pytest.mark.parametrize("added", [0, 1, 5])
def test_a_log_that_becomes_another_one_under_its_own_process_is_noticed(
    carried: Carried, added: int
) -> None:
    """As a topic that is made anew does, on brokers."""
    note(carried.log, 0, 1)
    consumers = [carried.consumer(projection) for projection in BOTH]
    try:
        for consumer in consumers:
            consumer.start()
            assert consumer.looked()
        wait_until(lambda: all(c.cursors[0].position == 2 for c in consumers))
        carried.log.clear()
        for number in range(added):
            note(carried.log, number)
        pass_time_until(carried, consumers, lambda c: c.disproved is not None)
        assert all("another log" in c.last_error for c in consumers)
    finally:
        for consumer in consumers:
            consumer.stop()
    assert carried.numbers() == ([0, 1], [b"0", b"1"])


def test_the_log_moved_away_for_a_while_is_read_on(carried: Carried) -> None:
    note(carried.log, 0)
    reader = carried.log.reader()
    proof = reader.read(TOPIC, 0, 0, 1, "").proof
    away = carried.folder / "away"
    (carried.folder / "log").rename(away)
    assert reader.read(TOPIC, 0, 1, 1, proof).proof == proof
    shutil.move(away, carried.folder / "log")
    note(carried.log, 1)
    assert reader.read(TOPIC, 0, 1, 9, proof).next == 2
    reader.close()


def test_what_is_made_sure_of_once_more_is_held_all_the_while(
    carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild that was swapped in is answered from at once, and so is whatever is resumed."""
    for number in range(5):
        note(carried.log, number)
    cursor, reader = carried.cursor(notes.table), carried.log.reader()
    held: list[int] = []
    apply = cursor.sink.apply

    def seen(log: str, partition: int, batch: Batch) -> Outcome:
        held.append(cursor.held)
        return apply(log, partition, batch)

    monkeypatch.setattr(cursor.sink, "apply", seen)
    cursor.resume(reader)
    cursor.step(reader, 40)
    cursor.resume(reader)
    assert held == [0, 5]
    other = carried.cursor(notes.table)
    apply, cursor = other.sink.apply, other
    monkeypatch.setattr(other.sink, "apply", seen)
    other.resume(reader)
    assert held == [0, 5, 0], "after a start nobody knows whether it went in"
    reader.close()
