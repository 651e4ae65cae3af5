"""The schedules of a process: those of its applications, and what it does for itself."""

from collections.abc import Mapping, Sequence

from penstock.core.clock import CarefulClock
from penstock.core.events import Event
from penstock.core.manifest import Context, Manifest, Run, Schedule
from penstock.core.platform.consumers import Consumers
from penstock.core.platform.opening import Opened
from penstock.core.projection import Table, retention
from penstock.core.reach import Reach
from penstock.core.schedules.attempts import Attempts
from penstock.core.schedules.book import Book
from penstock.core.schedules.leading import Leading, Offered
from penstock.core.schedules.running import Appending
from penstock.core.schedules.scheduler import Everywhere, Scheduler
from penstock.core.telemetry import Logger


def scheduler(
    manifests: Sequence[Manifest],
    contexts: Mapping[str, Context],
    consumers: Consumers,
    opened: Opened,
    reach: Reach,
    *,
    owner: str,
    clock: CarefulClock,
    logger: Logger,
) -> Scheduler:
    """`contexts` has what an application's runs reach, by its name, and core's own."""
    stores = opened.require_stores()
    attempts = Attempts(reach, Appending(opened.log, stores.codec), clock=clock, logger=logger)
    leading, everywhere = [], []
    for manifest in manifests:
        led = [of for of in manifest.schedules if not of.everywhere]
        own = [of for of in manifest.schedules if of.everywhere]
        if led:
            leading.append(
                Leading(
                    Offered(manifest.name, led, contexts[manifest.name]),
                    Book(stores.state, manifest.name),
                    attempts,
                    leases=opened.require_leases(),
                    owner=owner,
                    clock=clock,
                    logger=logger,
                )
            )
        if own:
            everywhere.append(Offered(manifest.name, own, contexts[manifest.name]))
    if any(isinstance(consumer.projection, Table) for consumer in consumers.carried):
        everywhere.append(Offered("penstock", [_retention(consumers, opened)], contexts[""]))
    return Scheduler(
        leading,
        [Everywhere(of, attempts, clock=clock, logger=logger) for of in everywhere],
        attempts,
        logger,
    )


def _retention(consumers: Consumers, opened: Opened) -> Schedule:
    """Of the tables that this process carries: only who carries one knows how new it is."""

    async def expire(run: Run, reach: Reach) -> Sequence[Event]:
        del run, reach
        for consumer in consumers.carried:
            retention.expire(consumer, opened.require_stores().tables)
        return ()

    return Schedule(
        name="penstock.retention",
        at=f"{retention.INTERVAL_SECONDS} s",
        run=expire,
        everywhere=True,
    )
