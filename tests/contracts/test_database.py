"""What the database promises, whichever it is: its schema, its transactions, its outbox."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from penstock.core.database import Database
from penstock.core.database.schema import METADATA
from penstock.core.database.stepping import Steps
from penstock.core.editing import outbox
from penstock.core.editing.keeping import Keeping
from penstock.core.entities import Changed
from penstock.core.errors import (
    BadField,
    Misconfigured,
    NotFound,
    NotReady,
    Taken,
)
from support.clock import MovedClock
from support.databases import by, codes, keeping, opened, shelves, sqlite
from support.shop import ITEM, SHELF, Item, Shelf

FIRST = Path(__file__).parents[2] / "src/penstock/core/database/steps/s0001_entities.py"
LATER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

def upgrade() -> None:
    '''A note.'''
    op.add_column("entities", sa.Column("note", sa.String))
    op.execute("UPDATE oldest SET step = '{oldest}'")
"""


# -- the schema -----------------------------------------------------------------------------------


def test_the_steps_lead_to_the_tables_that_the_code_has(database_url: str) -> None:
    with closing(opened(database_url)) as database, database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_steps_are_taken_once(database_url: str) -> None:
    with closing(Database(database_url)) as database:
        with pytest.raises(Misconfigured, match=r"is at step none, .*run `penstock migrate`"):
            database.check()
        assert len(database.migrate()) == int(Steps().newest)
        assert database.migrate() == []
        database.check()


def test_steps_are_taken_once_by_many_at_once(database_url: str) -> None:
    def migrate(_: int) -> int:
        with closing(Database(database_url)) as database:
            return len(database.migrate())

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(migrate, range(4))) == 1


def newer(folder: Path, oldest: str) -> Steps:
    """As the version after this one has them."""
    folder.mkdir()
    (folder / FIRST.name).write_bytes(FIRST.read_bytes())
    (folder / "s0002_note.py").write_text(LATER.format(oldest=oldest))
    return Steps(folder)


def test_the_version_before_goes_on_beside_a_step_that_only_added(
    database_url: str, tmp_path: Path, clock: MovedClock
) -> None:
    with (
        closing(opened(database_url)) as before,
        closing(opened(database_url, newer(tmp_path / "2", "0001"))),
    ):
        [shelf] = shelves(keeping(before, clock), "a")
        with closing(Database(database_url)) as again:
            again.check()
            assert again.migrate() == []
            assert keeping(again, clock).get(SHELF, shelf.id) == shelf


def test_a_version_that_is_too_old_for_the_schema_is_told_so(
    database_url: str, tmp_path: Path
) -> None:
    opened(database_url, newer(tmp_path / "2", "0002")).close()
    with closing(Database(database_url)) as old:
        for go_on in (old.check, old.migrate):
            with pytest.raises(Misconfigured, match=r"step 0002, .* this one is of 0001; start"):
                go_on()


def test_a_step_that_fails_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    opened(database_url).close()
    broken = newer(tmp_path / "2", "0002'; this is no SQL '")
    with (
        closing(Database(database_url, broken)) as database,
        pytest.raises(Misconfigured, match="cannot be prepared"),
    ):
        database.migrate()
    with closing(Database(database_url)) as database:
        database.check()
        with database.read() as connection:
            columns = connection.execute(text("SELECT * FROM entities")).keys()
        assert "note" not in columns


def test_what_a_transaction_wrote_before_it_failed_is_not_there(database: Database) -> None:
    def write() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO numbers VALUES ('shop', 1, 1, 0)"))
            raise NotFound

    with pytest.raises(NotFound):
        write()
    with database.read() as connection:
        assert outbox.standing(connection, "shop") == outbox.Standing()


def test_one_leads_at_a_time_where_several_can(database_url: str) -> None:
    with closing(opened(database_url)) as one, closing(Database(database_url)) as other:
        with one.leads("tests.job") as leads:
            assert leads
            with other.leads("tests.job") as second, other.leads("tests.other") as another:
                assert second is one.embedded  # a file has one process
                assert another
        with other.leads("tests.job") as leads:
            assert leads


# -- when it does not answer ----------------------------------------------------------------------


@pytest.mark.parametrize("says", ["SELECT * FROM nowhere", "SELECT nothing", "this is no SQL"])
def test_whatever_a_database_says_that_is_about_no_row_is_that_it_is_not_ready(
    database: Database, says: str
) -> None:
    for open_ in (database.read, database.write):
        with pytest.raises(NotReady), open_() as connection:
            connection.execute(text(says))
    with database.read() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_what_is_not_committed_in_time_is_not_there(database: Database, shop: Keeping) -> None:
    """What its asker was told has failed. Reliability 15."""
    late = Keeping(database, "shop", "default", MovedClock(), lambda: None, until=0)
    with pytest.raises(NotReady):
        shelves(late, "a")

    def slow() -> None:
        with database.write(time.monotonic() + 0.05) as connection:
            connection.execute(text("INSERT INTO numbers VALUES ('other', 1, 1, 0)"))
            time.sleep(0.06)

    with pytest.raises(NotReady, match="too long"):
        slow()
    with database.read() as connection:
        assert outbox.standing(connection, "other") == outbox.Standing()
    assert codes(shop) == []
    shelves(shop, "a")


def test_whoever_waits_for_the_writer_of_a_file_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.core.database._WRITER_SECONDS_MAX", 0.01)

    def write() -> None:
        with database.write():
            pass

    with (
        closing(sqlite(tmp_path)) as database,
        database.write(),
        ThreadPoolExecutor(1) as threads,
        pytest.raises(NotReady, match="being written to"),
    ):
        threads.submit(write).result()


