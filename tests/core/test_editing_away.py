"""A database that goes away and comes back: what needs it says so, nothing else notices."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.test_editing import Bench
from penstock.core.database import Database
from penstock.core.errors import Misconfigured
from penstock.core.log import Append
from penstock.core.log.awaiting import stored
from services.postgresql import PostgreSQL
from support.databases import fresh, opened
from support.logs import wait_until


@pytest.fixture
def bench(postgresql_server: PostgreSQL, tmp_path: Path) -> Iterator[Bench]:
    url = fresh(postgresql_server)
    opened(url).close()
    made = Bench(tmp_path, PENSTOCK_DATABASE=url)
    yield made
    made.close()


def test_while_it_is_away_edits_are_answered_503_and_afterwards_all_goes_on(
    bench: Bench, postgresql_server: PostgreSQL
) -> None:
    """Reliability 15."""
    shelf = bench.make("a")
    wait_until(lambda: len(bench.said()) == 1)
    postgresql_server.kill()
    for method, path, body in (
        ("GET", "/api/shelves", None),
        ("POST", "/api/shelves", {"name": "B", "code": "b"}),
    ):
        away = bench.ask(method, path, body)
        assert away.error == (503, "not_ready", "")
        assert away.headers["retry-after"]
        assert "127.0.0.1" not in away.json["message"]
    log = bench.platform.log
    assert log is not None
    assert stored(log, [Append("tests.events", [b"one"])])  # it waits for no database
    postgresql_server.restart()
    assert bench.ask("GET", f"/api/shelves/{shelf['id']}").json == shelf
    bench.make("b")
    # The first one again, if it was killed before that was struck off.
    wait_until(lambda: list(dict.fromkeys(of.number for of in bench.said())) == [1, 2])


def test_a_process_starts_without_it_and_takes_it_up_when_it_comes(
    postgresql_server: PostgreSQL, tmp_path: Path
) -> None:
    """Reliability 15."""
    url = fresh(postgresql_server)
    with closing(opened(url)):
        postgresql_server.stop()
    bench = Bench(tmp_path, PENSTOCK_DATABASE=url)
    try:
        assert bench.ask("GET", "/api/shelves").status == 503
        postgresql_server.restart()
        bench.make("a")
        wait_until(lambda: len(bench.said()) == 1)
    finally:
        bench.close()


def test_a_shared_database_that_was_not_prepared_stops_the_start(
    postgresql_server: PostgreSQL, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match=r"at step none, .* run `penstock migrate`"):
        Bench(tmp_path, PENSTOCK_DATABASE=fresh(postgresql_server))


def test_a_database_that_cannot_have_every_text_is_refused(postgresql_server: PostgreSQL) -> None:
    others = "ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc"
    url = fresh(postgresql_server, "template0", others)
    with (
        closing(Database(url)) as database,
        pytest.raises(Misconfigured, match="has the encoding LATIN1"),
    ):
        database.migrate()
