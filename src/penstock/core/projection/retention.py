"""Retention: drops whole partitions of tables once their projection says they are outdated."""

import threading
from collections.abc import Sequence

from penstock.core.errors import PenstockError
from penstock.core.projection import Table
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import TableSink
from penstock.core.telemetry import Logger
from penstock.core.warehouse import Warehouse

_INTERVAL_SECONDS = 10.0


class Retention:
    """One thread for all tables, so that expiry never stands in the way of a projection."""

    def __init__(self, warehouse: Warehouse, logger: Logger) -> None:
        self._warehouse = warehouse
        self._logger = logger
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, consumers: Sequence[Consumer]) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(consumers,), name="penstock-retention", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, consumers: Sequence[Consumer]) -> None:
        while not self._stopping.wait(_INTERVAL_SECONDS):
            for consumer in consumers:
                try:
                    self.expire(consumer)
                except PenstockError as error:
                    self._logger.warning("retention.failed", error=str(error))

    def expire(self, consumer: Consumer) -> int:
        """Drop what is outdated; how many partitions that were."""
        table, inner = consumer.projection, consumer.sink
        if not isinstance(table, Table) or not isinstance(inner, TableSink):
            return 0
        bound = table.expired(inner.carry)
        if bound is None:
            return 0
        outdated = self._warehouse.query(
            "SELECT DISTINCT partition FROM system.parts WHERE active AND "
            "database = currentDatabase() AND table = {table:String} "
            "AND toInt64(partition) < {bound:Int64} LIMIT 1000",
            {"table": table.table, "bound": bound},
        )
        for (partition,) in outdated:
            self._warehouse.command(
                f"ALTER TABLE {table.table} DROP PARTITION {int(str(partition))}"
            )
        return len(outdated)
