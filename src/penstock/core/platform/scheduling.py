"""What a process does every so often beside its projections, by one of all that could do it."""

from collections.abc import Callable

from penstock.core.clock import Clock
from penstock.core.log.forgetting import INTERVAL_SECONDS
from penstock.core.platform.consumers import Consumers
from penstock.core.platform.opening import Opened
from penstock.core.projection import Table, retention
from penstock.core.projection.schedule import Schedule
from penstock.core.state.lease import AloneLeases
from penstock.core.telemetry import Logger


def alone(name: str, work: Callable[[], None], *, clock: Clock, logger: Logger) -> Schedule:
    """Of what only this process can do, as it does with the log that it writes or follows."""

    def turn(token: int) -> None:
        del token
        work()

    return Schedule(
        name,
        turn,
        seconds=INTERVAL_SECONDS,
        leases=AloneLeases(clock),
        owner=name,
        logger=logger,
    )


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
