"""What a process does every so often beside its projections, by one of all that could do it."""

from penstock.core.platform.consumers import Consumers
from penstock.core.platform.opening import Opened
from penstock.core.projection import Table, retention
from penstock.core.projection.schedule import Schedule
from penstock.core.telemetry import Logger


def schedules(
    consumers: Consumers, opened: Opened, *, owner: str, logger: Logger
) -> list[Schedule]:
    """Each on a thread of its own, so that none stands in the way of a projection."""

    def expire(token: int) -> None:
        del token
        for consumer in consumers.carried:
            retention.expire(consumer, opened.require_stores().tables)

    if not any(isinstance(consumer.projection, Table) for consumer in consumers.carried):
        return []
    return [
        Schedule(
            "retention",
            expire,
            seconds=retention.INTERVAL_SECONDS,
            leases=opened.require_leases(),
            owner=owner,
            logger=logger,
        )
    ]