@pytest.mark.parametrize("at", ["before", "within"])
@pytest.mark.parametrize("instead", ["nothing", "another"])
def test_nothing_is_written_to_a_file_that_was_taken_away(
    tmp_path: Path, clock: MovedClock, at: str, instead: str
) -> None:
    """Reliability 15."""

    def take_away() -> None:
        for path in tmp_path.glob("database.db*"):
            path.rename(away / path.name)
        if instead == "another":
            sqlite(tmp_path).close()

    def write() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO numbers VALUES ('other', 1, 1, 0)"))
            take_away()

    away = tmp_path / "away"
    away.mkdir()
    with closing(sqlite(tmp_path)) as database:
        shop = keeping(database, clock)
        shelves(shop, "a")
        if at == "before":
            take_away()
        for does in (write, lambda: codes(shop), lambda: shelves(shop, "b")):
            with pytest.raises(NotReady, match="taken away") as told:
                does()
            assert str(tmp_path) not in told.value.message
        assert (tmp_path / "database.db").exists() == (instead == "another")
        for path in away.iterdir():
            path.rename(tmp_path / path.name)
        shelves(shop, "c")
        assert codes(shop) == ["a", "c"]
        with database.read() as connection:
            assert outbox.standing(connection, "other") == outbox.Standing()


# -- history and outbox ---------------------------------------------------------------------------


def test_the_history_tells_who_did_what_and_outlives_what_it_is_of(
    shop: Keeping, clock: MovedClock
) -> None:
    made, saved, gone = (by(who) for who in ("ann", "bob", "eve"))
    shelf = shop.create(SHELF, Shelf("A", "a"), made)
    clock.ms += 5
    shop.replace(SHELF, shelf.id, Shelf("B", "a"), None, saved)
    shop.archive(SHELF, shelf.id, None, saved, archived=True)
    shop.remove(SHELF, shelf.id, None, gone)
    entries, count = shop.history(SHELF, shelf.id, 10, 0)
    assert count == 4
    assert [(e.action, e.revision, e.who) for e in entries] == [
        ("remove", 4, "eve"), ("archive", 3, "bob"), ("replace", 2, "bob"), ("create", 1, "ann"),
    ]  # fmt: skip
    assert [e.request_id for e in entries][::3] == [gone.request_id, made.request_id]
    assert entries[0].after is None
    assert entries[3].before is None
    assert entries[2].before == {"archived": False, "body": shelf.body}
    assert entries[2].after is not None
    assert entries[2].after["body"]["name"] == "B"
    assert (entries[3].at_ms, entries[2].at_ms) == (shelf.created_ms, shelf.created_ms + 5)
    assert shop.history(SHELF, shelf.id, 2, 1)[0] == entries[1:3]
    with pytest.raises(NotFound):
        shop.history(SHELF, "shf_" + "9" * 24, 10, 0)


def test_changes_are_numbered_in_the_order_of_their_commits(
    shop: Keeping, database: Database
) -> None:
    """Nobody sees a number without having seen all before it, however many write at once."""
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            with database.read() as connection:
                found = [one.number for one in outbox.waiting(connection, "shop", 1_000)]
            assert found == list(range(1, len(found) + 1))
            seen.append(len(found))

    def write(part: int) -> None:
        shelves(shop, *(f"{part}-{n}" for n in range(10)))

    with ThreadPoolExecutor(5) as threads:
        watching = threads.submit(watch)
        list(threads.map(write, range(4)))
        done.set()
        watching.result()
    with database.read() as connection:
        assert len(outbox.waiting(connection, "shop", 1_000)) == 40


def test_a_change_that_fails_takes_no_number_and_no_history(
    shop: Keeping, database: Database
) -> None:
    [shelf] = shelves(shop, "a")
    with pytest.raises(Taken):
        shelves(shop, "a")
    with pytest.raises(BadField):
        shop.create(ITEM, Item("K", "shf_no"), by(id_="2" * 24))
    with database.read() as connection:
        [change] = outbox.waiting(connection, "shop", 10)
        standing = outbox.standing(connection, "shop")
    assert (change.number, change.event.number, standing.number) == (1, 1, 1)
    assert isinstance(change.event, Changed)
    assert change.event.id == shelf.id
    with pytest.raises(NotFound):
        shop.history(ITEM, "itm_" + "2" * 24, 10, 0)


def test_a_republication_says_all_there_is_in_an_era_of_its_own(
    shop: Keeping, database: Database, clock: MovedClock
) -> None:
    a, b, c = shelves(shop, "a", "b", "c")
    shop.remove(SHELF, b.id, None, by())
    [d] = shelves(keeping(database, clock, "other"), "d")
    with database.write() as connection:
        assert outbox.republish(connection, "shop", clock.ms) == 3
        said = outbox.waiting(connection, "shop", 10)
    era = clock.ms + 1  # later than the one that began with the first change, by any clock
    assert [(one.era, one.number) for one in said] == [(era, n) for n in (1, 2, 3, 4)]
    assert {getattr(one.event, "id", "") for one in said[:3]} == {a.id, c.id, d.id}
    assert {one.project for one in said[:3]} == {"default", "other"}
    assert type(said[3].event).__name__ == "Republished"
    clock.step_hours(-24)
    with database.write() as connection:
        outbox.republish(connection, "shop", clock.ms)
        assert outbox.standing(connection, "shop") == outbox.Standing(era + 1, 4, 4, 4)
