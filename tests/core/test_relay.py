"""Changes on their way from the database to the log: none is lost, whenever a process ends."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.core.database import Database
from penstock.core.editing import outbox
from penstock.core.editing.keeping import Keeping
from penstock.core.editing.relay import REMEDY, Relay
from penstock.core.entities import Changed, Republished, changes
from penstock.core.errors import NotReady
from penstock.core.events import Codec
from penstock.core.log import Append, Done
from penstock.core.log.awaiting import stored
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Topic
from support.clock import MovedClock
from support.databases import by, keeping, on_server, sqlite
from support.lines import Lines
from support.logs import contents, wait_until
from support.notes import Crash
from support.shop import SHELF, Shelf

TOPIC = changes("shop")
CODEC = Codec(TOPIC.events)
AWAY = NotReady("the disk does not answer")


class Failing(SqliteLog):
    """The real engine; around an append the process ends, or the disk is away."""

    before: BaseException | None = None
    behind: BaseException | None = None

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        if self.before is not None:
            raise self.before
        if self.behind is None:
            super().submit(appends, done)
            return
        behind, self.behind = self.behind, None
        stored(self, appends)
        raise behind


class Bench:
    """Processes one after the other on the same files, or server."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.clock = MovedClock()
        self.lines = Lines()
        self.database = database
        self.log = Failing(folder / "log.db", self.clock, Limits())
        self.shop: Keeping = keeping(database, self.clock)

    def relay(self) -> Relay:
        """As a new process has it."""
        return Relay(self.database, self.log, Topic.codec, ["shop"], self.lines.logger)

    def shelves(self, *codes: str) -> list[str]:
        return [self.shop.create(SHELF, Shelf("A", code), by()).id for code in codes]

    def said(self) -> list[Any]:
        return [CODEC.decode(payload) for payload in contents(self.log, TOPIC.name)]

    def waiting(self) -> int:
        with self.database.read() as connection:
            return outbox.standing(connection, "shop").waiting

    def close(self) -> None:
        self.log.close()
        self.database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    is_file = request.param == "sqlite"
    database = sqlite(tmp_path) if is_file else on_server(request.getfixturevalue("postgresql"))
    made = Bench(tmp_path, database)
    yield made
    made.close()


def numbers(said: Sequence[Any]) -> list[int]:
    return [event.number for event in said]


def test_what_was_changed_is_in_the_log_in_its_order_and_no_longer_waits(bench: Bench) -> None:
    [id_] = bench.shelves("a")
    bench.shop.replace(SHELF, id_, Shelf("B", "a"), None, by())
    bench.shop.archive(SHELF, id_, None, by(), archived=True)
    bench.shop.remove(SHELF, id_, None, by())
    assert bench.waiting() == 4
    bench.relay().turn()
    said = bench.said()
    assert [(of.kind, of.id, of.revision, of.number) for of in said] == [
        ("shelf", id_, n, n) for n in (1, 2, 3, 4)
    ]
    assert [of.archived for of in said] == [False, False, True, True]
    assert '"name":"B"' in said[1].body
    assert said[3].body == ""
    assert {of.era for of in said} == {bench.clock.ms}
    assert bench.waiting() == 0


@pytest.mark.parametrize("at", ["before", "behind"])
def test_whenever_a_process_ends_nothing_is_lost_and_what_is_said_again_has_its_number(
    bench: Bench, at: str
) -> None:
    """Between commit and append, and between append and mark. Reliability 1."""
    bench.shelves("a", "b")
    setattr(bench.log, at, Crash())
    with pytest.raises(Crash):
        bench.relay().turn()
    bench.log.before = None
    bench.shelves("c")
    bench.relay().turn()
    twice = [1, 2] if at == "behind" else []
    assert numbers(bench.said()) == [*twice, 1, 2, 3]
    said = {of.number: of for of in bench.said()}
    assert all(of == said[of.number] for of in bench.said()), "a repeat says the same"
    assert bench.waiting() == 0


def test_while_the_log_takes_nothing_changes_wait(bench: Bench) -> None:
    """Reliability 4."""
    bench.log.before = AWAY
    bench.shelves("a")
    relay = bench.relay()
    with pytest.raises(NotReady):
        relay.turn()
    assert bench.waiting() == 1
    assert relay.waiting == {"shop": 1}
    bench.log.before = None
    relay.turn()
    assert numbers(bench.said()) == [1]
    assert relay.waiting == {"shop": 0}


