"""What the log forgets: by age, by size, by no clock that was wrong, and for nobody too early."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from core.test_backup import Interrupted, Quiet
from penstock.core import engines
from penstock.core.clock import CarefulClock
from penstock.core.errors import Misconfigured
from penstock.core.folder import FolderLock
from penstock.core.log import DUPLICATE, FORGOTTEN, Extent
from penstock.core.log.extents import ROW_BYTES, Front
from penstock.core.log.follower import SqliteFollower
from penstock.core.log.forgetting import Forgetting, Present, Verdict, verdict
from penstock.core.log.kept import FOREVER, Kept, overruled
from penstock.core.log.renewing import renew
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.log.sqlite_reader import SqliteReader
from penstock.core.platform.pools import Pools
from penstock.core.platform.positions import Positions
from penstock.core.projection import needs
from penstock.core.settings import Settings
from support.carried import BOTH, Carried, watching
from support.clock import MovedClock
from support.logs import TOPIC, add, contents, wait_until
from support.notes import index, note, table

HOUR = 3_600_000
NOW = 1_000 * HOUR
ALL = 1 << 40
DAY = Kept(hours=24)
NOTHING = Extent()


def blocks(*hours_ago: float, size: int = 100) -> Iterator[tuple[Front, int]]:
    """Of ten records each."""
    for number, ago in enumerate(hours_ago):
        yield Front(10 * number, NOW - int(ago * HOUR), size), 10 * number + 10


def start(*hours_ago: float, kept: Kept = DAY, needed: int = ALL, extent: Extent = NOTHING) -> int:
    found = verdict(blocks(*hours_ago), extent, kept, Present(NOW, NOW), needed)
    return found.start


def test_what_is_older_goes_in_whole_blocks() -> None:
    assert start(30, 25, 23, 1) == 20
    assert start(23, 1) == 0
    assert start(30, 25) == 20  # all there is
    assert start(9_000, kept=FOREVER) == 0


def test_what_is_too_much_goes_from_the_oldest_on() -> None:
    kept, extent = Kept(bytes=250), Extent(bytes=500)
    assert start(5, 4, 3, 2, 1, kept=kept, extent=extent) == 30
    assert start(5, 4, 3, 2, 1, kept=kept, extent=Extent(bytes=250)) == 0
    both = Kept(hours=2.5, bytes=450)
    assert start(5, 4, 3, 2, 1, kept=both, extent=extent) == 30
    assert start(2, 2, 2, 2, 2, kept=both, extent=extent) == 10


@pytest.mark.parametrize(
    ("hours_ago", "expected"),
    [
        pytest.param(
            (30, -9_000, 25, 23), 30, id="ahead for one block, which is as old as the next"
        ),
        pytest.param((-9_000, 23), 0, id="ahead at the front, and the next one is not old"),
        pytest.param((-9_000, -9_000, -9_000), 0, id="ahead, and nothing tells how old it is"),
        pytest.param((23, 9_000, 22), 0, id="behind for one block, before which one is not old"),
        pytest.param((25, 9_000, 23), 10, id="behind: no older than the next whose time counts"),
        pytest.param((30, 26, 31, 25, 23), 40, id="back by some hours, and right again"),
    ],
)
def test_a_time_that_a_wrong_clock_wrote_takes_nothing_early(
    hours_ago: tuple[float, ...], expected: int
) -> None:
    """Reliability 8."""
    assert start(*hours_ago) == expected


def test_a_time_before_what_was_trimmed_does_not_count_either() -> None:
    extent = Extent(until_ms=NOW - 25 * HOUR)
    assert start(9_000, 23, extent=extent) == 0
    assert start(9_000, 24.5, extent=extent) == 20


def test_projections_are_waited_for_until_there_is_twice_as_much() -> None:
    assert verdict(blocks(30, 26, 25), Extent(), DAY, Present(NOW, NOW), 10) == Verdict(
        10, NOW - 30 * HOUR, held=20
    )
    assert start(60, 49, 47, needed=5) == 20
    assert start(30, 26, needed=0) == 0
    kept = Kept(bytes=200)
    assert start(3, 2, 1, kept=kept, extent=Extent(bytes=300), needed=0) == 0
    assert start(3, 2, 1, kept=kept, extent=Extent(bytes=500), needed=0) == 10


# -- with a log, and projections of it -----------------------------------------------------------


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Carried]:
    made = Carried(tmp_path)
    yield made
    made.close()


def forgetting(carried: Carried, kept: Kept = DAY) -> Forgetting:
    consumers = [carried.consumer(projection) for projection in BOTH]
    return Forgetting(
        carried.log,
        {TOPIC: kept},
        lambda topic: needs.needed(consumers, topic),
        clock=CarefulClock(carried.clock),
        logger=carried.lines.logger,
    )


def begins_at(carried: Carried, number: int) -> None:
    wait_until(lambda: carried.log.start(TOPIC, 0) == number)


def test_a_log_is_counted_and_trimmed_once_every_projection_has_it(carried: Carried) -> None:
    work = forgetting(carried)
    note(carried.log, *range(40))
    carried.carry()
    note(carried.log, *range(40, 60))
    carried.clock.pass_hours(25)
    note(carried.log, 60)
    work.turn()
    assert work.waits == {TOPIC: ["tests_notes"]}  # the next block is wanted by the table
    carried.carry()
    work.turn()
    begins_at(carried, 40)  # the table would make its last block again after a stop
    assert work.waits == {TOPIC: ["tests_notes"]}
    cursor, reader = carried.cursor(table), carried.log.reader()
    with closing(reader):
        cursor.resume(reader)
        cursor.sink.settle(0)
    work.turn()
    begins_at(carried, 60)
    assert work.waits == {}
    carried.carry()
    assert carried.numbers()[0] == list(range(61))
    with closing(carried.log.reader()) as read:
        size = sum(block.size for block in read.fronts(TOPIC, 0))
    wait_until(lambda: carried.log.extent(TOPIC, 0).bytes == size > ROW_BYTES)


def test_what_a_projection_never_got_is_a_dead_letter_of_it(carried: Carried) -> None:
    """Nothing that was acknowledged is passed over in silence."""
    work = forgetting(carried)
    note(carried.log, *range(10))
    carried.carry()
    note(carried.log, *range(10, 20))
    carried.clock.pass_hours(49)
    note(carried.log, 20)
    work.turn()
    begins_at(carried, 20)
    told = carried.lines.named("log.trimmed_unprojected")
    assert [(line["projection"], line["first"], line["next"]) for line in told] == [
        ("tests_notes", 0, 20),
        ("tests.notes", 10, 20),
    ]
    carried.carry()
    assert carried.numbers()[0] == [*range(10), 20]
    letters = carried.stores.dead_letters.letters("tests.notes")
    assert [(letter.offset, letter.next, letter.code) for letter in letters] == [
        (10, 20, "damaged")
    ]
    assert FORGOTTEN in letters[0].reason


def test_a_view_that_begins_when_the_log_was_trimmed_begins_with_what_there_is(
    carried: Carried,
) -> None:
    work = forgetting(carried)
    note(carried.log, *range(10))
    carried.clock.pass_hours(25)
    note(carried.log, 10)
    work.turn()
    begins_at(carried, 10)
    carried.carry()
    assert carried.numbers() == ([10], [b"10"])
    assert carried.stores.dead_letters.letters() == []


def test_nobody_waits_for_what_the_log_keeps_no_longer(carried: Carried) -> None:
    """Where others carry a view that never had any of it."""
    note(carried.log, 0, 1, 2)
    carried.log.trim(carried.log.identity(TOPIC), TOPIC, 3, 0)
    begins_at(carried, 3)
    consumer = carried.consumer(index)
    watch, pools = watching(carried, [consumer]), Pools(0)
    positions = Positions({index.name: consumer}, carried.log, pools, carried.clock)
    watch.begin()
    watch._look()
    watch.vouch(index.name)
    assert asyncio.run(positions.caught_up(index.name, 0.0))
    note(carried.log, 3)
    assert not asyncio.run(positions.caught_up(index.name, 0.0))
    pools.close()


def test_who_follows_tells_what_is_needed_and_who_writes_believes_it_of_this_log_only(
    carried: Carried, tmp_path: Path
) -> None:
    file, names = tmp_path / needs.FILE, ["tests_notes", "tests.notes"]
    identity = carried.log.identity(TOPIC)
    assert needs.told(file, TOPIC, names, identity) is None
    note(carried.log, *range(10))
    with closing(SqliteFollower(tmp_path / "log" / "log.db")) as follower:
        needs.tell(file, [carried.consumer(index, follower)], follower)
        assert needs.told(file, TOPIC, names, identity) == {}  # it has not begun
        carried.carry()
        needs.tell(file, [carried.consumer(index, follower)], follower)
        assert needs.told(file, TOPIC, names, identity) == {"tests.notes": 10}
        needs.tell(file, [carried.consumer(table, follower)], follower)
        assert needs.told(file, TOPIC, names, identity) == {"tests.notes": 10, "tests_notes": 0}
        assert needs.told(file, TOPIC, ["tests_notes"], identity) == {"tests_notes": 0}
        assert needs.told(file, TOPIC, names, "another") is None
    file.write_bytes(b"{")  # as after a power cut
    assert needs.told(file, TOPIC, names, identity) is None


def older(folder: Path) -> None:
    """A log as it was made before anything was trimmed."""
    with closing(SqliteLog(folder / "new.db", MovedClock(), Limits())) as log:
        add(log, b"a", key="k")
        add(log, b"b")
    with closing(apsw.Connection(str(folder / "new.db"))) as raw:
        raw.execute("DROP TABLE extents")
        raw.execute("PRAGMA auto_vacuum = NONE")
        raw.execute("VACUUM INTO ?", (str(folder / "log.db"),))


def test_a_log_of_a_version_that_trimmed_nothing_is_read_and_then_trimmed(tmp_path: Path) -> None:
    older(tmp_path)
    with closing(SqliteReader(tmp_path / "log.db")) as reader:
        assert reader.start(TOPIC) == 0
        assert reader.end(TOPIC) == 2
        assert reader.read(TOPIC, 0, 2, 10).next == 2
    with closing(SqliteLog(tmp_path / "log.db", MovedClock(), Limits())) as log:
        assert not log.gives_back
        log.trim(log.identity(TOPIC), TOPIC, 1, 0)
        wait_until(lambda: log.start(TOPIC, 0) == 1)
        assert contents(log) == [b"b"]


def test_migrate_writes_such_a_file_anew_once_and_it_is_the_same_log(tmp_path: Path) -> None:
    older(tmp_path)
    settings, kept = Settings(data=str(tmp_path)), {TOPIC: DAY}
    with closing(SqliteReader(tmp_path / "log.db")) as reader:
        identity = reader.identity()
    assert "made by" in engines.prepare_log(settings, {TOPIC: FOREVER}, Quiet)[0]
    assert "written anew" in engines.prepare_log(settings, kept, Quiet)[0]
    assert "made by" in engines.prepare_log(settings, kept, Quiet)[0]
    assert not list(tmp_path.glob("*.partial"))
    with closing(SqliteLog(tmp_path / "log.db", MovedClock(), Limits())) as log:
        assert log.gives_back
        assert log.identity(TOPIC).startswith(identity)
        assert contents(log) == [b"a", b"b"]
        assert add(log, b"a", key="k") == DUPLICATE


def test_where_that_fails_or_somebody_serves_the_file_is_as_it_was(tmp_path: Path) -> None:
    older(tmp_path)
    was = (tmp_path / "log.db").read_bytes()
    lock = FolderLock(tmp_path, "edge")
    with pytest.raises(Misconfigured, match="in use by process"):
        renew(tmp_path / "log.db", Quiet)
    lock.release()
    with pytest.raises(KeyboardInterrupt):
        renew(tmp_path / "log.db", Interrupted)
    assert (tmp_path / "log.db").read_bytes() == was
    assert not list(tmp_path.glob("*.partial"))


# -- settings ------------------------------------------------------------------------------------


def test_settings_overrule_what_an_application_says_of_a_topic() -> None:
    said = {"a.one": DAY, "a.two": FOREVER, "a.three": Kept(hours=1, bytes=5)}
    settings = Settings(kept_hours="a.one=0, a.two=1.5", kept_bytes="a.three=5e9")
    assert overruled(said, settings) == {
        "a.one": FOREVER, "a.two": Kept(hours=1.5), "a.three": Kept(hours=1, bytes=5_000_000_000)
    }  # fmt: skip
    assert str(Kept(hours=24, bytes=1_000_000)) == "24 hours and 1,000,000 bytes"
    assert str(FOREVER) == "for ever"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.ones=24", "there is no topic a.ones; did you mean a.one?"),
        ("24", "there is no topic 24"),
        ("a.one", "write a.one=24"),
        ("a.one=-1", "from 0 on"),
        ("a.one=a week", "from 0 on"),
        ("a.one=nan", "from 0 on"),
        ("a.one=inf", "from 0 on"),
    ],
)
def test_a_setting_that_says_something_else_stops_the_start(text: str, told: str) -> None:
    with pytest.raises(Misconfigured, match="PENSTOCK_KEPT_HOURS: ") as refused:
        overruled({"a.one": FOREVER}, Settings(kept_hours=text))
    assert told in str(refused.value)


def test_less_than_nothing_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        Kept(hours=-1)
