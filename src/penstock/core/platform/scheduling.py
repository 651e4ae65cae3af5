"""The schedules of a process: those of its applications, and what it does for itself."""

from collections.abc import Callable, Mapping, Sequence

from penstock.core.clock import CarefulClock
from penstock.core.events import Event
from penstock.core.log.forgetting import INTERVAL_SECONDS
from penstock.core.manifest import Context, Manifest, Run, Schedule
from penstock.core.platform.consumers import Consumers
from penstock.core.platform.opening import Opened
from penstock.core.projection import Table, Topic, retention
from penstock.core.reach import Reach
from penstock.core.schedules.attempts import Attempts
from penstock.core.schedules.book import Book
from penstock.core.schedules.leading import Leading, Offered
from penstock.core.schedules.returned import Returned
from penstock.core.schedules.running import Appending
from penstock.core.schedules.scheduler import Everywhere, Scheduler
from penstock.core.telemetry import Logger

_OURS_SECONDS_MAX = 86_400.0
"""What core does for itself is not cancelled, and told after a day."""


def scheduler(
    manifests: Sequence[Manifest],
    contexts: Mapping[str, Context],
    ours: Sequence[Schedule],
    opened: Opened,
    reach: Reach,
    *,
    owner: str,
    clock: CarefulClock,
    logger: Logger,
) -> Scheduler:
    """`manifests` are those whose schedules run here, `contexts` what they reach, by name."""
    stores = opened.stores
    codec = Topic.codec if stores is None else stores.codec
    returned = None if stores is None else Returned(stores.state)
    appending = Appending(opened.appender, codec, returned)
    attempts = Attempts(reach, appending, clock=clock, logger=logger)
    leading = []
    everywhere = [Offered("penstock", ours, None)] if ours else []
    for manifest in manifests:
        led = [of for of in manifest.schedules if not of.everywhere]
        own = [of for of in manifest.schedules if of.everywhere]
        if led:
            leading.append(
                Leading(
                    Offered(manifest.name, led, contexts[manifest.name]),
                    Book(opened.require_stores().state, manifest.name),
                    attempts,
                    leases=opened.require_leases(),
                    owner=owner,
                    clock=clock,
                    logger=logger,
                )
            )
        if own:
            everywhere.append(Offered(manifest.name, own, contexts[manifest.name]))
    return Scheduler(
        leading,
        [Everywhere(of, attempts, clock=clock, logger=logger) for of in everywhere],
        attempts,
        logger,
    )


def own(
    consumers: Consumers, opened: Opened, works: Mapping[str, Callable[[], None] | None]
) -> list[Schedule]:
    """What a process does for itself: it retains of the tables that it carries, for only who
    carries one knows how new it is; and `works`, with the log that it writes or follows.
    """

    def expire() -> None:
        for consumer in consumers.carried:
            retention.expire(consumer, opened.require_stores().tables)

    found = [
        _own(name, round(INTERVAL_SECONDS), work)
        for name, work in works.items()
        if work is not None
    ]
    if any(isinstance(consumer.projection, Table) for consumer in consumers.carried):
        found.append(_own("retention", retention.INTERVAL_SECONDS, expire))
    return found


def _own(name: str, seconds: int, work: Callable[[], None]) -> Schedule:
    async def run(run: Run, reach: Reach) -> Sequence[Event]:
        del run, reach
        work()
        return ()

    return Schedule(
        name=f"penstock.{name}",
        at=f"{seconds} s",
        run=run,
        everywhere=True,
        seconds_max=_OURS_SECONDS_MAX,
    )
