"""What is special about a server: what stops the start, how rows travel, what passes by itself."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
import trustme

from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings
from penstock.core.warehouse import Unavailable, server
from penstock.core.warehouse.clickhouse import ClickHouse
from services.ports import free_ports
from support.clickhouse import ThinServer
from support.clickhouse_http import PASSWORD, PASSWORDS, READER
from support.stores import create, insert, stored


def opened(url: str, **settings: object) -> ClickHouse:
    return ClickHouse(Settings(warehouse=url, **settings))  # type: ignore[arg-type] # by name


def refused(url: str, **settings: object) -> str:
    """The one line that stops the start."""
    with pytest.raises(Misconfigured) as error:
        opened(url, **settings)
    said = str(error.value)
    assert PASSWORD not in said
    assert "\n" not in said
    return said


@pytest.fixture
def database() -> str:
    return f"tests_{uuid4().hex[:12]}"


# -- what stops the start -----------------------------------------------------------------------


def test_a_server_that_is_not_there_stops_the_start_with_its_name() -> None:
    port = free_ports(1)[0]
    said = refused(f"clickhouse://penstock:{PASSWORD}@127.0.0.1:{port}/events")
    assert said.startswith(
        f"PENSTOCK_WAREHOUSE: clickhouse://penstock:***@127.0.0.1:{port}/events: "
        "no answer as of ClickHouse ("
    )
    assert "Connection refused); is the server up" in said


def test_a_host_that_nobody_knows_stops_the_start() -> None:
    assert "is the server up" in refused("clickhouse://nowhere.invalid/events")


class Other(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nobody asked."""


def test_a_server_of_something_else_stops_the_start() -> None:
    with HTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        said = refused(f"clickhouse://127.0.0.1:{other.server_port}")
        other.shutdown()
    assert "no answer as of ClickHouse (HTTP driver received HTTP status 404" in said


def test_a_wrong_password_stops_the_start_and_is_not_shown(thin: ThinServer) -> None:
    said = refused(thin.url(password="wrong-word"))
    assert "refuses the user or the password; correct them in the URL" in said
    assert "wrong-word" not in said


@pytest.mark.parametrize("user", PASSWORDS)
def test_any_name_and_password_may_stand_in_the_url(
    thin: ThinServer, database: str, user: str
) -> None:
    opened(thin.url(database)).close()
    url = thin.url(database, user=user, password=PASSWORDS[user])
    if user == READER:
        assert "lacks a right; grant it: " in refused(url)
    else:
        opened(url).close()


def test_a_database_that_the_user_may_not_make_stops_the_start(
    thin: ThinServer, database: str
) -> None:
    said = refused(thin.url(database, user=READER))
    assert "PENSTOCK_WAREHOUSE: " in said
    assert "lacks a right; grant it: " in said
    assert "Not enough privileges" in said


def test_a_cluster_that_the_server_does_not_know_stops_the_start(thin: ThinServer) -> None:
    said = refused(thin.url(), warehouse_cluster="mian")
    assert said.startswith("PENSTOCK_WAREHOUSE_CLUSTER: the server knows no cluster mian; it knows")
    assert "copies, one, two_copies, two_hosts" in said


def test_a_cluster_whose_replicas_would_come_to_differ_stops_the_start(thin: ThinServer) -> None:
    for cluster in ("two_copies", "two_hosts"):
        said = refused(thin.url(), warehouse_cluster=cluster)
        assert f"of {cluster} have several replicas" in said
        assert "set PENSTOCK_WAREHOUSE_REPLICATED" in said
    assert "internal_replication=true" in refused(
        thin.url(), warehouse_cluster="two_hosts", warehouse_replicated=True
    )


def test_replicas_that_have_no_name_stop_the_start(
    thin: ThinServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = server._rows

    def without_macros(client: Any, sql: str, parameters: Any) -> list[tuple[Any, ...]]:
        return [("shard",)] if "system.macros" in sql else found(client, sql, parameters)

    monkeypatch.setattr(server, "_rows", without_macros)
    said = refused(thin.url(), warehouse_cluster="copies", warehouse_replicated=True)
    assert "lacks replica under `macros`" in said


def test_replicas_that_would_never_get_their_tables_stop_the_start(thin: ThinServer) -> None:
    said = refused(thin.url(), warehouse_replicated=True)
    assert "set PENSTOCK_WAREHOUSE_CLUSTER, or create the database with ENGINE = Replic" in said


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("clickhouse://host/a/b", "a/b cannot be a database"),
        ("clickhouse://host/events?compress=lz4", "no such option: compress"),
        ("clickhouse://host:port/events", "port"),
    ],
)
def test_a_url_that_says_something_else_stops_the_start(url: str, named: str) -> None:
    said = refused(url)
    assert said.startswith("PENSTOCK_WAREHOUSE: ")
    assert named in said


