"""The reading half of a log on Kafka."""

import time
from collections.abc import Callable, Sequence

from penstock.core.clock import Clock
from penstock.core.errors import NotReady
from penstock.core.folder import member_of
from penstock.core.log import Extent, Minute, Share, added_up
from penstock.core.log.kafka.address import properties
from penstock.core.log.kafka.appending import KafkaAppender
from penstock.core.log.kafka.cluster import Cluster, Described, Place
from penstock.core.log.kafka.ends import Ends
from penstock.core.log.kafka.reader import KafkaReader
from penstock.core.log.kafka.share import KafkaShare
from penstock.core.log.kafka.topics import unreachable, verified
from penstock.core.settings import Settings
from penstock.core.telemetry import logger

_FRESH_SECONDS = 5.0
"""So long nobody asks the brokers again which topics they have, and where these start."""


class KafkaFollow:
    """Reads what any edge wrote; what it knows of topics at first is handed in."""

    def __init__(self, settings: Settings, cluster: Cluster, partitions: dict[str, int]) -> None:
        self._properties = properties(settings.log_url)
        self._cluster = cluster
        self._partitions = partitions
        self._identities: dict[str, str] = {}
        self._identified_at: dict[str, float] = {}
        self._starts: dict[Place, int] = {}
        self._starts_asked_at: dict[str, float] = {}
        self._logger = logger(settings.log_level, settings.log_format)
        self._folder = settings.folder
        self._ends = Ends(cluster, self.partitions, self._forget, self._logger)
        self._appender: KafkaAppender | None = None

    def identity(self, topic: str) -> str:
        """Of the cluster and of the topic: one that was made anew under the same name differs.

        As it was a few seconds ago; while the brokers are away, as it was then.
        """
        now = time.monotonic()
        if now > self._identified_at.get(topic, float("-inf")) + _FRESH_SECONDS:
            try:
                self._identities[topic] = self._described(topic).identity
            except NotReady:
                if topic not in self._identities:
                    raise
            self._identified_at[topic] = now
        return self._identities[topic]

    def partitions(self, topic: str) -> int:
        found = self._partitions.get(topic)
        if found is None:
            found = self._partitions[topic] = self._described(topic).partitions
        return found

    def share(self, group: str, topic: str, changed: Callable[[frozenset[int]], None]) -> Share:
        return KafkaShare(
            self._properties, group, topic, changed, self._logger, member=member_of(self._folder)
        )

    def reader(self) -> KafkaReader:
        return KafkaReader(self._properties)

    def appender(self, clock: Clock) -> KafkaAppender:
        """For what is said in this process of what it reads; it is closed with this."""
        if self._appender is None:
            self._appender = KafkaAppender(
                self._properties, self.partitions, self._ends.reach, clock
            )
        return self._appender

    def start(self, topic: str, partition: int) -> int:
        """As it was a few seconds ago, for only retention moves it; while the brokers are away, as
        it was then. Raise `NotReady` when they have not said it yet.
        """
        now = time.monotonic()
        if now > self._starts_asked_at.get(topic, float("-inf")) + _FRESH_SECONDS:
            places = [(topic, p) for p in range(self.partitions(topic))]
            try:
                self._starts.update(self._cluster.starts(places))
            except NotReady:
                if (topic, partition) not in self._starts:
                    raise
            self._starts_asked_at[topic] = now
        return self._starts[topic, partition]

    def extent(self, topic: str, partition: int) -> Extent:
        return Extent(self.start(topic, partition))

    def end(self, topic: str, partition: int) -> int:
        return self._ends.get(topic, partition)

    def listen(self, topic: str, wake: Callable[[], None]) -> None:
        self._ends.listen(topic, wake)

    def failure(self) -> str:
        return self._ends.trouble

    def remembers(self) -> str:
        return self._ends.trouble

    def close(self) -> None:
        if self._appender is not None:
            self._appender.close()
        self._ends.close()

    def _described(self, topic: str) -> Described:
        found = self._cluster.describe([topic]).get(topic)
        if found is None:
            raise NotReady(f"there is no topic {topic}; run `penstock migrate`")
        return found

    def _forget(self, topic: str) -> None:
        """It ends earlier than it did, so it may be another one."""
        self._identified_at.pop(topic, None)
        self._starts_asked_at.pop(topic, None)


class KafkaFollower(KafkaFollow):
    """For processes without an edge."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        """Raise `Misconfigured` when the brokers are away, or a topic is not as it is to be."""
        cluster = Cluster(properties(settings.log_url))
        try:
            known = verified(cluster, settings, topics)
        except NotReady as error:
            raise unreachable(settings, error) from error
        super().__init__(settings, cluster, {name: of.partitions for name, of in known.items()})

    def ledger(self, topic: str, since_minute: int) -> list[Minute]:
        """Every edge keeps the account of what it received."""
        del topic, since_minute
        return []

    def totals(self, topic: str) -> Minute:
        del topic
        return added_up([])

    def bytes_on_disk(self) -> int:
        return 0
