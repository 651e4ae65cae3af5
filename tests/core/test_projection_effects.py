"""Each record has its effect exactly once, whatever happens between the log and the stores."""

import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from penstock.core.errors import Disproved
from penstock.core.events import Codec, Event
from penstock.core.log import Log
from penstock.core.log.memory import MemoryLog
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Projection
from penstock.core.projection.cursor import PARKED_IN_A_ROW_MAX, Cursor
from penstock.core.projection.dead_letters import DeadLetter, DeadLetters, Stopped
from penstock.core.projection.sinks import sink
from penstock.core.state.rocksdb import RocksState
from penstock.core.warehouse import Unavailable
from support import notes
from support.clock import MovedClock
from support.disks import flip
from support.lines import Lines
from support.logs import TOPIC, add
from support.notes import POISON, SKIPPED, UNSTORABLE, Crash, Unreliable, note, rows_of
from support.stores import open_state, stores


class Bench:
    """Real stores, and consumers that come and go over them."""

    def __init__(self, folder: Path) -> None:
        self.clock = MovedClock()
        self.log: Log = MemoryLog(self.clock)
        self.state: RocksState = open_state(folder)
        self.warehouse: Unreliable = notes.open_unreliable(folder)
        self.stores = stores(self.warehouse, self.state, self.clock)
        self.lines = Lines()

    def table(self) -> Cursor:
        return self._consumer(notes.table)

    def index(self) -> Cursor:
        return self._consumer(notes.index)

    def _consumer(self, projection: Projection) -> Cursor:
        inner = sink(projection, self.stores)
        return Cursor(projection, inner, self.log, self.clock, self.lines.logger)

    def carry(self, consumer: Cursor, limit: int = 40) -> None:
        """Resume, then carry over all there is."""
        reader = self.log.reader()
        consumer.resume(reader)
        while consumer.step(reader, limit):
            pass
        reader.close()

    def letters(self, projection: str = "tests_notes") -> list[DeadLetter]:
        return DeadLetters(self.state).letters(projection)

    def close(self) -> None:
        self.warehouse.close()
        self.state.close()
        self.log.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def exactly(count: int) -> list[tuple[int, int, int]]:
    """The rows of `count` notes whose numbers are their offsets."""
    return [(n, n, n) for n in range(count)]


def history(bench: Bench, word: str = "word") -> list[bytes]:
    return [value for _, value in bench.state.first("tests.notes", [word.encode()], 1000)[0]]


# -- exactly once -------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_every_note_becomes_one_row_whatever_the_batches(bench: Bench, limit: int) -> None:
    note(bench.log, *range(20))
    consumer = bench.table()
    bench.carry(consumer, limit)
    assert rows_of(bench.warehouse) == exactly(20)
    assert consumer.counts == (20, 0, 0)
    assert consumer.status().lag_records == 0


def test_an_insert_whose_reply_is_lost_counts_once_also_in_a_view(bench: Bench) -> None:
    """Reliability 8."""
    note(bench.log, *range(100))
    bench.warehouse.faults = ["lose the reply", "lose the reply", "", "lose the reply"]
    consumer = bench.table()
    for _ in range(3):
        with pytest.raises(Unavailable):
            bench.carry(consumer)
    bench.carry(consumer)
    assert rows_of(bench.warehouse) == exactly(100)
    assert notes.counted_in_view(bench.warehouse) == 100
    assert consumer.counts.projected == 100


def test_an_insert_that_failed_is_repeated(bench: Bench) -> None:
    note(bench.log, *range(100))
    bench.warehouse.faults = ["refuse", "", "refuse", "refuse"]
    consumer = bench.table()
    for _ in range(3):
        with pytest.raises(Unavailable):
            bench.carry(consumer)
    bench.carry(consumer)
    assert rows_of(bench.warehouse) == exactly(100)
    assert notes.counted_in_view(bench.warehouse) == 100
    assert consumer.counts.projected == 100


@pytest.mark.parametrize("point", ["crash before", "crash after"])
def test_a_crash_around_an_insert_neither_loses_nor_doubles(bench: Bench, point: str) -> None:
    """Reliability 9. With blocks of other sizes than those that were under way."""
    for count, (survived, limit) in enumerate([(0, 13), (1, 40), (2, 13)]):
        first = 130 * count
        note(bench.log, *range(first, first + 100))
        bench.warehouse.faults = [""] * survived + [point]
        with pytest.raises(Crash):
            bench.carry(bench.table())
        note(bench.log, *range(first + 100, first + 130))
        bench.warehouse.faults = [point]  # and again while it recovers
        with pytest.raises(Crash):
            bench.carry(bench.table())
        bench.carry(bench.table(), limit)
        assert rows_of(bench.warehouse) == exactly(first + 130)
        assert notes.counted_in_view(bench.warehouse) == first + 130


def test_a_fold_goes_on_where_its_entries_end(bench: Bench) -> None:
    note(bench.log, 1, 2)
    bench.carry(bench.index())
    note(bench.log, 3)
    consumer = bench.index()
    bench.carry(consumer)
    assert history(bench) == [b"1", b"2", b"3"]
    assert consumer.counts.projected == 1


