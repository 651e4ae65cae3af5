"""The whole program on a ClickHouse server: it answers, is rebuilt, and says what is wrong."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.process import PENSTOCK, Server, clean_environment, failing
from e2e.test_serve import post, tags, total, wait_for_total
from services.ports import free_ports
from support.clickhouse import ThinServer
from support.clickhouse_http import PASSWORD

Serve = Callable[..., Server]
LAYOUTS = {
    "host": {},
    "cluster": {"warehouse_cluster": "one"},
    "copies": {"warehouse_cluster": "copies", "warehouse_replicated": "on"},
}


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThinServer]:
    with ThinServer(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tags_are_counted_on_a_server_across_restarts_and_a_rebuild(
    serve: Serve, thin: ThinServer, tmp_path: Path, layout: str
) -> None:
    environment = {"warehouse": thin.url(f"e2e_{layout}"), **LAYOUTS[layout]}
    assert "its tables are there" in penstock(tmp_path / "data", environment, "migrate")
    first = serve(**environment)
    client = first.client()
    for tag in tags(150):
        post(client, tag)
    wait_for_total(client, 150)
    first.stop(signal.SIGKILL)

    client = serve(**environment).client()
    for tag in tags(50, start=150):
        post(client, tag)
    wait_for_total(client, 200)
    rebuilt = penstock(tmp_path / "data", environment, "rebuild", "audiences_tags")
    assert "audiences_tags: 200 records, swapped in" in rebuilt
    assert total(client) == 200
    client.until_ready()


def test_a_server_that_is_not_there_stops_the_start_with_one_line(tmp_path: Path) -> None:
    url = f"clickhouse://penstock:secret@127.0.0.1:{free_ports(1)[0]}/events"
    status, said = failing(tmp_path / "data", environment={"PENSTOCK_WAREHOUSE": url})
    assert status == 2
    (line,) = said.splitlines()
    assert line.startswith("penstock: PENSTOCK_WAREHOUSE: clickhouse://penstock:***@127.0.0.1:")
    assert "is the server up" in line


@pytest.mark.parametrize(
    ("password", "settings", "said"),
    [
        ("wrong", {}, "PENSTOCK_WAREHOUSE: clickhouse://penstock:***@"),
        (PASSWORD, {"PENSTOCK_WAREHOUSE_CLUSTER": "other"}, "PENSTOCK_WAREHOUSE_CLUSTER: "),
        (PASSWORD, {"PENSTOCK_WAREHOUSE_REPLICATED": "on"}, "PENSTOCK_WAREHOUSE_REPLICATED: "),
    ],
)
def test_a_wrong_password_cluster_or_database_stops_the_start_with_one_line(
    thin: ThinServer, tmp_path: Path, password: str, settings: dict[str, str], said: str
) -> None:
    environment = {"PENSTOCK_WAREHOUSE": thin.url(password=password), **settings}
    status, error = failing(tmp_path / "data", environment=environment)
    assert status == 2
    (line,) = error.splitlines()
    assert line.startswith(f"penstock: {said}")
    assert password not in line


def penstock(data: Path, environment: dict[str, str], *command: str) -> str:
    named = {f"PENSTOCK_{name.upper()}": value for name, value in environment.items()}
    done = subprocess.run(
        [str(PENSTOCK), *command, "--data", str(data)],
        env=clean_environment(named), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