def test_its_thread_goes_on_when_the_log_does_and_says_so_once(bench: Bench) -> None:
    bench.log.before = AWAY
    relay = bench.relay()
    relay.start()
    try:
        bench.shelves("a")
        relay.wake()
        wait_until(lambda: bool(bench.lines.named("changes.held_up")))
        bench.log.before = None
        relay.wake()
        wait_until(lambda: bool(bench.lines.named("changes.go_on")))
        assert numbers(bench.said()) == [1]
    finally:
        relay.stop()
    assert len(bench.lines.named("changes.held_up")) == 1


@pytest.mark.parametrize("what", [AWAY, RuntimeError("secret"), OSError(28, "secret")])
def test_its_thread_outlives_whatever_is_raised_and_readiness_warns_of_it(
    bench: Bench, what: Exception
) -> None:
    """Reliability 15."""
    bench.log.before = what
    relay = bench.relay()
    relay.start()
    try:
        bench.shelves("a")
        relay.wake()
        wait_until(lambda: bool(dict(relay.warnings())))
        assert "secret" not in dict(relay.warnings())["changes"]
        bench.log.before = None
        relay.wake()
        wait_until(lambda: not dict(relay.warnings()))
        assert numbers(bench.said()) == [1]
    finally:
        relay.stop()


def test_two_that_relay_at_once_say_nothing_out_of_order(bench: Bench) -> None:
    bench.shelves("a", "b", "c")
    one, other = bench.relay(), bench.relay()
    one.turn()
    bench.shelves("d")
    other.turn()
    one.turn()
    assert numbers(bench.said()) == [1, 2, 3, 4]


# -- what a restore puts back ---------------------------------------------------------------------


def astray(bench: Bench) -> str:
    """Why a new process says nothing; it does not, and tells the remedy."""
    before = len(bench.said())
    relay = bench.relay()
    relay.turn()
    assert len(bench.said()) == before
    line = bench.lines.named("changes.astray")[-1]
    assert line["remedy"] == REMEDY
    assert line["why"] == relay.astray["shop"]
    assert dict(relay.warnings()) == {"changes of shop": f"{line['why']}; {REMEDY}"}
    republish(bench)
    relay.turn()
    assert relay.astray == {}
    assert dict(relay.warnings()) == {}
    return str(line["why"])


def republish(bench: Bench) -> None:
    with bench.database.write() as connection:
        outbox.republish(connection, "shop", bench.clock.now_ms())


def known(bench: Bench) -> set[str]:
    """Ids, as a reader has them that takes the newest of each."""
    newest: dict[str, Changed] = {}
    for event in bench.said():
        if isinstance(event, Republished):
            newest = {id_: of for id_, of in newest.items() if of.era == event.era}
        elif event.id not in newest or (event.era, event.revision) > (
            newest[event.id].era, newest[event.id].revision,
        ):  # fmt: skip
            newest[event.id] = event
    return {id_ for id_, of in newest.items() if of.body}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, sqlite(tmp_path))
    yield made
    made.close()


def test_an_older_database_is_noticed_and_republishing_makes_it_the_truth(
    file: Bench, tmp_path: Path
) -> None:
    kept = file.shelves("a")
    file.relay().turn()
    with file.database.write():  # nobody writes meanwhile
        older = {path: path.read_bytes() for path in tmp_path.glob("database.db*")}
    file.shelves("b")
    file.relay().turn()
    assert len(known(file)) == 2
    file.database.close()
    for path, content in older.items():
        path.write_bytes(content)
    more = file.shelves("c")
    assert "older than the log" in astray(file)
    assert known(file) == {*kept, *more}


def test_an_older_log_is_noticed_too(file: Bench) -> None:
    made = file.shelves("a", "b")
    file.relay().turn()
    file.log.clear()
    assert "none of the changes" in astray(file)
    assert known(file) == {*made}


def test_another_database_is_not_taken_for_the_one_that_the_log_knows(
    file: Bench, tmp_path: Path
) -> None:
    file.shelves("a")
    file.relay().turn()
    file.database.close()
    for path in tmp_path.glob("database.db*"):
        path.unlink()
    file.clock.pass_hours(1)
    file.database = sqlite(tmp_path)
    file.shop = keeping(file.database, file.clock)
    made = file.shelves("b")
    assert "another database" in astray(file)
    assert known(file) == {*made}


def test_a_republication_may_end_in_its_midst(bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setattr("penstock.core.editing.relay._AT_ONCE", 2)
    made = bench.shelves("a", "b", "c")
    bench.relay().turn()
    republish(bench)
    bench.log.behind = Crash()
    with pytest.raises(Crash):
        bench.relay().turn()
    more = bench.shelves("d")
    relay = bench.relay()
    relay.turn()
    assert relay.astray == {}
    assert known(bench) == {*made, *more}