def test_a_hot_group_of_a_fold_stays_bounded(bench: Bench) -> None:
    """Reliability 21."""
    note(bench.log, *range(200))
    note(bench.log, 7, word="cold")
    bench.carry(bench.index(), 3)
    assert history(bench)[:5] == [b"0", b"1", b"2", b"3", b"4"]
    assert len(history(bench)) <= 2 * notes.index.keep + 3
    assert history(bench, "cold") == [b"7"]


def test_what_a_projection_leaves_out_is_counted_as_skipped(bench: Bench) -> None:
    note(bench.log, 0, 1)
    note(bench.log, 2, 3, word=SKIPPED)
    note(bench.log, 4)
    consumer = bench.table()
    bench.carry(consumer)
    assert consumer.counts == (3, 2, 0)
    assert rows_of(bench.warehouse) == [(0, 0, 0), (1, 1, 1), (4, 4, 4)]


def test_a_store_filled_from_another_log_is_left_alone(bench: Bench) -> None:
    """Reliability 45."""
    note(bench.log, 1, 2, 3)
    for consumer in (bench.table(), bench.index()):
        bench.carry(consumer)
    bench.log = MemoryLog(bench.clock)
    note(bench.log, *range(10))
    for consumer in (bench.table(), bench.index()):
        with pytest.raises(Disproved, match="penstock rebuild"):
            bench.carry(consumer)
    assert len(rows_of(bench.warehouse)) == 3


def test_a_log_that_lost_its_end_is_not_taken_for_one_without_news(
    bench: Bench, tmp_path: Path
) -> None:
    """Reliability 45: after an older copy came back, new records take offsets already projected."""
    bench.log = SqliteLog(tmp_path / "log.db", bench.clock, Limits())
    note(bench.log, 1, 2, 3)
    bench.log.close()
    older = (tmp_path / "log.db").read_bytes()
    bench.log = SqliteLog(tmp_path / "log.db", bench.clock, Limits())
    note(bench.log, 4, 5)
    for consumer in (bench.table(), bench.index()):
        bench.carry(consumer)
    bench.log.close()
    (tmp_path / "log.db").write_bytes(older)
    bench.log = SqliteLog(tmp_path / "log.db", bench.clock, Limits())
    for consumer in (bench.table(), bench.index()):
        with pytest.raises(Disproved, match="penstock rebuild"):
            bench.carry(consumer)


# -- poison -------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_decoded_is_a_dead_letter_and_its_neighbours_are_stored(
    bench: Bench,
) -> None:
    """Reliability 10."""
    note(bench.log, 0, 1)
    add(bench.log, b"\xff no event", b"", codec_of_another())
    note(bench.log, 5)
    for consumer in (bench.table(), bench.index()):
        bench.carry(consumer)
        assert consumer.counts == (3, 0, 3)
    assert [row[0] for row in rows_of(bench.warehouse)] == [0, 1, 5]
    for projection in ("tests_notes", "tests.notes"):
        letters = bench.letters(projection)
        assert [(letter.offset, letter.code) for letter in letters] == [
            (n, "undecodable") for n in (2, 3, 4)
        ]
        assert letters[0].payload == b"\xff no event"
        assert all("decoding a record" in letter.reason for letter in letters)


def codec_of_another() -> bytes:
    class Other(Event, frozen=True, array_like=True, tag="other/1"):
        number: int

    return Codec((Other,)).encode(Other(1))


def test_a_record_at_which_the_projection_raises_is_a_dead_letter_with_the_reason(
    bench: Bench,
) -> None:
    """Reliability 10."""
    note(bench.log, 0, 1)
    note(bench.log, 2, word=POISON)
    note(bench.log, 3)
    for consumer in (bench.table(), bench.index()):
        bench.carry(consumer)
        assert consumer.counts == (3, 0, 1)
    assert rows_of(bench.warehouse) == [(0, 0, 0), (1, 1, 1), (3, 3, 2)]
    assert history(bench) == [b"0", b"1", b"3"]
    reasons = [line["reason"] for line in bench.lines.named("projection.dead_lettered")]
    for projection in ("tests_notes", "tests.notes"):
        (letter,) = bench.letters(projection)
        assert (letter.offset, letter.code) == (2, "rows")
        assert re.fullmatch(
            r"ValueError: cannot bear this word \\udcff \(support/notes\.py:\d+\)", letter.reason
        )
        assert letter.reason in reasons
        assert letter.attempts == 1
    assert [line["dead_lettered"] for line in bench.lines.named("projection.dead_lettered")] == [
        1,
        1,
    ]


def test_a_row_that_the_engine_refuses_is_found_and_dead_lettered(bench: Bench) -> None:
    """Reliability 10."""
    note(bench.log, *range(17))
    note(bench.log, UNSTORABLE)
    note(bench.log, *range(18, 31))
    note(bench.log, UNSTORABLE)
    consumer = bench.table()
    bench.carry(consumer)
    assert consumer.counts == (30, 0, 2)
    kept = [n for n in range(31) if n != 17]
    assert rows_of(bench.warehouse) == [(n, n, n) for n in kept]
    letters = bench.letters()
    assert [(letter.offset, letter.code) for letter in letters] == [
        (17, "refused"),
        (31, "refused"),
    ]
    assert notes.codec.decode(letters[0].payload) == notes.Noted(UNSTORABLE)
    assert notes.counted_in_view(bench.warehouse) == 30


