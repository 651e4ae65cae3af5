"""What logs promise to whoever makes records of records: none is read twice.

The embedded ones store none twice, and say so in their receipts; brokers take everything.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.test_backup import Quiet
from penstock.core.errors import NotReady
from penstock.core.log import DUPLICATE, Append, Log, Origin, Receipt
from penstock.core.log.memory import MemoryLog
from penstock.core.log.salvage import salvage
from penstock.core.log.sqlite import Limits, SqliteLog
from support.clock import MovedClock
from support.disks import FaultyDisk
from support.logs import TOPIC, account, add, balanced, contents, submit
from support.opened import open_memory, open_sqlite

SOURCE = "tests.fold"


@pytest.fixture(params=[open_sqlite, open_memory], ids=["sqlite", "memory"])
def embedded(request: pytest.FixtureRequest, tmp_path: Path, clock: MovedClock) -> Iterator[Log]:
    with closing(request.param(tmp_path, clock)) as opened:
        yield opened


def made(
    *numbers: int, source: str = SOURCE, partition: int = 0, topic: str = TOPIC, mark: str = ""
) -> Append:
    """An output of each of these records, told apart by what it says."""
    payloads = [f"{number}{mark}".encode() for number in numbers]
    return Append(topic, payloads, origin=Origin(source, partition, numbers))


def test_what_was_taken_once_is_not_read_again(log: Log) -> None:
    submit(log, made(0, 1))
    submit(log, made(0, 1, mark="again"))
    assert contents(log) == [b"0", b"1"]


def test_of_a_repeat_that_goes_on_only_the_rest_is_read(log: Log) -> None:
    submit(log, made(0, 1, 1))
    submit(log, made(0, 1, 1, 2, 5, 5, mark="!"))
    assert contents(log) == [b"0", b"1", b"1", b"2!", b"5!", b"5!"]


def test_numbers_may_leave_gaps_and_none_below_the_last_is_taken_later(log: Log) -> None:
    submit(log, made(7))
    submit(log, made(3))
    assert contents(log) == [b"7"]


def test_of_attempts_at_one_number_the_first_counts_and_whole(log: Log) -> None:
    """Whatever the others say, and as many as they say."""
    for attempt, numbers in ((b"a", [1, 1]), (b"b", [1, 1, 1]), (b"c", [2])):
        one = made(*numbers, mark=attempt.decode())
        assert one.origin is not None
        submit(log, one._replace(origin=one.origin._replace(attempt=attempt)))
    assert contents(log) == [b"1a", b"1a", b"2c"]


def test_of_a_source_that_says_one_thing_nothing_is_read_twice(log: Log) -> None:
    for source in ("x/2", "x/1", "x/2"):
        one = made(7, 7, source=source)
        assert one.origin is not None
        submit(log, one._replace(origin=one.origin._replace(alone=True)))
    assert contents(log) == [b"7"] * 4


def test_whoever_goes_on_from_a_proof_passes_over_what_was_read_before_it(log: Log) -> None:
    submit(log, made(0, 1, 2))
    with closing(log.reader()) as reader:
        proof = reader.read(TOPIC, 0, 0, 2, "").proof
    submit(log, made(1, 2, 3, mark="again"))
    with closing(log.reader()) as reader:
        batch = reader.read(TOPIC, 0, 2, 10, proof)
        assert [*batch.payloads] == [b"2", b"3again"]
        again = reader.read(TOPIC, 0, batch.next, 10, batch.proof)
        assert not again.payloads
        assert reader.read(TOPIC, 0, 2, 10, proof) == batch


def test_the_embedded_logs_say_what_they_had_already(embedded: Log) -> None:
    assert submit(embedded, made(0, 1)) == [Receipt(0, 0)]
    assert submit(embedded, made(0, 1)) == [DUPLICATE]
    assert submit(embedded, made(0, 1, 1, 2)) == [Receipt(0, 2)]


def test_sources_partitions_and_topics_count_by_themselves(log: Log) -> None:
    submit(log, made(5), made(5, source="tests.other"), made(5, partition=1))
    submit(log, made(5, topic="tests.one"))
    assert contents(log) == [b"5"] * 3
    assert contents(log, "tests.one") == [b"5"]


def test_within_one_submission_the_second_is_the_repeat(log: Log) -> None:
    submit(log, made(1), made(1), made(2))
    assert contents(log) == [b"1", b"2"]


def test_repeats_are_no_events_that_were_received(embedded: Log) -> None:
    submit(embedded, made(0, 1))
    submit(embedded, made(0, 1))
    submit(embedded, made(1, 2))
    assert account(embedded)[1:] == (3, 3, 0, 0)
    assert balanced(account(embedded))


def test_records_without_an_origin_are_stored_however_often_they_come(log: Log) -> None:
    submit(log, made(9))
    add(log, b"9")
    add(log, b"9")
    assert contents(log) == [b"9"] * 3


@given(ends=st.lists(st.integers(0, 12), max_size=8), width=st.integers(1, 3))
def test_however_blocks_are_cut_and_repeated_each_output_is_there_once(
    ends: Sequence[int], width: int
) -> None:
    """Each attempt goes on from somewhere that was reached, and gets to where it gets."""
    log = MemoryLog(MovedClock())
    reached = 0
    for first, end in zip([0, *ends], ends, strict=False):
        numbers = [n for n in range(min(first, reached), end) for _ in range(width)]
        if numbers:
            submit(log, made(*numbers))
        reached = max(reached, end)
    assert contents(log) == [str(n).encode() for n in range(reached) for _ in range(width)]


def test_what_was_taken_is_known_after_the_log_was_opened_again(
    tmp_path: Path, clock: MovedClock
) -> None:
    with closing(open_sqlite(tmp_path, clock)) as log:
        submit(log, made(4, 4))
    with closing(open_sqlite(tmp_path, clock)) as log:
        assert submit(log, made(4, 4), made(6)) == [DUPLICATE, Receipt(0, 2)]
        assert contents(log) == [b"4", b"4", b"6"]


def test_a_commit_that_failed_has_taken_nothing(tmp_path: Path, clock: MovedClock) -> None:
    """The block and the number are one transaction: what fails of it, fails of both."""
    disk = FaultyDisk()
    with closing(SqliteLog(tmp_path / "log.db", clock, Limits(), vfs=disk.name)) as log:
        submit(log, made(1))
        disk.write_fault = apsw.FullError("full")
        with pytest.raises(NotReady):
            submit(log, made(2))
        disk.heal()
        assert submit(log, made(2)) == [Receipt(0, 1)]
        assert contents(log) == [b"1", b"2"]


def test_a_file_that_is_older_than_origins_is_served_on(tmp_path: Path, clock: MovedClock) -> None:
    with closing(open_sqlite(tmp_path, clock)) as log:
        add(log, b"before")
    with closing(apsw.Connection(str(tmp_path / "log.db"))) as file:
        file.execute("DROP TABLE origins")
    with closing(open_sqlite(tmp_path, clock)) as log:
        submit(log, made(0))
        assert submit(log, made(0)) == [DUPLICATE]
        assert contents(log) == [b"before", b"0"]


def test_a_log_that_was_cleared_knows_of_no_origin(tmp_path: Path, clock: MovedClock) -> None:
    with closing(SqliteLog(tmp_path / "log.db", clock, Limits())) as log:
        submit(log, made(3))
        log.clear()
        assert submit(log, made(0)) == [Receipt(0, 0)]


@pytest.mark.parametrize("older", [False, True])
def test_a_salvaged_log_knows_what_it_has_taken(
    tmp_path: Path, clock: MovedClock, *, older: bool
) -> None:
    with closing(open_sqlite(tmp_path, clock)) as log:
        submit(log, made(0, 1))
    if older:
        with closing(apsw.Connection(str(tmp_path / "log.db"))) as file:
            file.execute("DROP TABLE origins")
    assert salvage(tmp_path / "log.db", tmp_path / "made", Quiet).lacking == []
    with closing(open_sqlite(tmp_path / "made", clock)) as log:
        assert submit(log, made(1))[0].is_duplicate is not older
