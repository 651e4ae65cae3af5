"""Pull mode: the statements by which ClickHouse consumes a topic by itself. Pure; runs nothing.

For each `pull.sql` of an application, from the events of its topic as JSON: a queue of the engine
Kafka, a view that carries rows from the queue into the table, and a table of malformed messages
with the view that fills it. A consumer of ClickHouse delivers at least once, and knows nothing of
retention; who needs each row once, or old ones gone, lets Penstock project.
"""

import types
from collections.abc import Sequence
from typing import Any, NamedTuple, Union, get_args, get_origin

import msgspec

from penstock.core.errors import Misconfigured
from penstock.core.warehouse.cluster import Layout

_TYPES = {int: "Int64", float: "Float64", bool: "Bool", str: "String"}

_ERRORS = """-- shard by: cityHash64(topic, partition, offset)
CREATE TABLE IF NOT EXISTS {table}_errors (
  topic     LowCardinality(String),
  partition UInt64,
  offset    UInt64,
  error     String CODEC(ZSTD),
  message   String CODEC(ZSTD),
  at        DateTime64(3) DEFAULT now64(3)
) ENGINE = MergeTree
ORDER BY (topic, partition, offset)"""
_MALFORMED = """SELECT
  _topic AS topic,
  _partition AS partition,
  _offset AS offset,
  _error AS error,
  _raw_message AS message
FROM {table}_queue
WHERE _error != ''"""


class Pull(NamedTuple):
    """What `pull.sql` says about one table."""

    table: str
    topic: str
    select: str
    """From `<table>_queue`, whose columns are `type`, `project` and the fields of its events."""


def statements(
    pull: Pull, events: Sequence[type[msgspec.Struct]], brokers: str, layout: Layout
) -> list[str]:
    """Raise `Misconfigured` when the select would take malformed messages for rows."""
    table, on = pull.table, layout.on_cluster
    if "_error = ''" not in pull.select:
        raise Misconfigured(f"pull.sql: the rows of {table} have to be those WHERE _error = ''")
    view = "CREATE MATERIALIZED VIEW IF NOT EXISTS"
    return [
        _queue(pull, _columns(events), brokers, on),
        *layout.create(_ERRORS.format(table=table)),
        f"{view} {table}_errors_pull{on} TO {table}_errors AS\n{_MALFORMED.format(table=table)}",
        # Into the table under its plain name: on a cluster each row goes to the host of its key.
        f"{view} {table}_pull{on} TO {table} AS\n{pull.select}",
    ]


def _queue(pull: Pull, columns: str, brokers: str, on: str) -> str:
    settings = {
        "kafka_broker_list": brokers,
        "kafka_topic_list": pull.topic,
        "kafka_group_name": f"penstock.pull.{pull.table}",
        "kafka_format": "JSONEachRow",
        "kafka_handle_error_mode": "stream",
    }
    assigned = ",\n".join(f"  {name} = '{value}'" for name, value in settings.items())
    return (
        f"CREATE TABLE IF NOT EXISTS {pull.table}_queue{on} (\n{columns}\n) ENGINE = Kafka\n"
        f"SETTINGS\n{assigned}"
    )


def _columns(events: Sequence[type[msgspec.Struct]]) -> str:
    """The fields of all events; one that is of several types is read as text."""
    columns = {"type": "String", "project": "String"}
    for event in events:
        for field in msgspec.structs.fields(event):
            kind = _type(field.type)
            columns[field.name] = kind if columns.get(field.name, kind) == kind else "String"
    width = max(len(name) for name in columns)
    return ",\n".join(f"  {name.ljust(width)} {kind}" for name, kind in columns.items())


def _type(annotation: Any) -> str:
    """What JSON has of this type; text takes everything else, as it stands in the message."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        kind = _type(kinds[0]) if len(kinds) == 1 else "String"
        return f"Nullable({kind})" if len(kinds) < len(get_args(annotation)) else kind
    return _TYPES.get(annotation, "String")
