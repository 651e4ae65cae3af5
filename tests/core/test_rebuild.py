"""A rebuild replaces what there is by no less, keeps off the reserve, and leaves nothing behind."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from penstock.core.errors import NotReady
from penstock.core.projection import Projection, Rows, Table
from penstock.core.projection.comparing import newly_damaged
from penstock.core.projection.dead_letters import DeadLetter
from penstock.core.projection.disk_space import DiskSpace, NoDiskSpace
from penstock.core.projection.rebuild import Rebuild
from penstock.core.projection.shadows import Rebuilt, Turn, clean_up, create_shadow
from penstock.core.state import Entry
from penstock.core.state.lease import AloneLeases
from support import notes
from support.carried import BOTH, Carried
from support.logs import add
from support.notes import Crash, note, rows_of

EITHER = pytest.mark.parametrize("projection", BOTH, ids=["table", "index"])
PLENTY = 1 << 40


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Carried]:
    made = Carried(tmp_path)
    yield made
    made.close()


def rebuild(
    carried: Carried,
    projection: Projection,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    disk_space: DiskSpace | None = None,
    leaving: Callable[[], bool] = lambda: False,
    **how: Any,
) -> Rebuilt:
    work = Rebuild(
        carried.consumer(projection), carried.stores, carried.log, carried.clock,
        carried.lines.logger, disk_space=disk_space, leaving=leaving,
    )  # fmt: skip
    return work.run(notes.SCHEMA[0], progress, **how)


def nothing_is_left(carried: Carried, projection: Projection) -> bool:
    shadow = f"{projection.name}__shadow"
    letters = carried.stores.dead_letters.letters(shadow)
    return (
        not letters
        and carried.warehouse.columns(shadow) == []
        and shadow not in carried.state.spaces()
    )


def damage(carried: Carried, first: int) -> None:
    """Zeros in place of the block that begins there."""
    carried.log.close()
    connection = apsw.Connection(str(carried.folder / "log" / "log.db"))
    connection.execute(
        "UPDATE blocks_1 SET body = zeroblob(length(body)) WHERE first = ?", (first,)
    )
    connection.close()
    carried.log = carried._open_log()


# -- no less --------------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize("compare", [True, False])
def test_a_damaged_log_does_not_take_the_place_of_what_was_made_when_it_was_whole(
    carried: Carried, projection: Projection, compare: bool
) -> None:
    """Reliability 47."""
    for number in range(5):
        note(carried.log, number)
    carried.carry()
    before = carried.numbers()
    damage(carried, 3)
    rebuilt = rebuild(carried, projection, compare=compare)
    assert not rebuilt.swapped
    if projection is notes.index or not compare:
        assert "records 3 to 3 of partition 0 are damaged" in rebuilt.lost[0]
    assert "live" in rebuilt.lost[-1], "counted"
    assert carried.numbers() == before
    assert nothing_is_left(carried, projection)
    note(carried.log, 5)
    carried.carry(projection)  # what was kept goes on

    accepted = rebuild(carried, projection, compare=compare, accept_loss=True)
    assert accepted.swapped
    assert accepted.lost
    rows, history = carried.numbers()
    assert (3 in rows) == (projection is not notes.table)
    assert (b"3" in history) == (projection is not notes.index)
    again = rebuild(carried, projection, compare=compare)
    assert (again.swapped, again.lost) == (True, []), "it was damaged before"
    assert [letter.offset for letter in carried.stores.dead_letters.letters(projection.name)] == [3]


@EITHER
def test_a_log_that_ends_earlier_does_not_take_the_place_of_what_it_was_once_more(
    carried: Carried, projection: Projection
) -> None:
    """Reliability 47."""
    for number in range(3):
        note(carried.log, number)
    older = carried.copy_log()
    note(carried.log, 3)
    carried.carry()
    before = carried.numbers()
    carried.put_back(older)
    rebuilt = rebuild(carried, projection, compare=False)
    assert not rebuilt.swapped
    assert "ends at 3, and what there is has the records before 4" in rebuilt.lost[0]
    assert len(rebuilt.lost) == 2
    assert carried.numbers() == before
    assert rebuild(carried, projection, compare=False, accept_loss=True).swapped
    note(carried.log, 9)
    carried.carry(projection)
    assert 9 in carried.numbers()[0] or b"9" in carried.numbers()[1]


@EITHER
def test_what_is_as_much_or_more_or_other_is_swapped_in(
    carried: Carried, projection: Projection
) -> None:
    note(carried.log, *range(30))
    carried.carry()
    note(carried.log, 30)
    if isinstance(projection, Table):
        carried.warehouse.command("ALTER TABLE tests_notes UPDATE seen = 9 WHERE 1")
    else:
        carried.state.put("tests.notes", Entry(b"word", b"%08d" % 0, b"other"))
    rebuilt = rebuild(carried, projection)
    assert rebuilt.differences
    assert (rebuilt.swapped, rebuilt.lost) == (True, [])
    assert rebuild(carried, projection).differences == []


@EITHER
def test_where_there_is_nothing_there_is_nothing_to_lose(
    carried: Carried, projection: Projection
) -> None:
    note(carried.log, 0)
    note(carried.log, 1)
    damage(carried, 0)
    assert rebuild(carried, projection).swapped


@EITHER
def test_a_dry_run_says_what_would_be_lost_and_keeps_what_there_is(
    carried: Carried, projection: Projection
) -> None:
    note(carried.log, 0)
    note(carried.log, 1)
    carried.carry()
    damage(carried, 1)
    told = rebuild(carried, projection, swap=False, accept_loss=True)
    assert (told.swapped, bool(told.lost)) == (False, True)
    assert carried.numbers() == ([0, 1], [b"0", b"1"])


def test_rows_that_retention_gives_up_are_no_loss(carried: Carried) -> None:
    note(carried.log, *range(9))
    carried.carry()
    newest = replace(notes.table, retained="number > (SELECT max(number) - 3 FROM {table})")
    newest = replace(newest, rows=lambda *given: newest_rows(notes.note_rows(*given)))
    assert len(rows_of(carried.warehouse)) == 9
    rebuilt = rebuild(carried, newest, compare=False)
    assert (rebuilt.swapped, rebuilt.lost) == (True, [])
    assert [row[1] for row in rows_of(carried.warehouse)] == [6, 7, 8]


def newest_rows(made: Rows) -> Rows:
    rows = [row for row in made.rows if row.number > 5]  # type: ignore[attr-defined] # notes' own
    return made._replace(rows=rows)


def test_entries_beyond_those_that_matter_are_no_loss(carried: Carried) -> None:
    """Trims come when a group has grown; until then it holds more than what is rebuilt."""
    for number in range(9):
        note(carried.log, number)
    carried.carry(notes.index)
    assert rebuild(carried, notes.index).lost == []


def letter(first: int, following: int, code: str = "damaged", partition: int = 0) -> DeadLetter:
    return DeadLetter(
        projection="p", topic="t", partition=partition, offset=first, next=following, code=code,
        reason="", payload=b"", attempts=1, at_ms=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("live", "rebuilt", "lost"),
    [
        ([], [(3, 5)], ["3 to 4"]),
        ([(3, 5)], [(3, 5)], []),
        ([(0, 9)], [(3, 5)], []),
        ([(4, 5)], [(3, 7)], ["3 to 3", "5 to 6"]),
        ([(3, 4), (4, 5), (6, 7)], [(3, 7)], ["5 to 5"]),
        ([(3, 5)], [(3, 4), (4, 5)], []),
        ([(0, 3)], [(3, 5)], ["3 to 4"]),
    ],
)
def test_ranges_that_are_damaged_now_and_were_not_are_found_however_they_were_cut(
    live: list[tuple[int, int]], rebuilt: list[tuple[int, int]], lost: list[str]
) -> None:
    def letters(ranges: list[tuple[int, int]]) -> list[DeadLetter]:
        return [letter(*one) for one in ranges]

    found = newly_damaged([*letters(live), letter(0, 99, "rows")], letters(rebuilt))
    assert [line.partition("records ")[2].partition(" of")[0] for line in found] == lost
    assert newly_damaged([letter(3, 5, partition=1)], [letter(3, 5)]) != []


# -- room -----------------------------------------------------------------------------------------


class Disk:
    """Its free bytes, one answer after another; the last holds."""

    def __init__(self, *free: int) -> None:
        self._free = list(free)

    def __call__(self, folder: Path) -> int:
        return self._free.pop(0) if len(self._free) > 1 else self._free[0]


@EITHER
def test_without_space_for_a_second_copy_it_does_not_begin(
    carried: Carried, projection: Projection
) -> None:
    """Reliability 47."""
    note(carried.log, *range(50))
    carried.carry()
    carried.clock.pass_hours(1)
    before = carried.numbers()
    reserve = 1_000_000
    disk_space = DiskSpace(carried.folder, reserve, Disk(2 * reserve + 10))
    with pytest.raises(NoDiskSpace, match=r"takes about .* bytes while 2000010 are free"):
        rebuild(carried, projection, disk_space=disk_space)
    assert carried.numbers() == before
    assert nothing_is_left(carried, projection)
    disk_space = DiskSpace(carried.folder, PLENTY)  # the disk itself
    with pytest.raises(NoDiskSpace):
        rebuild(carried, projection, disk_space=disk_space)
    assert rebuild(carried, projection, disk_space=DiskSpace(carried.folder, 0)).swapped


@EITHER
def test_a_disk_that_fills_meanwhile_ends_it_before_the_reserve_is_touched(
    carried: Carried, projection: Projection
) -> None:
    """Reliability 4 and 47."""
    note(carried.log, *range(200))  # some blocks
    add(carried.log, b"no event")  # leaves a letter
    carried.carry()
    before, reserve = carried.numbers(), 1_000_000
    done: list[int] = []
    disk_space = DiskSpace(carried.folder, reserve, Disk(PLENTY, PLENTY, PLENTY, 2 * reserve - 1))
    with pytest.raises(NoDiskSpace, match="What there was is kept"):
        rebuild(
            carried,
            projection,
            disk_space=disk_space,
            progress=lambda so_far, _: done.append(so_far),
        )
    assert 0 < done[-1] < 200
    assert carried.numbers() == before
    assert nothing_is_left(carried, projection)


# -- nothing is left ------------------------------------------------------------------------------


@EITHER
def test_a_process_that_is_about_to_end_gives_it_up(
    carried: Carried, projection: Projection
) -> None:
    """Reliability 47."""
    note(carried.log, *range(200))
    carried.carry()
    looks = iter([False, False, True])
    with pytest.raises(NotReady, match="about to end"):
        rebuild(carried, projection, leaving=lambda: next(looks))
    assert nothing_is_left(carried, projection)


@EITHER
def test_one_at_a_time_rebuilds(carried: Carried, projection: Projection) -> None:
    note(carried.log, *range(9))
    consumer = carried.consumer(projection)
    work = Rebuild(consumer, carried.stores, carried.log, carried.clock, carried.lines.logger)
    refused: list[str] = []

    def again(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(NotReady, match="is being rebuilt already") as told:
                work.run(notes.SCHEMA[0], lambda _done, _total: None)
            refused.append(str(told.value))

    assert work.run(notes.SCHEMA[0], again).swapped
    assert refused
    assert work.run(notes.SCHEMA[0], lambda _done, _total: None).swapped


def test_what_a_killed_one_left_is_dropped_by_the_next_start(carried: Carried) -> None:
    """Reliability 47."""
    note(carried.log, *range(90))
    add(carried.log, b"no event")
    carried.carry()
    for projection in BOTH:
        consumer = carried.consumer(projection)
        work = Rebuild(consumer, carried.stores, carried.log, carried.clock, carried.lines.logger)
        for table in projection.tables:
            create_shadow(carried.stores, notes.SCHEMA[0], table)
        reader = carried.log.reader()
        for shadow in work._shadows:
            while shadow.step(reader, 40):
                pass
        reader.close()
        assert not nothing_is_left(carried, projection)
    before = carried.numbers()
    carried.close_stores()
    carried.open_stores()
    leases = AloneLeases(carried.clock)
    for projection in BOTH:
        consumer = carried.consumer(projection)
        turn = Turn(projection, leases, "next", carried.clock)
        clean_up(consumer, carried.stores, turn, carried.lines.logger)
        assert nothing_is_left(carried, projection)
        assert len(carried.stores.dead_letters.letters(projection.name)) == 1
    assert carried.numbers() == before
    assert carried.lines.named("rebuild.left_behind") == []


def test_what_ends_it_is_told_and_not_what_could_not_be_dropped(
    carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(carried.log, *range(90))
    carried.carry(notes.table)
    carried.warehouse.faults = ["", "crash before"]
    drop = carried.warehouse.drop

    def fail(table: str) -> None:
        monkeypatch.setattr(carried.warehouse, "drop", drop)
        raise OSError("no space left")

    monkeypatch.setattr(carried.warehouse, "drop", fail)
    with pytest.raises(Crash):
        rebuild(carried, notes.table)
    assert len(carried.lines.named("rebuild.left_behind")) == 1
    assert rebuild(carried, notes.table).swapped
    assert nothing_is_left(carried, notes.table)
