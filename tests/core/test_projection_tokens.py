"""A block whose fate is unknown goes in exactly once, whatever became of the engine's tokens.

A power cut may take the file of the tokens that it knows, or leave a token whose rows it took.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.test_projection_effects import Bench, exactly
from penstock.core.errors import Damaged
from penstock.core.projection.sinks import sink
from support import notes
from support.damage import KINDS, Damage, removed
from support.notes import POISON, UNSTORABLE, Crash, note, rows_of


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.warehouse.drop("tests_totals_view")
    yield made
    made.close()


def restart(bench: Bench, meanwhile: Callable[[], object]) -> None:
    """A kill, what happens to files before the start, and that."""
    folder = bench.warehouse.folder
    assert folder is not None
    bench.warehouse.close()
    meanwhile()
    bench.warehouse = notes.open_unreliable(folder.parent)
    bench.warehouse.drop("tests_totals_view")
    bench.stores = bench.stores._replace(warehouse=bench.warehouse)


def losing(folder: Path, damage: Damage) -> Callable[[], object]:
    """Of every table that knows any tokens."""
    files = [file for file in folder.rglob("deduplication_logs/*.txt") if file.stat().st_size]
    assert files
    return lambda: [damage(file) for file in files]


@pytest.mark.parametrize(
    ("point", "damage"),
    [("crash before", removed), *(("crash after", damage) for damage in KINDS)],
)
def test_a_block_goes_in_once_though_its_token_is_lost(
    bench: Bench, tmp_path: Path, point: str, damage: Damage
) -> None:
    """Reliability 2, 9 and 46."""
    note(bench.log, *range(100))
    bench.warehouse.faults = ["", point]
    with pytest.raises(Crash):
        bench.carry(bench.table())
    restart(bench, losing(tmp_path, damage))
    bench.carry(bench.table(), limit=13)
    assert rows_of(bench.warehouse) == exactly(100)


def test_of_a_block_that_is_in_by_part_the_rest_goes_in(bench: Bench, tmp_path: Path) -> None:
    """Reliability 2 and 9; of a block each partition goes in by itself."""
    note(bench.log, *range(100))
    bench.warehouse.faults = ["", "crash after"]
    with pytest.raises(Crash):
        bench.carry(bench.table())
    bench.warehouse.command("ALTER TABLE tests_notes DELETE WHERE part = 1 AND number >= 40 "
                            "SETTINGS mutations_sync = 1")  # fmt: skip
    restart(bench, losing(tmp_path, removed))
    bench.carry(bench.table())
    assert rows_of(bench.warehouse) == exactly(100)


def test_a_block_goes_in_though_its_token_is_there_without_its_rows(bench: Bench) -> None:
    """Reliability 2 and 9; the engine writes a token down before the rows."""
    note(bench.log, *range(100))
    bench.warehouse.faults = ["", "crash after"]
    with pytest.raises(Crash):
        bench.carry(bench.table())
    bench.warehouse.command("ALTER TABLE tests_notes DELETE WHERE number >= 40 "
                            "SETTINGS mutations_sync = 1")  # fmt: skip
    restart(bench, list)
    assert rows_of(bench.warehouse) == exactly(40)
    bench.carry(bench.table())
    assert rows_of(bench.warehouse) == exactly(100)


@pytest.mark.parametrize("inserts", [2, 6, 8, 9])
def test_rows_around_a_refused_one_go_in_once_though_their_tokens_are_lost(
    bench: Bench, tmp_path: Path, inserts: int
) -> None:
    """Reliability 9; the crash is behind one of those inserts that went well."""
    note(bench.log, *range(11), UNSTORABLE, *range(12, 20))
    bench.warehouse.faults = [""] * (inserts - 1) + ["crash after"]
    with pytest.raises(Crash):
        bench.carry(bench.table())
    restart(bench, losing(tmp_path, removed))
    bench.carry(bench.table())
    assert rows_of(bench.warehouse) == [row for row in exactly(20) if row[0] != 11]
    assert [letter.offset for letter in bench.letters()] == [11]


def test_a_dead_letter_is_retried_once_though_its_token_is_lost(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 9; a stop between its row and its end leaves the letter there."""
    note(bench.log, 0)
    note(bench.log, 1, word=POISON)
    bench.carry(bench.table())
    (letter,) = bench.letters()
    monkeypatch.setattr(notes, "POISON", "no word")
    sink(notes.table, bench.stores).retry(bench.log.identity(""), letter)
    restart(bench, losing(tmp_path, removed))
    sink(notes.table, bench.stores).retry(bench.log.identity(""), letter)
    assert [row[0] for row in rows_of(bench.warehouse)] == [0, 1]


def test_a_table_that_feeds_a_view_is_stopped_when_rows_are_in_twice(tmp_path: Path) -> None:
    """Reliability 8 and 46: what a view has only the engine's tokens know."""
    bench = Bench(tmp_path)
    note(bench.log, *range(100))
    bench.warehouse.faults = ["", "crash after"]
    with pytest.raises(Crash):
        bench.carry(bench.table())
    bench.warehouse.close()
    losing(tmp_path, removed)()
    bench.warehouse = notes.open_unreliable(tmp_path)
    bench.stores = bench.stores._replace(warehouse=bench.warehouse)
    for _ in range(2):
        with pytest.raises(Damaged, match=r"(in|there) twice"):
            bench.carry(bench.table())
    bench.close()
