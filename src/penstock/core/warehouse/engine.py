"""What a warehouse is opened as, and the one that lives in a folder of this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from penstock.core.errors import Misconfigured
from penstock.core.folder import identity_of
from penstock.core.settings import Settings, redacted
from penstock.core.warehouse.cluster import DATABASE, Layout

FAILURES = (ClickHouseError, OSError, RuntimeError)

INSERTING = {
    # Without it a repeated block is counted again in a materialised view.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "insert_deduplicate": 1,
    "input_format_parallel_parsing": 0,
}
_STEADY = {
    # A query's third run would otherwise stop for 60 to 100 ms to be compiled (chDB 26.9).
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
}
_BOUNDED = {"config-file": str(Path(__file__).with_name("embedded.xml"))}
"""What the embedded engine is opened with: it would take threads by the hundred otherwise."""


class Clients:
    """The way to an engine, for any number of threads at once.

    A client of the embedded engine does one thing at a time, and others would wait for its lock:
    whoever asks gets one that is free, or another one. So there are never more of them than threads
    that asked at once.
    """

    def __init__(
        self,
        first: Client,
        another: Callable[[], Client] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Without `another`, all share the first. `folder` is where an embedded engine lives."""
        self._another = another
        self._folder = folder
        self._known = None if folder is None else identity_of(folder)
        self._all = [first]
        self._free = [first]

    @contextmanager
    def one(self) -> Iterator[Client]:
        """One that nobody else has meanwhile, unless it is one that all share.

        Raise `OSError` while the folder is away: the engine would make one anew, and miss what it
        wrote there once its own is back.
        """
        if self._folder is not None and identity_of(self._folder) != self._known:
            raise FileNotFoundError(f"another folder is in the place of {self._folder}")
        if self._another is None:
            yield self._all[0]
            return
        try:
            client = self._free.pop()
        except IndexError:
            client = self._another()
            self._all.append(client)
        try:
            yield client
        finally:
            self._free.append(client)

    def close(self) -> None:
        """End. What is still asked then hangs: to wait for it might be for ever."""
        for client in self._all if self._another is None else self._free:
            client.close_connections()
            client.close()


class Probe:
    """Asks nothing but whether the engine answers, so that no other question is in its way."""

    def __init__(self, client: Callable[[], Client]) -> None:
        """It is opened when it is first asked: who only works with an engine needs none."""
        self._open = client
        self._client: Client | None = None

    def ask(self) -> None:
        """Raise one of `FAILURES`. For one thread at a time."""
        if self._client is None:
            self._client = self._open()
        self._client.query("SELECT 1")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class Engine(NamedTuple):
    clients: Clients
    layout: Layout
    asking: dict[str, Any]
    """Settings of every query."""
    inserting: dict[str, Any]
    """Settings of every insert."""
    altering: dict[str, Any]
    """Settings of every statement that makes or drops something."""
    refusal: Callable[[Exception], Misconfigured | None]
    """What to correct, if that is what a failure says."""
    probe: Probe
    folder: Path | None = None
    """Where an engine lives that no other process has."""


def limits(settings: Settings) -> dict[str, Any]:
    return {
        "max_execution_time": settings.query_seconds_max,
        "max_memory_usage": settings.query_memory_bytes_max,
    }


def embedded(settings: Settings) -> Engine:
    """Raise `Misconfigured`."""
    if settings.warehouse_cluster or settings.warehouse_replicated:
        raise Misconfigured(
            "PENSTOCK_WAREHOUSE_CLUSTER and PENSTOCK_WAREHOUSE_REPLICATED are for servers; name "
            "one: PENSTOCK_WAREHOUSE=clickhouse://host:8123/penstock"
        )
    url = settings.warehouse_url
    folder = Path(urlsplit(url).path)
    another = partial(clickhouse_connect.get_client, dsn=url, chdb_options=_BOUNDED)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        client = another()
        client.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic")
        client.database = DATABASE
    except FAILURES as error:
        raise Misconfigured(
            # It says the same of a lock, a mode and a damage; the cause it prints by itself.
            f"opening the warehouse {redacted(url)}: {first_line(error)}; read what the engine "
            "printed above, and check that no other process has it, that this user may write it "
            "and what is in it, and that the disk is not full"
        ) from error
    another = partial(another, database=DATABASE)
    return Engine(
        Clients(client, another, folder),
        Layout(DATABASE),
        asking=limits(settings) | _STEADY,
        inserting=INSERTING,
        altering={},
        refusal=lambda _: None,
        probe=Probe(another),
        folder=folder,
    )


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
