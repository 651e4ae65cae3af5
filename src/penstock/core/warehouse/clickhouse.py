"""ClickHouse through clickhouse-connect, embedded or as a server."""

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clickhouse_connect.driver.summary import QuerySummary

from penstock.core.folder import bytes_of
from penstock.core.settings import Settings
from penstock.core.warehouse import (
    BadRows,
    Block,
    Counted,
    Differences,
    Row,
    Unavailable,
    Value,
    server,
)
from penstock.core.warehouse.columns import COLUMNS, Columns
from penstock.core.warehouse.counts import COUNTS, Counts
from penstock.core.warehouse.deletions import DELETIONS, Deletions
from penstock.core.warehouse.engine import FAILURES, Engine, embedded
from penstock.core.warehouse.parts import OWN, Parts
from penstock.core.warehouse.plans import PLANS, Plans, declaration

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_DATA_ERRORS = frozenset({6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 85, 117, 131, 321, 349, 469, 691})
"""ClickHouse error codes that speak of the rows; every other one may pass."""


class ClickHouse:
    def __init__(self, settings: Settings) -> None:
        """Raise `Misconfigured` when the engine cannot be opened, or the server not be used."""
        alone = urlsplit(settings.warehouse_url).scheme == "chdb"
        self._engine: Engine = embedded(settings) if alone else server.connect(settings)
        self._clients = self._engine.clients
        self._layout = self._engine.layout
        self._identities: dict[str, str] = {}
        self._short: set[str] = set()
        """Tokens of blocks of which a server counted too few rows."""
        self._plans = Plans(
            self.query, self._insert_plan, alone=alone, replicated=self._layout.replicated
        )
        self._pinging = threading.Lock()
        self._parts = Parts(self._ask_hosts, self._layout, self._engine.folder)
        self._deletions = Deletions(self.query, self.command, self._layout)
        self._counts = Counts(
            self.query, lambda statement: self._command(statement, {}), self._deletions.gone
        )
        self._columns = Columns(self.query, self.command, self._layout)
        try:
            for table in (declaration(alone=alone), COUNTS, COLUMNS, DELETIONS):
                self._create(self._layout.create_everywhere(table))
            self._put_aside(deep=True)
            self._add_proofs()
            self._finish_deletions()
        except BaseException:
            self.close()
            raise

    def query(self, sql: str, parameters: Mapping[str, Value]) -> list[Row]:
        return self._query(sql, parameters, self._engine.asking)

    def command(self, sql: str) -> None:
        self._command(sql, self._engine.altering)

    def insert(
        self, table: str, rows: bytes, count: int, token: str, columns: Sequence[str] = ()
    ) -> None:
        settings = {**self._engine.inserting, "insert_deduplication_token": token}
        try:
            summary = self._send(table, columns, rows, settings)
        except FAILURES as error:
            kind = BadRows if getattr(error, "code", None) in _DATA_ERRORS else Unavailable
            raise kind(f"inserting into {table}", detail=server.reason(error)) from error
        counted = _counted(summary)
        if counted != count and not self._counts_otherwise(token, short=counted < count):
            raise Unavailable(f"inserting into {table}: {counted} of {count} rows were written")

    def feeds(self, table: str) -> bool:
        rows = self._ask_hosts(
            f"SELECT count() FROM {self._layout.system('tables')} WHERE "
            "database = {database:String} AND name = {table:String} "
            "AND notEmpty(dependencies_table)",
            {"database": self._layout.database, "table": self._layout.local(table)},
        )
        return rows[0][0] != 0

    def columns(self, table: str) -> list[str]:
        rows = self.query(
            "SELECT name FROM system.columns WHERE database = currentDatabase() "
            "AND table = {table:String} ORDER BY position",
            {"table": table},
        )
        return [str(name) for (name,) in rows]

    def create(self, statements: Sequence[str]) -> list[str]:
        for statement in statements:
            self._create(self._layout.create(statement))
        return [
            added
            for statement in statements
            for added in self._columns.add(statement, self._contents)
        ]

    def differences(self, declaration: str) -> Differences | None:
        return self._columns.differences(declaration, self._contents)

    def plan(self, table: str, partition: int, was: Block | None, block: Block) -> None:
        self._plans.add(self._contents(table), partition, was, block)

    def planned(self, table: str, partition: int) -> Block | None:
        return self._plans.last(self._contents(table), partition)

    def drop(self, table: str) -> None:
        self._identities.pop(table, None)
        for statement in self._layout.drop(table):
            self.command(statement)

    def exchange(self, shadow: str, table: str) -> None:
        self.command(self._layout.exchange(shadow, table))
        self._identities.clear()
        self.drop(shadow)

    def carry_over(self, table: str, partition: str, shadow: str) -> None:
        self.command(self._layout.replace_partition(shadow, partition, table))

    def expire(self, table: str, bound: int) -> int:
        outdated = self._ask_hosts(
            f"SELECT DISTINCT partition FROM {self._layout.system('parts')} WHERE active AND "
            "database = {database:String} AND table = {table:String} "
            "AND toInt64(partition) < {bound:Int64} LIMIT 1000",
            {
                "database": self._layout.database,
                "table": self._layout.local(table),
                "bound": bound,
            },
        )
        if outdated and not self._layout.replicated:
            self._counts.outdate(self._contents(table), bound)
        for (partition,) in outdated:
            self.command(self._layout.drop_partition(table, int(str(partition))))
        return len(outdated)

    def delete(self, table: str, condition: str) -> int:
        return self._deletions.delete(table, self._contents(table), condition)

    @property
    def folder(self) -> Path | None:
        return self._engine.folder

    def bytes_of(self, table: str) -> int:
        return self._bytes("AND table = {table:String}", {"table": self._layout.local(table)})

    def damage(self, table: str, *, deep: bool = False) -> str:
        self._put_aside()
        return self._parts.damage(table, deep=deep)

    def lacking(self, table: str) -> str:
        """Replicas are not counted: one that is behind another would seem to have lost rows."""
        if self._layout.replicated:
            return ""
        contents = self._contents(table)
        lost = self._counts.lacking(table, contents)
        return lost if contents == self._contents(table) else ""  # it may have been replaced

    def counted(self, table: str) -> Counted:
        contents = self._contents(table)
        rows = {} if self._layout.replicated else self._counts.known(contents)
        return Counted(contents, rows, self._plans.ends(contents))

    def rest(self, table: str) -> None:
        if self._engine.folder is not None:
            self.command(f"SYSTEM STOP MERGES {table}")

    def ping(self) -> None:
        try:
            with self._pinging:
                self._engine.probe.ask()
        except FAILURES as error:
            raise Unavailable("asking the warehouse", detail=server.reason(error)) from error

    def bytes_on_disk(self) -> int:
        if self._engine.folder is not None:
            return bytes_of(self._engine.folder)
        return self._bytes("", {})

    def _bytes(self, which: str, parameters: Mapping[str, Value]) -> int:
        rows = self._ask_hosts(
            f"SELECT sum(bytes_on_disk) FROM {self._layout.system('parts')} WHERE active "
            f"AND database = {{database:String}} {which}",
            {"database": self._layout.database, **parameters},
        )
        return int(str(rows[0][0] or 0))

    def close(self) -> None:
        self._clients.close()
        if self._pinging.acquire(blocking=False):
            self._engine.probe.close()

    def _query(
        self, sql: str, parameters: Mapping[str, Value], settings: dict[str, Any]
    ) -> list[Row]:
        try:
            with self._clients.one() as client:
                result = client.query(sql, parameters=dict(parameters), settings=settings)
        except FAILURES as error:
            raise Unavailable("querying the warehouse", detail=server.reason(error)) from error
        return [tuple(row) for row in result.result_rows]

    def _ask_hosts(self, sql: str, parameters: Mapping[str, Value]) -> list[Row]:
        """What those say of themselves that are up."""
        alone = not self._layout.cluster
        up = {} if alone else {"skip_unavailable_shards": 1}
        return self._query(sql, parameters, {**self._engine.asking, **up})

    def _command(self, sql: str, settings: dict[str, Any]) -> None:
        try:
            with self._clients.one() as client:
                client.command(sql, settings=settings)
        except FAILURES as error:
            raise Unavailable("changing the warehouse", detail=server.reason(error)) from error

    def _create(self, statements: Sequence[str]) -> None:
        for statement in statements:
            try:
                if self._layout.cluster:
                    self._create_on_cluster(statement)
                else:
                    self.command(statement)
            except Unavailable as error:
                if isinstance(error.__cause__, Exception) and (
                    refusal := self._engine.refusal(error.__cause__)
                ):
                    raise refusal from error
                raise

    def _create_on_cluster(self, statement: str) -> None:
        """Nothing where every host that is up has it: to ask all would wait for those that are
        down. A host that joined later gets it under the identity that the others know it by.
        """
        name = self._layout.name(statement)
        hosts = self._layout.system("one")
        rows = self._ask_hosts(
            f"SELECT any(uuid), count(), (SELECT count() FROM {hosts}) "
            f"FROM {self._layout.system('tables')} "
            "WHERE database = {database:String} AND name = {name:String}",
            {"database": self._layout.database, "name": name},
        )
        identity, having, all_hosts = rows[0]
        if having == 0:
            self.command(statement)
        elif having != all_hosts:
            self.command(self._layout.join(statement, str(identity)))

    def _send(
        self, table: str, columns: Sequence[str], rows: bytes, settings: dict[str, Any]
    ) -> QuerySummary:
        coded = self._engine.folder is None
        with self._clients.one() as client:
            return client.raw_insert(
                table,
                column_names=columns or None,
                insert_block=zstd.compress(rows, level=1) if coded else rows,
                fmt="JSONCompactEachRow",
                compression="zstd" if coded else None,
                settings=settings,
            )

    def _counts_otherwise(self, token: str, *, short: bool) -> bool:
        """Whether another count is no reason to send the block again, and again.

        The embedded engine counts exactly. A server counts the rows of views too, and may leave
        out those that it knew, or a proxy the whole count; what is certain is its status, which
        says that it has every row. So too few are told once, and believed the second time.
        """
        if self._engine.folder is not None:
            return False
        if not short:
            return True
        if token in self._short:
            self._short.remove(token)
            return True
        self._short.add(token)
        return False

    def _add_proofs(self) -> None:
        """To a table of plans that is older than proofs; its own host's rows first."""
        for table in dict.fromkeys((self._layout.local(PLANS), PLANS)):
            columns = self.columns(table)
            for proof in ("proof", "before"):
                if columns and proof not in columns:
                    self._create([self._layout.add_column(table, f"{proof} String")])

    def _finish_deletions(self) -> None:
        """Of an engine that nobody else has: elsewhere it may be under way."""
        if self._engine.folder is None:
            return
        tables = self.query(
            "SELECT name, toString(uuid) FROM system.tables WHERE database = currentDatabase() "
            "AND toString(uuid) IN (SELECT contents FROM penstock_deletions)",
            {},
        )
        for table, contents in tables:
            self._deletions.finish(str(table), str(contents))

    def _insert_plan(self, statement: str, token: str) -> None:
        if self._engine.folder is not None:
            return self._command(statement, {})
        settings = {**self._engine.inserting, "insert_deduplication_token": token}
        return self._command(statement, settings)

    def _put_aside(self, *, deep: bool = False) -> None:
        if self._engine.folder is not None:
            for own in OWN:
                for part in self._parts.unreadable(own, deep=deep):
                    self.command(f"ALTER TABLE {own} DETACH PART '{part}'")

    def _contents(self, table: str) -> str:
        """Identity of what the table holds: stays with it when names are exchanged."""
        known = self._identities.get(table)
        if known is None:
            rows = self.query(
                "SELECT uuid FROM system.tables WHERE database = currentDatabase() "
                "AND name = {table:String}",
                {"table": self._layout.local(table)},
            )
            if not rows:
                raise Unavailable(f"the table {table} is gone; restart to create and refill it")
            known = str(rows[0][0])
            if self._engine.folder is not None:  # on a server others exchange tables too
                self._identities[table] = known
        return known


def _counted(summary: QuerySummary) -> int:
    """Rows written, or at least read from the request."""
    return max(summary.written_rows, int(summary.summary.get("read_rows", 0)))
