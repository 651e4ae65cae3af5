"""One declaration of a table, and the statements that a server or a cluster needs for it. Pure.

An application declares a table as a single host has it, a MergeTree with its window of known
blocks. What becomes of it, the settings choose:

- `warehouse_replicated`: a Replicated…MergeTree, whose window lies in Keeper, for all replicas;
- `warehouse_cluster`: the rows in `name_local` on every host, and under the plain name a
  Distributed table, through which rows go in and questions are asked.

The line above a declaration says which rows lie together: `-- shard by: cityHash64(minute)`.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from penstock.core.errors import Misconfigured

DATABASE = "penstock"
SHARD_BY = "-- shard by:"

_KEY = re.compile(rf"^\s*{SHARD_BY}[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_TABLE = re.compile(r"^\s*(CREATE TABLE(?: IF NOT EXISTS)?) (\w+)", re.MULTILINE)
_VIEW = re.compile(r"^\s*(CREATE MATERIALIZED VIEW(?: IF NOT EXISTS)?) (\w+)", re.MULTILINE)
_MADE = re.compile(r"^\s*CREATE (?:TABLE|MATERIALIZED VIEW)(?: IF NOT EXISTS)? (\w+)", re.MULTILINE)
_ENGINE = re.compile(r"\bENGINE\s*=\s*(\w*MergeTree)\b(?:\s*\(((?:[^()]|\([^()]*\))*)\))?")
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window\s*=\s*(\d+)")

_PATH, _REPLICA = "/clickhouse/tables/{uuid}/{shard}", "{replica}"
"""The identifier, which is the same on every host, keeps what two tables held apart when they have
exchanged their names, or when one is dropped and made again."""
_PATH_OF_ALL, _REPLICA_OF_ALL = "/clickhouse/tables/{uuid}/all", "{shard}-{replica}"
_WINDOW_SECONDS = 31_536_000
"""The window of a single host knows no time. That of replicas would forget a block after an hour
(26.9), and whoever was away for longer would store it twice."""


@dataclass(frozen=True)
class Layout:
    """Where tables are: on the one host that is asked, or on every host of a cluster."""

    database: str
    cluster: str = ""
    replicated: bool = False

    @property
    def on_cluster(self) -> str:
        return f" ON CLUSTER '{self.cluster}'" if self.cluster else ""

    def system(self, table: str) -> str:
        """What to ask for what each host says of itself in this table."""
        if self.cluster:
            return f"clusterAllReplicas('{self.cluster}', system.{table})"
        return f"system.{table}"

    @staticmethod
    def name(declaration: str) -> str:
        """What a declaration makes, by its plain name."""
        found = _MADE.search(declaration)
        return found[1] if found else ""

    def local(self, table: str) -> str:
        """The table that holds the rows."""
        return f"{table}_local" if self.cluster else table

    def create(self, declaration: str) -> tuple[str, ...]:
        """Raise `Misconfigured` for a table of a cluster whose declaration lacks the shard key."""
        statement = _KEY.sub("", declaration).strip()
        if self.replicated:
            statement = self._replicate(statement, _PATH, _REPLICA)
        if not self.cluster:
            return (statement,)
        if view := _VIEW.search(statement):
            return (self._view(statement, view[2]),)
        found = _TABLE.search(statement)
        if found is None:
            return (statement,)
        create, table = found.groups()
        local, key = self.local(table), _KEY.search(declaration)
        if key is None:
            raise Misconfigured(
                f"PENSTOCK_WAREHOUSE_CLUSTER is set, and the declaration of {table} does not say "
                f"which rows lie together; write `{SHARD_BY} …` above it"
            )
        return (
            _TABLE.sub(rf"\1 {local}{self.on_cluster}", statement, count=1),
            f"{create} {table}{self.on_cluster} AS {local} {self._distributed(local, key[1])}",
        )

    def create_everywhere(self, declaration: str) -> tuple[str, ...]:
        """A small table of which replicating hosts have one whole copy each, whatever their shard.

        Where hosts do not replicate, it is one like all others.
        """
        if not (self.cluster and self.replicated):
            return self.create(declaration)
        statement = _KEY.sub("", declaration).strip()
        statement = self._replicate(statement, _PATH_OF_ALL, _REPLICA_OF_ALL)
        return (_TABLE.sub(rf"\1 \2{self.on_cluster}", statement, count=1),)

    def join(self, statement: str, identity: str) -> str:
        """The statement for hosts that are new to the cluster: replicas meet by the identity."""
        return statement.replace(self.on_cluster, f" UUID '{identity}'{self.on_cluster}", 1)

    def drop(self, table: str) -> tuple[str, ...]:
        names = dict.fromkeys((table, self.local(table)))
        return tuple(f"DROP TABLE IF EXISTS {name}{self.on_cluster} SYNC" for name in names)

    def add_column(self, table: str, column: str) -> str:
        """Harmless where others have added it."""
        return f"ALTER TABLE {table}{self.on_cluster} ADD COLUMN IF NOT EXISTS {column}"

    def exchange(self, one: str, other: str) -> str:
        """Atomic on each host; hosts do it one after another."""
        return f"EXCHANGE TABLES {self.local(one)} AND {self.local(other)}{self.on_cluster}"

    def drop_partition(self, table: str, partition: int) -> str:
        return f"ALTER TABLE {self.local(table)}{self.on_cluster} DROP PARTITION {partition}"

    def delete(self, table: str, condition: str) -> str:
        """Returns when it is done, on every host."""
        statement = f"ALTER TABLE {self.local(table)}{self.on_cluster} DELETE WHERE {condition}"
        return f"{statement} SETTINGS mutations_sync = 2"

    def merge_everywhere(self, table: str) -> str:
        """What `create_everywhere` made, so that what was replaced is no more."""
        name = table if self.replicated else self.local(table)
        return f"OPTIMIZE TABLE {name}{self.on_cluster} FINAL"

    def replace_partition(self, table: str, partition: str, source: str) -> str:
        """By links to the same files; on each host its own."""
        return (
            f"ALTER TABLE {self.local(table)}{self.on_cluster} REPLACE PARTITION ID '{partition}' "
            f"FROM {self.local(source)}"
        )

    def _distributed(self, local: str, key: str) -> str:
        return f"ENGINE = Distributed('{self.cluster}', '{self.database}', '{local}', {key})"

    def _view(self, statement: str, view: str) -> str:
        """Each host's view is fed by the rows of that host, and keeps its result there."""
        own = rf"\b(TO|FROM|JOIN) ({view.partition('_')[0]}_\w+)"
        local = re.sub(own, lambda found: f"{found[1]} {self.local(found[2])}", statement)
        return _VIEW.sub(rf"\1 \2{self.on_cluster}", local, count=1)

    def _replicate(self, statement: str, path: str, replica: str) -> str:
        # Without ON CLUSTER it is a database of the engine Replicated that carries the statement to
        # the other hosts, and it insists on choosing the path itself.
        place = [f"'{path}'", f"'{replica}'"] if self.cluster else []

        def replicated(found: re.Match[str]) -> str:
            family, own = found.groups()
            arguments = ", ".join([*place, *([own] if own else [])])
            return f"ENGINE = Replicated{family}" + (f"({arguments})" if arguments else "")

        return _WINDOW.sub(
            r"replicated_deduplication_window = \1,"
            f"\n  replicated_deduplication_window_seconds = {_WINDOW_SECONDS}",
            _ENGINE.sub(replicated, statement, count=1),
        )


def layout(url: str, cluster: str, *, replicated: bool) -> Layout:
    """The one on the server that the URL names. Raise `Misconfigured`."""
    database = unquote(urlsplit(url).path).strip("/") or DATABASE
    if not re.fullmatch(r"\w+", database):
        raise Misconfigured(
            f"PENSTOCK_WAREHOUSE: {database} cannot be a database; letters, digits and _ make a "
            "name"
        )
    return Layout(database, cluster, replicated)
