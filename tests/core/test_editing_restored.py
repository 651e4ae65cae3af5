"""A backup takes the database along, and what is restored of it is said anew."""

from contextlib import closing
from pathlib import Path

import pytest

from core.test_backup import Quiet
from penstock.core.database import Database
from penstock.core.editing.relay import Relay
from penstock.core.editing.serving import republish_file
from penstock.core.entities import Wanted, changes
from penstock.core.events import Codec
from penstock.core.log.backup import Unproven, contents_of, create, restore, verify
from penstock.core.log.pace import Pace
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Topic
from support.clock import MovedClock
from support.databases import by, keeping, sqlite, sqlite_url
from support.disks import flip
from support.lines import Lines
from support.logs import contents
from support.shop import SHELF, Shelf

CODEC = Codec(changes("shop").events)


def relayed(folder: Path, database: Database, clock: MovedClock) -> list[str]:
    """What a process says that has both; and that it finds nothing astray."""
    with closing(SqliteLog(folder / "log.db", clock, Limits())) as log:
        relay = Relay(database, log, Topic.codec, ["shop"], Lines().logger)
        relay.turn()
        assert relay.astray == {}
        events = [CODEC.decode(payload) for payload in contents(log, "shop.changes")]
        return [getattr(event, "id", "all") for event in events]


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def backup(tmp_path: Path, clock: MovedClock) -> tuple[Path, str]:
    """Of a folder in which something was changed, and what."""
    data = tmp_path / "data"
    data.mkdir()
    with closing(sqlite(data)) as database:
        made = keeping(database, clock).create(SHELF, Shelf("A", "a"), by())
        relayed(data, database, clock)
        create(data / "log.db", tmp_path / "kept", Quiet, Pace(0), database=data / "database.db")
    return tmp_path / "kept", made.id


def test_a_restored_database_is_whole_and_says_everything_anew(
    backup: tuple[Path, str], tmp_path: Path, clock: MovedClock
) -> None:
    folder, id_ = backup
    verify(folder, Quiet, Pace(0))
    target = tmp_path / "target"
    assert restore(folder, target, Quiet).database
    republish_file(target / "database.db", clock)
    with closing(Database(sqlite_url(target))) as database:
        [kept], _ = keeping(database, clock).listed(SHELF, Wanted())
        assert kept.id == id_
        assert relayed(target, database, clock) == [id_, id_, "all"]


def test_a_damaged_database_is_no_backup(backup: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = backup
    flip(folder / "database.db", b'"name"')
    with pytest.raises(Unproven, match="the database of the backup"):
        verify(folder, Quiet, Pace(0))
    with pytest.raises(Unproven, match="the database of the backup"):
        restore(folder, tmp_path / "target", Quiet)
    assert not (tmp_path / "target" / "database.db").exists()
    assert not (tmp_path / "target" / "log.db").exists()


def test_where_there_is_no_database_the_backup_is_as_it_was(
    tmp_path: Path, clock: MovedClock
) -> None:
    SqliteLog(tmp_path / "log.db", clock, Limits()).close()
    kept = tmp_path.with_name(f"{tmp_path.name}-kept")
    create(tmp_path / "log.db", kept, Quiet, Pace(0), database=tmp_path / "database.db")
    assert {path.name for path in kept.iterdir()} == {"log.db", "backup.json"}
    assert b"database" not in (kept / "backup.json").read_bytes()
    assert contents_of(kept).database == ""