# -- tls ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[ThinServer]:
    folder = tmp_path_factory.mktemp("secure")
    certificate = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    with ThinServer(folder, certificate) as started:
        yield started


def test_rows_travel_through_tls_to_a_server_that_an_authority_of_ones_own_vouches_for(
    secure: ThinServer, authority: trustme.CA, tmp_path: Path
) -> None:
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    warehouse = opened(secure.url(options=f"?ca_cert={trusted}"))
    create(warehouse)
    insert(warehouse, range(100), "a")
    assert stored(warehouse) == list(range(100))
    warehouse.close()


def test_a_server_that_nobody_vouches_for_stops_the_start(secure: ThinServer) -> None:
    assert "certificate verify failed" in refused(secure.url())


# -- how rows travel ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "more"),
    [
        ({}, {}),
        ({"warehouse_cluster": "one"}, {}),
        (
            {"warehouse_cluster": "copies", "warehouse_replicated": True},
            {"insert_quorum": "auto", "insert_quorum_timeout": 30_000},
        ),
    ],
    ids=["host", "cluster", "copies"],
)
def test_rows_and_plans_go_in_at_once_under_a_token_wherever_they_go(
    thin: ThinServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    layout: dict[str, object],
    more: dict[str, object],
) -> None:
    warehouse = opened(thin.url(database), **layout)
    create(warehouse)
    sent: list[dict[str, object]] = []
    with warehouse._clients.one() as client:
        pass
    for name in ("raw_insert", "command"):
        send = getattr(client, name)

        def seen(*given: Any, send: Any = send, **named: Any) -> Any:
            sent.append(named["settings"])
            return send(*given, **named)

        monkeypatch.setattr(client, name, seen)
    insert(warehouse, range(3), "a")
    warehouse._insert_plan("INSERT INTO penstock_blocks (contents) VALUES ('a')", "a")
    assert sent == 2 * [
        {
            "insert_deduplicate": 1,
            "insert_deduplication_token": "a",
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "input_format_parallel_parsing": 0,
            "async_insert": 0,
            "distributed_foreground_insert": 1,
            "wait_end_of_query": 1,
            **more,
        }
    ]
    warehouse.close()


def test_a_server_that_counts_otherwise_is_doubted_once_and_then_believed(
    thin: ThinServer, database: str
) -> None:
    """A block that it knew, or a proxy that drops the count: not to be sent for ever."""
    warehouse = opened(thin.url(database))
    create(warehouse)
    thin.faults(uncounted=4)
    for token in "ab":
        with pytest.raises(Unavailable, match="0 of 10 rows"):
            insert(warehouse, range(10), token)
        insert(warehouse, range(10), token)
    assert stored(warehouse) == sorted(2 * list(range(10)))
    assert not warehouse._short
    warehouse.close()


# -- what passes by itself ----------------------------------------------------------------------


def test_an_outage_is_told_by_errors_and_by_nothing_else(
    database: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ThinServer(tmp_path) as own:
        warehouse = opened(own.url(database))
        create(warehouse)
        own.kill()
        with pytest.raises(Unavailable, match="querying the warehouse"):
            warehouse.query("SELECT 1", {})
        with pytest.raises(Unavailable, match="inserting into tests_rows"):
            insert(warehouse, range(3), "a")
        with pytest.raises(Unavailable, match="changing the warehouse"):
            warehouse.drop("tests_rows")
        own.start()
        insert(warehouse, range(3), "a")
        assert stored(warehouse) == [0, 1, 2]
        warehouse.close()
    assert capfd.readouterr() == ("", "")


def test_a_table_that_is_there_on_a_cluster_is_not_made_anew(
    thin: ThinServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster waits for all of its hosts: one that is down would stop every start."""
    warehouse = opened(thin.url(database), warehouse_cluster="one")
    create(warehouse)
    monkeypatch.setattr(warehouse, "command", pytest.fail)
    create(warehouse)
    warehouse.close()


def test_a_host_that_joins_a_cluster_gets_its_tables_under_the_identity_of_the_others(
    thin: ThinServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one of its own it would be no replica of theirs, and have rows that they lack."""
    warehouse = opened(thin.url(database), warehouse_cluster="copies", warehouse_replicated=True)
    create(warehouse)
    ask = warehouse._ask_hosts
    sent: list[str] = []

    def one_more_host(sql: str, parameters: Any) -> Any:
        rows: list[Any] = ask(sql, parameters)
        return [(*row[:2], row[2] + 1) for row in rows]

    monkeypatch.setattr(warehouse, "_ask_hosts", one_more_host)
    monkeypatch.setattr(warehouse, "command", sent.append)
    create(warehouse)
    identity = warehouse._contents("tests_rows")
    assert sent[0].startswith(
        f"CREATE TABLE IF NOT EXISTS tests_rows_local UUID '{identity}' ON CLUSTER 'copies' ("
    )
    assert "tests_rows UUID '" in sent[1]
    warehouse.close()
