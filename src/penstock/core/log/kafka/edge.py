"""The log on Kafka as an edge sees it."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial

from penstock.core.clock import Clock, careful
from penstock.core.errors import NotReady, PenstockError, TooLarge
from penstock.core.log import RECORD_BYTES_MAX, Append, Done, Minute, added_up
from penstock.core.log.kafka.account import Account
from penstock.core.log.kafka.address import properties
from penstock.core.log.kafka.cluster import Cluster
from penstock.core.log.kafka.follow import KafkaFollow
from penstock.core.log.kafka.producer import KafkaSession
from penstock.core.log.kafka.recovery import SETTLE_SECONDS, Recovery
from penstock.core.log.kafka.spool import Spool
from penstock.core.log.kafka.spooler import Spooler
from penstock.core.log.kafka.topics import unreachable, verified
from penstock.core.log.kafka.traffic import Traffic
from penstock.core.log.sqlite import Limits
from penstock.core.settings import Settings


class KafkaLog(KafkaFollow):
    """Writes, and reads as any other process does."""

    keyed = True

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        topics: Sequence[str],
        *,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Raise `Misconfigured`. When the brokers are away but were there before, what is taken in
        is spooled: the spool remembers the topics.
        """
        self._clock = clock = careful(clock)
        limits = Limits(
            settings.queue_records_max,
            settings.queue_bytes_max,
            settings.disk_free_bytes_min,
            settings.idempotency_hours,
        )
        found = properties(settings.log_url)
        cluster = Cluster(found)
        with ExitStack() as opened:
            self._spool = Spool(settings.folder / "spool.db", clock, limits)
            opened.callback(self._spool.close)
            reached = _reached(cluster, settings, topics, self._spool)
            super().__init__(settings, cluster, {topic: len(of) for topic, of in reached.items()})
            opened.callback(super().close)
            self._account = Account(clock)
            self._traffic = Traffic(reached, clock, limits, self._account, self._ends.reach)
            self._spooler = Spooler(
                self._spool,
                self._traffic,
                self._account,
                open_session=partial(KafkaSession, found),
                open_recovery=partial(
                    Recovery, found, logger=self._logger, settle_seconds=settle_seconds
                ),
                spool_after_seconds=settings.kafka_spool_after_seconds,
                logger=self._logger,
            )
            opened.callback(self._spooler.close)
            self._closing = opened.pop_all()

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        if any(append.origin is not None for append in appends):
            self.appender(self._clock).submit(appends, done)
            return
        if refusal := self._refusal(appends):
            for append in appends:
                self.tally(append.topic, rejected=len(append.payloads) + append.rejected)
            done(refusal)
            return
        submission = self._traffic.admit(appends, done)
        if not self._traffic.go(submission):
            self._spooler.put(submission)

    def tally(self, topic: str, *, rejected: int) -> None:
        self._account.add(topic, rejected=rejected)

    def failure(self) -> str:
        """Spooling is none; that the spool cannot be written while it is needed is."""
        failed = self._spool.failure
        needed = self._traffic.spooling or failed.startswith("fatal")
        return self._traffic.failure or (failed if needed else "")

    @property
    def commits(self) -> int:
        return self._traffic.answered

    @property
    def spooled(self) -> int:
        return self._spooler.waiting

    @property
    def idempotency_keys(self) -> int:
        """Those that this edge took."""
        with closing(self._spool.reader()) as reader:
            return reader.idempotency_keys()

    def ledger(self, topic: str, since_minute: int) -> list[Minute]:
        """What this edge received."""
        with closing(self._spool.reader()) as reader:
            return self._account.whole(
                topic, since_minute, lambda: reader.ledger(topic, since_minute)
            )

    def totals(self, topic: str) -> Minute:
        with closing(self._spool.reader()) as reader:
            return added_up(self._account.whole(topic, 0, lambda: [reader.totals(topic)]))

    def bytes_on_disk(self) -> int:
        return self._spool.bytes_on_disk()

    def close(self) -> None:
        """Send what is waiting, or spool it."""
        self._closing.close()

    def _refusal(self, appends: Sequence[Append]) -> PenstockError | None:
        """Why no broker would take it."""
        for append in appends:
            if append.topic not in self._partitions:
                return NotReady(f"there was no topic {append.topic} at the start")
            if any(len(payload) > RECORD_BYTES_MAX for payload in append.payloads):
                return TooLarge(f"an event may have at most {RECORD_BYTES_MAX} bytes")
        return None


def _reached(
    cluster: Cluster, settings: Settings, topics: Sequence[str], spool: Spool
) -> dict[str, list[int]]:
    """Where nothing of this process can lie before: the partitions' ends, or what is known of them.

    Raise `Misconfigured`.
    """
    try:
        known = verified(cluster, settings, topics)
    except NotReady as error:
        if not set(topics) <= spool.progress.keys():
            raise unreachable(settings, error) from error
        return {name: list(spool.progress[name].lows) for name in topics}
    places = [(name, p) for name in topics for p in range(known[name].partitions)]
    try:
        ends = cluster.ends(places)
    except NotReady:  # a partition without a leader: its oldest record is where nothing lies before
        ends = dict.fromkeys(places, 0)
    return {name: [ends[name, p] for p in range(known[name].partitions)] for name in topics}
