"""Sending what the spool has, in its order, a bounded part at a time. For the spooler's thread."""

import time
from collections.abc import Sequence

from penstock.core.log.kafka.backlog import Backlog
from penstock.core.log.kafka.cluster import Place
from penstock.core.log.kafka.packing import unpacked
from penstock.core.log.kafka.sending import Part, Stretch
from penstock.core.log.kafka.spool import Progress, Spool
from penstock.core.log.kafka.traffic import Traffic
from penstock.core.telemetry import Logger

_AT_ONCE = 2_048
_IN_FLIGHT_MAX = 20_000
"""Records of the spool that the producer may hold; the rest waits on disk."""


class Drain:
    def __init__(self, spool: Spool, traffic: Traffic, logger: Logger) -> None:
        self.waiting = 0
        """Records that are acknowledged and not known to be with the brokers."""
        self.there: set[bytes] = set()
        """Names of those that the brokers were found to have; they are not sent again."""
        self._spool = spool
        self._traffic = traffic
        self._logger = logger
        self._reader = spool.reader()
        self._backlogs = {
            topic: Backlog(topic, progress, spool.ends[topic])
            for topic, progress in spool.progress.items()
        }
        self.count()

    def close(self) -> None:
        self._reader.close()

    @property
    def left(self) -> bool:
        """Whether the producer is still to get something."""
        return any(of.handed < self._spool.ends[topic] for topic, of in self._backlogs.items())

    @property
    def in_flight(self) -> int:
        return sum(backlog.in_flight for backlog in self._backlogs.values())

    @property
    def can_step(self) -> bool:
        return self.left and self.in_flight < _IN_FLIGHT_MAX

    @property
    def since(self) -> float:
        """When the oldest of what is in flight was handed over; infinite for none."""
        return min((of.since for of in self._backlogs.values()), default=float("inf"))

    def count(self) -> None:
        """See what has arrived."""
        waiting = 0
        for topic, backlog in self._backlogs.items():
            backlog.advance()
            waiting += backlog.waiting(self._spool.ends[topic])
        self.waiting = waiting

    def step(self) -> None:
        """Hand the next records of each topic over, but for those that the brokers have."""
        for topic, backlog in self._backlogs.items():
            if backlog.handed < self._spool.ends[topic] and self.in_flight < _IN_FLIGHT_MAX:
                batch = self._reader.read(topic, 0, backlog.handed, _AT_ONCE)
                for damage in batch.damages:
                    self._logger.error("kafka.spool_damaged", topic=topic, **damage._asdict())
                parts = unpacked(topic, batch.payloads, self.there)
                with self._traffic.lock:
                    self.hand(topic, parts, batch.first, batch.next, time.monotonic(), told=True)
                    for part in parts:
                        self._traffic.session.send(part)

    def hand(
        self,
        topic: str,
        parts: Sequence[Part],
        first: int,
        following: int,
        since: float,
        *,
        told: bool,
    ) -> None:
        """The producer has these records of the spool, or gets them now. Hold the lock."""
        backlog = self._backlogs[topic]
        lows = backlog.lows(self._traffic.reached[topic])
        stretch = Stretch(first, following, lows, since, told=told)
        for part in parts:
            if not part.arrived:
                part.stretch = stretch
                stretch.left += 1
        backlog.hand(stretch)

    def progress(self) -> dict[str, Progress]:
        with self._traffic.lock:
            reached = {topic: list(of) for topic, of in self._traffic.reached.items()}
        return {topic: of.progress(reached[topic]) for topic, of in self._backlogs.items()}

    def doubt(self) -> dict[Place, int]:
        """The producer is gone: nothing is known of what has not arrived. Where, at the earliest,
        the brokers have it if they do.
        """
        lows: dict[Place, int] = {}
        for topic, progress in self.progress().items():
            end = self._spool.ends[topic]
            self._backlogs[topic] = Backlog(topic, progress, end)
            if progress.mark < end:
                lows |= {(topic, p): low for p, low in enumerate(progress.lows)}
        return lows
