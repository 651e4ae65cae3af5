"""Retention: drops whole partitions of tables once their projection says they are outdated."""

from penstock.core.projection import Table
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import TableSink
from penstock.core.warehouse import Warehouse

INTERVAL_SECONDS = 10


def expire(consumer: Consumer, warehouse: Warehouse) -> int:
    """Drop what is outdated of a consumer's table; how many partitions that were.

    Harmless twice and from several processes: each knows a newest event that is not newer than the
    newest of all.
    """
    table, sink = consumer.projection, consumer.sink
    if not isinstance(table, Table) or not isinstance(sink, TableSink):
        return 0
    bounds = [table.expired(carry) for carry in sink.carries]
    bound = max((bound for bound in bounds if bound is not None), default=None)
    return 0 if bound is None else warehouse.expire(table.table, bound)
