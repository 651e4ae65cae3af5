"""What is looked at while a process runs: figures for scrapes, and whether each view is right."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from penstock.core.clock import Clock
from penstock.core.meters import Meters
from penstock.core.platform.consumers import Consumers
from penstock.core.platform.opening import Opened
from penstock.core.poller import Poller
from penstock.core.telemetry import Logger
from penstock.core.watch import Watch


class Observing:
    def __init__(
        self,
        folder: Path,
        opened: Opened,
        consumers: Consumers,
        *,
        topics: Iterable[str],
        clock: Clock,
        logger: Logger,
    ) -> None:
        stores = opened.stores
        self.meters = Meters(
            folder,
            opened.follow,
            opened.log,
            stores,
            topics=topics,
            consumers=consumers.values(),
            clock=clock,
            database=opened.database,
        )
        warehouse = None if stores is None else stores.warehouse
        self.watch = Watch(consumers, opened.follow, warehouse, clock=clock, logger=logger)
        self.pollers: list[Poller[Any]] = [self.meters.sizes, self.watch.poller]
        """They look while the platform runs; who adds one does it before."""

    def begin(self) -> None:
        """Before any consumer starts."""
        self.watch.begin()

    def start(self) -> None:
        """Wait for a moment, so that most views answer from the first request on."""
        for poller in self.pollers:
            poller.start()
        self.watch.settle()

    def close(self) -> None:
        for poller in self.pollers:
            poller.close()
