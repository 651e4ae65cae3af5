"""The projections of a process: those it carries, and those it is only asked about."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from penstock.core.clock import Clock
from penstock.core.platform.opening import Opened
from penstock.core.projection import Fold, Projection
from penstock.core.projection.reading import readings
from penstock.core.projection.runner import Consumer
from penstock.core.projection.shadows import Turn, clean_up
from penstock.core.projection.sinks import sink
from penstock.core.telemetry import Logger


class Consumers(Mapping[str, Consumer]):
    """By the names of their projections."""

    def __init__(
        self,
        projections: Iterable[Projection],
        opened: Opened,
        *,
        carried: Collection[str],
        owner: str,
        clock: Clock,
        logger: Logger,
    ) -> None:
        """`carried` names those that run here; `owner` is this process among those that lease."""
        self._opened = opened
        self._owner = owner
        self._clock = clock
        self._logger = logger
        known = {projection.name: projection for projection in projections}
        read = readings(
            opened.follow,
            [known[name] for name in carried],
            lambda topic: opened.require_stores().codec(topic),
        )
        self._named = {
            name: Consumer(
                projection,
                sink(projection, opened.require_stores()),
                opened.follow,
                clock,
                logger,
                reading=read[projection.topic.name] if name in carried else None,
            )
            for name, projection in known.items()
        }
        self.carried = [self._named[name] for name in carried]
        """The consumers that this process runs."""

    def __getitem__(self, name: str) -> Consumer:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    @property
    def jobs(self) -> list[str]:
        """Names of those that this process does."""
        folds = [c.projection for c in self.carried if isinstance(c.projection, Fold)]
        return [job.name for fold in folds for job in fold.jobs]

    def turn(self, consumer: Consumer) -> Turn:
        """To rebuild its read model."""
        leases = self._opened.require_leases()
        return Turn(consumer.projection, leases, self._owner, self._clock)

    def start(self) -> None:
        for consumer in self.carried:
            stores = self._opened.require_stores()
            clean_up(consumer, stores, self.turn(consumer), self._logger)
            consumer.start()
        for consumer in self.carried:
            consumer.looked()

    def stop(self) -> None:
        """Each finishes its batch."""
        for consumer in self.values():
            consumer.stop()
