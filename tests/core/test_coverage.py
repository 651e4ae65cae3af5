"""A log that was trimmed covers a part of what was made of it, and a rebuild replaces no more."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.test_rebuild import nothing_is_left, rebuild
from penstock.core.errors import Damaged
from penstock.core.projection.rebuild import Rebuild
from penstock.core.state import Entry
from support import notes
from support.carried import Carried
from support.logs import TOPIC, wait_until
from support.notes import note, rows_of


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Carried]:
    made = Carried(tmp_path)
    yield made
    made.close()


def trim(carried: Carried, start: int) -> None:
    """Long after the last block went into the table."""
    cursor, reader = carried.cursor(notes.table), carried.log.reader()
    with closing(reader):
        cursor.resume(reader)
        cursor.sink.settle(0)
    carried.log.trim(carried.log.identity(TOPIC), TOPIC, start, 0)
    wait_until(lambda: carried.log.start(TOPIC, 0) == start)


def test_only_partitions_that_the_log_covers_whole_are_made_anew(carried: Carried) -> None:
    """The oldest record is of the part 0, as every third one is. The carry counts what was seen
    before, of which a log that was trimmed knows less.
    """
    for number in range(9):
        note(carried.log, number)
    carried.carry()
    trim(carried, 1)
    carried.warehouse.command("ALTER TABLE tests_notes UPDATE seen = 77 WHERE log_offset IN (3, 4)")
    told = rebuild(carried, notes.table, swap=False)
    assert told.kept == [
        "partition 0 as it is: 1 of its 3 rows are of records that the log keeps no longer"
    ]
    assert told.lost == []
    rebuilt = rebuild(carried, notes.table)
    assert (rebuilt.swapped, rebuilt.records, rebuilt.lost) == (True, 8, [])
    seen = [0, 0, 1, 77, 3, 4, 6, 6, 7]
    assert rows_of(carried.warehouse) == [(n, n, seen[n]) for n in range(9)]
    note(carried.log, 9)
    carried.carry(notes.table)
    assert [row[1] for row in rows_of(carried.warehouse)] == list(range(10))
    assert carried.warehouse.lacking("tests_notes") == ""
    assert nothing_is_left(carried, notes.table)


def test_what_is_not_covered_of_a_damaged_table_is_kept_unless_told_otherwise(
    carried: Carried,
) -> None:
    note(carried.log, 0)
    note(carried.log, 1)
    carried.carry(notes.table)
    trim(carried, 1)
    live = carried.consumer(notes.table)
    live.damaged = Damaged("tests_notes", "a part is gone")
    work = Rebuild(live, carried.stores, carried.log, carried.clock, carried.lines.logger)
    rebuilt = work.run(notes.SCHEMA[0], lambda _done, _total: None)
    assert not rebuilt.swapped
    assert rebuilt.lost[0].endswith("and it is damaged: a part is gone")


def test_a_table_of_another_form_or_log_is_not_replaced_by_what_is_left(carried: Carried) -> None:
    note(carried.log, 0)
    note(carried.log, 1)
    carried.carry(notes.table)
    trim(carried, 1)
    rebuilt = rebuild(carried, notes.table, compare=False)
    assert (rebuilt.swapped, rebuilt.kept) == (False, [])
    assert rebuilt.lost == ["partition 0: 1 rows live, 0 rebuilt"]


def test_a_space_is_replaced_only_by_its_equal_once_the_log_was_trimmed(carried: Carried) -> None:
    for number in range(9):
        note(carried.log, number)
    carried.carry(notes.index)
    trim(carried, 4)  # it keeps five of a word
    assert rebuild(carried, notes.index, swap=False).lost != []
    carried.state.put("tests.notes", Entry(b"word", b"%08d" % 0, b"0"))
    rebuilt = rebuild(carried, notes.index)
    assert not rebuilt.swapped
    assert rebuilt.lost[-1] == (
        "partition 0 of the log begins at 4, and what there is may be made of the records before"
    )


def test_dead_letters_of_what_the_log_keeps_no_longer_survive_a_rebuild(carried: Carried) -> None:
    note(carried.log, 0, word=notes.POISON)
    note(carried.log, 1)
    carried.carry(notes.table)
    trim(carried, 1)
    assert rebuild(carried, notes.table).swapped
    assert [one.offset for one in carried.stores.dead_letters.letters("tests_notes")] == [0]