@pytest.mark.parametrize("fault", ["crash before", "crash after"])
def test_the_search_for_a_refused_row_may_be_repeated_from_any_point(
    bench: Bench, fault: str
) -> None:
    """Of one dozen after the other, each time from one point further."""
    points, crashes = 8, 0
    for at in range(points):
        first = 12 * at
        note(bench.log, *range(first, first + 5), UNSTORABLE, *range(first + 6, first + 12))
        bench.warehouse.faults = [""] * at + [fault]
        try:
            bench.carry(bench.table())
        except Crash:
            crashes += 1
            bench.carry(bench.table())
        bench.warehouse.faults = []
    refused = [12 * at + 5 for at in range(points)]
    stored = [(offset, number) for offset, number, _ in rows_of(bench.warehouse)]
    assert stored == [(n, n) for n in range(12 * points) if n not in refused]
    assert [letter.offset for letter in bench.letters()] == refused
    assert crashes >= 3  # one that is refused does not crash behind itself


def test_a_batch_of_nothing_but_poison_does_not_stand_in_the_way(bench: Bench) -> None:
    note(bench.log, *[UNSTORABLE] * 5)
    note(bench.log, *range(5), word=POISON)
    note(bench.log, 10)
    bench.carry(bench.table(), 5)
    assert rows_of(bench.warehouse) == [(10, 10, 5)]
    assert len(bench.letters()) == 10


def test_too_many_dead_letters_in_a_row_stop_the_consumer(bench: Bench) -> None:
    add(bench.log, *[b"no event"] * (PARKED_IN_A_ROW_MAX + 10))
    note(bench.log, 1)
    for consumer in (bench.table(), bench.index()):
        with pytest.raises(Stopped, match="correct the projection"):
            bench.carry(consumer, 20)


def test_a_few_good_ones_among_many_dead_letters_keep_the_consumer_going(bench: Bench) -> None:
    for number in range(10):
        add(bench.log, *[b"no event"] * 19)
        note(bench.log, number)
    consumer = bench.table()
    bench.carry(consumer, 20)
    assert consumer.counts == (10, 0, 190)


# -- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [4, 40, 1000])
@pytest.mark.parametrize("lost", [3, PARKED_IN_A_ROW_MAX + 20])
def test_a_damaged_range_is_a_dead_letter_and_the_rest_goes_on(
    bench: Bench, tmp_path: Path, lost: int, limit: int
) -> None:
    """Reliability 3."""
    bench.log = SqliteLog(tmp_path / "log.db", bench.clock, Limits())
    note(bench.log, 0, 1)
    marked = [notes.codec.encode(notes.Noted(n, f"MARK{n:04d}")) for n in range(lost)]
    add(bench.log, *marked)
    note(bench.log, *range(2 + lost, 10 + lost))
    bench.log.close()
    flip_block(tmp_path / "log.db")
    bench.log = SqliteLog(tmp_path / "log.db", bench.clock, Limits())
    for consumer in (bench.table(), bench.index()):
        bench.carry(consumer, limit)
        assert consumer.counts == (10, 0, lost)
        bench.carry(consumer, limit)  # once more, as after a restart
    kept = [0, 1, *range(2 + lost, 10 + lost)]
    assert [row[0] for row in rows_of(bench.warehouse)] == kept
    for projection in ("tests_notes", "tests.notes"):
        letters = bench.letters(projection)
        assert {letter.code for letter in letters} == {"damaged"}
        assert "checksum" in letters[0].reason
        offsets = [n for letter in letters for n in range(letter.offset, letter.next)]
        assert offsets == list(range(2, 2 + lost))
        assert bench.stores.dead_letters.by_partition(projection) == {0: lost}


def flip_block(path: Path) -> None:
    """One bit of the second block."""
    connection = apsw.Connection(str(path))
    body = connection.execute("SELECT body FROM blocks_1 WHERE first = 2").get
    connection.close()
    assert isinstance(body, bytes)
    flip(path, body[:16])


# -- dead letters again -------------------------------------------------------------------------


def test_a_dead_letter_is_projected_once_its_cause_is_gone(bench: Bench) -> None:
    note(bench.log, 7)
    payload = notes.codec.encode(notes.Noted(9))
    letter = DeadLetter(
        projection="tests_notes", topic=TOPIC, partition=0, offset=0, next=1, code="rows",
        reason="", payload=payload, attempts=1, at_ms=0,
    )  # fmt: skip
    for _ in range(3):
        bench.table().sink.retry(bench.log.identity(TOPIC), letter)
        bench.index().sink.retry(bench.log.identity(TOPIC), letter)
    assert rows_of(bench.warehouse) == [(0, 9, 0)]
    assert history(bench) == [b"9"]
