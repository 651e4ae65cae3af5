"""ClickHouse through clickhouse-connect, embedded or as a server."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings, redacted
from penstock.core.warehouse import BadRows, Block, Row, Unavailable, Value

_DATABASE = "penstock"

_DATA_ERRORS = frozenset({6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 85, 117, 131, 321, 349, 469, 691})
"""ClickHouse error codes that speak of the rows; every other one may pass."""

_STEADY = {
    # A query's third run would otherwise stop for 60 to 100 ms to be compiled (chDB 26.9).
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
}
_INSERT = {
    # Without it a repeated block is counted again in a materialised view.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "insert_deduplicate": 1,
    "input_format_parallel_parsing": 0,
}
_PLANS = f"""
CREATE TABLE IF NOT EXISTS {_DATABASE}.penstock_blocks (
  contents String, partition UInt32, log String, first UInt64, next UInt64, carry String,
  planned_at DateTime64(6) DEFAULT now64(6)
) ENGINE = ReplacingMergeTree(next) ORDER BY (contents, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""


class ClickHouse:
    def __init__(self, settings: Settings) -> None:
        """Raise `Misconfigured` when the engine cannot be opened."""
        self._url = settings.warehouse_url
        self._folder: Path | None = None
        parts = urlsplit(self._url)
        if parts.scheme == "chdb":
            self._folder = Path(parts.path)
            self._folder.mkdir(parents=True, exist_ok=True)
        self._identities: dict[str, str] = {}
        self._limits = {
            **_STEADY,
            "max_execution_time": settings.query_seconds_max,
            "max_memory_usage": settings.query_memory_bytes_max,
        }
        try:
            self._client: Client = clickhouse_connect.get_client(dsn=self._url)
            self._client.command(f"CREATE DATABASE IF NOT EXISTS {_DATABASE} ENGINE = Atomic")
            self._client.database = _DATABASE
            self._client.command(_PLANS)
        except (ClickHouseError, OSError, RuntimeError) as error:
            raise Misconfigured(
                f"opening the warehouse {redacted(self._url)}: {_first_line(error)}; if its folder "
                "is damaged, remove it: it is rebuilt from the log"
            ) from error

    def query(self, sql: str, parameters: Mapping[str, Value]) -> list[Row]:
        try:
            result = self._client.query(sql, parameters=dict(parameters), settings=self._limits)
        except (ClickHouseError, OSError, RuntimeError) as error:
            raise Unavailable(f"querying the warehouse: {_first_line(error)}") from error
        return [tuple(row) for row in result.result_rows]

    def command(self, sql: str) -> None:
        try:
            self._client.command(sql)
        except (ClickHouseError, OSError, RuntimeError) as error:
            raise Unavailable(f"changing the warehouse: {_first_line(error)}") from error

    def insert(self, table: str, rows: bytes, count: int, token: str) -> None:
        settings: dict[str, Any] = {**_INSERT, "insert_deduplication_token": token}
        try:
            summary = self._client.raw_insert(
                table, insert_block=rows, fmt="JSONCompactEachRow", settings=settings
            )
        except (ClickHouseError, OSError, RuntimeError) as error:
            kind = BadRows if getattr(error, "code", None) in _DATA_ERRORS else Unavailable
            raise kind(f"inserting into {table}: {_first_line(error)}") from error
        if summary.written_rows != count:
            raise Unavailable(
                f"inserting into {table}: {summary.written_rows} of {count} rows were written"
            )

    def columns(self, table: str) -> list[str]:
        rows = self.query(
            "SELECT name FROM system.columns WHERE database = currentDatabase() "
            "AND table = {table:String} ORDER BY position",
            {"table": table},
        )
        return [str(name) for (name,) in rows]

    def create(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self.command(statement)

    def plan(self, table: str, partition: int, block: Block) -> None:
        values = (
            f"'{self._contents(table)}', {partition}, '{block.log}', {block.first}, {block.next}, "
            f"'{block.carry.hex()}'"
        )
        self.command(
            "INSERT INTO penstock_blocks (contents, partition, log, first, next, carry) "
            f"VALUES ({values})"
        )

    def planned(self, table: str, partition: int) -> Block | None:
        rows = self.query(
            "SELECT log, first, next, carry FROM penstock_blocks WHERE contents = "
            "{contents:String} AND partition = {partition:UInt32} "
            "ORDER BY next DESC LIMIT 1",  # not by time: the clock may have stepped back
            {"contents": self._contents(table), "partition": partition},
        )
        if not rows:
            return None
        log, first, following, carry = rows[0]
        return Block(str(log), int(str(first)), int(str(following)), bytes.fromhex(str(carry)))

    def drop(self, table: str) -> None:
        self._identities.pop(table, None)
        self.command(f"DROP TABLE IF EXISTS {table} SYNC")

    def exchange(self, shadow: str, table: str) -> None:
        self.command(f"EXCHANGE TABLES {shadow} AND {table}")
        self._identities.clear()
        self.drop(shadow)

    def _contents(self, table: str) -> str:
        """Identity of what the table holds: stays with it when names are exchanged."""
        known = self._identities.get(table)
        if known is None:
            rows = self.query(
                "SELECT uuid FROM system.tables WHERE database = currentDatabase() "
                "AND name = {table:String}",
                {"table": table},
            )
            if not rows:
                raise Unavailable(f"the table {table} is gone; restart to create and refill it")
            known = self._identities[table] = str(rows[0][0])
        return known

    def bytes_on_disk(self) -> int:
        if self._folder is not None:
            return sum(f.stat().st_size for f in self._folder.rglob("*") if f.is_file())
        rows = self.query(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = {d:String}",
            {"d": _DATABASE},
        )
        return int(str(rows[0][0] or 0))

    def close(self) -> None:
        self._client.close()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
