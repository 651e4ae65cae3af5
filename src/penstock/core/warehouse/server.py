"""A ClickHouse server: the way there, and in one line what stands in it.

`clickhouse://user:password@host:8123/database`, and `clickhouses://` for TLS, where
`?ca_cert=/path` names the authority to trust instead of the system's. The port is that of HTTP.
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httputil import get_pool_manager

from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings, redacted
from penstock.core.warehouse.cluster import Layout, layout
from penstock.core.warehouse.engine import (
    FAILURES,
    INSERTING,
    Clients,
    Engine,
    Probe,
    first_line,
    limits,
)

_PORTS = {"clickhouse": 8123, "clickhouses": 8443}
_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 90
"""Longer than a statement takes that waits for all hosts, or an insert for its quorum."""
_PROBE_SECONDS = 2
"""So long a server may take to say that it is there."""
_CONNECTIONS = 16
"""Kept open: one for each thread that asks, and one for each that inserts."""

_REFUSED = frozenset({192, 193, 194, 516})
_LACKING = frozenset({164, 497})
_NO_CLUSTER = frozenset({170, 701})
_NO_KEEPER = frozenset({139, 225, 392})

_INSERTING = {
    **INSERTING,
    "async_insert": 0,  # a server would gather blocks of several tokens (its default since 26.2)
    "distributed_foreground_insert": 1,  # answer when the rows are on their hosts
    "wait_end_of_query": 1,
}
_INSERTING_REPLICATED = {
    # What one replica alone has would be missing for good if that one burnt: its plan is replaced.
    "insert_quorum": "auto",
    "insert_quorum_timeout": 30_000,
}
_ALTERING_CLUSTER = {"distributed_ddl_task_timeout": 60}


def connect(settings: Settings) -> Engine:
    """The database is made if there is none. Raise `Misconfigured`."""
    url = settings.warehouse_url
    where = layout(url, settings.warehouse_cluster, replicated=settings.warehouse_replicated)
    # Otherwise an outage is told anew on standard error at each try; the consumer says it once.
    for library in ("clickhouse_connect", "urllib3"):
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        seconds = max(_ANSWER_SECONDS, int(settings.query_seconds_max) + 10)
        client, probe = _client(urlsplit(url), seconds), _client(urlsplit(url), _PROBE_SECONDS)
        _check_cluster(client, where)
        _make_database(client, where)
    except FAILURES as error:
        raise _unusable(url, error) from error
    except ValueError as error:
        raise Misconfigured(f"PENSTOCK_WAREHOUSE: {redacted(url)}: {error}") from error
    client.database = where.database
    return Engine(
        Clients(client),
        where,
        asking=limits(settings),
        inserting=_INSERTING | (_INSERTING_REPLICATED if where.replicated else {}),
        altering=_ALTERING_CLUSTER if where.cluster else {},
        refusal=partial(_refusal, url),
        probe=Probe(lambda: probe),
    )


def reason(error: BaseException) -> str:
    """The first line of what the server said, or of what broke underneath."""
    if getattr(error, "code", None) is None:
        while cause := error.__cause__ or error.__context__:
            error = cause
    return first_line(error)


def _unusable(url: str, error: Exception) -> Misconfigured:
    said = reason(error)
    if refusal := _refusal(url, error):
        return refusal
    if getattr(error, "code", None) is None:
        said = f"no answer as of ClickHouse ({said}); is the server up, and this its port of HTTP?"
    return Misconfigured(f"PENSTOCK_WAREHOUSE: {redacted(url)}: {said}")


def _refusal(url: str, error: Exception) -> Misconfigured | None:
    """What to correct, if the server says that it will not do this for us, now or later."""
    code, said = getattr(error, "code", None), reason(error)
    if code in _REFUSED:
        remedy = "the server refuses the user or the password; correct them in the URL"
    elif code in _LACKING:
        remedy = f"the user lacks a right; grant it: {said}"
    elif code in _NO_CLUSTER:
        return Misconfigured(f"PENSTOCK_WAREHOUSE_CLUSTER: {said}")
    elif code in _NO_KEEPER:
        return Misconfigured(
            "PENSTOCK_WAREHOUSE_CLUSTER: tables on a cluster take ClickHouse Keeper, and "
            f"`distributed_ddl` in the configuration of each server: {said}"
        )
    else:
        return None
    return Misconfigured(f"PENSTOCK_WAREHOUSE: {redacted(url)}: {remedy}")


def _client(url: SplitResult, seconds: int) -> Client:
    """`seconds`: for an answer."""
    options = dict(parse_qsl(url.query))
    authority = options.pop("ca_cert", None)
    if options:
        raise Misconfigured(f"PENSTOCK_WAREHOUSE: no such option: {', '.join(options)}")
    return clickhouse_connect.get_client(
        host=url.hostname or "localhost",
        port=url.port or _PORTS[url.scheme],
        username=unquote(url.username or "default"),
        password=unquote(url.password or ""),
        interface="https" if url.scheme == "clickhouses" else "http",
        connect_timeout=_CONNECT_SECONDS,
        send_receive_timeout=seconds,
        client_name="penstock",
        compress="zstd",
        autogenerate_session_id=False,  # with one, a server runs one query at a time
        show_clickhouse_errors="scrub",
        pool_mgr=get_pool_manager(maxsize=_CONNECTIONS, ca_cert=authority),
    )


def _rows(client: Client, sql: str, parameters: Mapping[str, str]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql, parameters=dict(parameters)).result_rows]


def _check_cluster(client: Client, where: Layout) -> None:
    if not where.cluster:
        return
    known = _rows(
        client,
        "SELECT cluster, max(replica_num), min(internal_replication) FROM system.clusters "
        "GROUP BY cluster ORDER BY cluster",
        {},
    )
    found = {name: (replicas > 1, bool(by_itself)) for name, replicas, by_itself in known}
    if where.cluster not in found:
        names = ", ".join(found) or "none"
        raise Misconfigured(
            f"PENSTOCK_WAREHOUSE_CLUSTER: the server knows no cluster {where.cluster}; it knows "
            f"{names}"
        )
    several, by_itself = found[where.cluster]
    if several and not where.replicated:
        raise Misconfigured(
            f"PENSTOCK_WAREHOUSE_CLUSTER: the shards of {where.cluster} have several replicas, "
            "which would come to differ; set PENSTOCK_WAREHOUSE_REPLICATED"
        )
    if several and not by_itself:
        raise Misconfigured(
            f"PENSTOCK_WAREHOUSE_REPLICATED: the tables copy their rows themselves, so the shards "
            f"of {where.cluster} have to say internal_replication=true in the server's "
            "configuration"
        )
    if where.replicated:
        _check_macros(client)


def _check_macros(client: Client) -> None:
    macros = {name for (name,) in _rows(client, "SELECT macro FROM system.macros", {})}
    if missing := sorted({"shard", "replica"} - macros):
        raise Misconfigured(
            "PENSTOCK_WAREHOUSE_REPLICATED: each server has to say which replica it is, and the "
            f"one asked lacks {' and '.join(missing)} under `macros` in its configuration"
        )


def _make_database(client: Client, where: Layout) -> None:
    found = _rows(
        client,
        "SELECT engine FROM system.databases WHERE name = {name:String}",
        {"name": where.database},
    )
    if not found:
        client.command(
            f"CREATE DATABASE IF NOT EXISTS `{where.database}`{where.on_cluster} ENGINE = Atomic"
        )
    engine = found[0][0] if found else "Atomic"
    if where.replicated and not where.cluster and engine not in ("Replicated", "Shared"):
        raise Misconfigured(
            f"PENSTOCK_WAREHOUSE_REPLICATED: the database {where.database} is {engine}, so the "
            "other replicas would never get their tables; set PENSTOCK_WAREHOUSE_CLUSTER, or "
            "create the database with ENGINE = Replicated"
        )
