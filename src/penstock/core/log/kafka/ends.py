"""Where partitions end: asked of the brokers all the time by one thread, for all who wait."""

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from penstock.core.errors import NotReady, told
from penstock.core.log.kafka.cluster import Cluster, Place
from penstock.core.telemetry import Logger

_POLL_SECONDS = 0.1
"""As often as brokers answer a reader that waits for more."""
_RETRY_SECONDS = 0.5
_FRESH_SECONDS = 0.1
"""An answer older than this is asked for anew by whoever needs it."""
_DEMAND_SECONDS = 1.0
"""A topic that was asked for within this time is looked at as if somebody listened."""
_AWAY_SECONDS = 5.0
"""So long after brokers did not answer nobody waits for them: the last answer has to do."""
_NEVER = float("-inf")


class Ends:
    def __init__(
        self,
        cluster: Cluster,
        partitions: Callable[[str], int],
        shrunk: Callable[[str], None],
        logger: Logger,
    ) -> None:
        """`shrunk` is told of a topic that ends earlier than it did."""
        self.trouble = ""
        """Why the brokers did not answer when they were asked last."""
        self._cluster = cluster
        self._partitions = partitions
        self._shrunk = shrunk
        self._logger = logger
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._known: dict[Place, int] = {}
        self._told: dict[Place, int] = {}
        """As the brokers said last; `_known` may be ahead by what this process delivered."""
        self._asked_at: dict[str, float] = {}
        self._failed_at = _NEVER
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._demanded_at: dict[str, float] = {}
        self._wanted = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="penstock-ends", daemon=True)
        self._thread.start()

    def listen(self, topic: str, wake: Callable[[], None]) -> None:
        self._listeners.setdefault(topic, []).append(wake)
        self._wanted.set()

    def get(self, topic: str, partition: int) -> int:
        """As it is, or was a moment ago; while the brokers are away, as it was then.

        Raise `NotReady` when they have not said it yet.
        """
        now = time.monotonic()
        self._demanded_at[topic] = now
        self._wanted.set()
        away = now < self._failed_at + _AWAY_SECONDS
        if now > self._asked_at.get(topic, _NEVER) + _FRESH_SECONDS and not away:
            with suppress(NotReady):
                self._ask([topic])
        end = self._known.get((topic, partition))
        if end is None:
            raise NotReady(f"the brokers did not say yet where {topic}/{partition} ends")
        return end

    def reach(self, topic: str, partition: int, end: int) -> None:
        """What is before `end` was delivered by this very process."""
        place = (topic, partition)
        with self._lock:
            grown = end > self._known.get(place, -1)
            if grown:
                self._known[place] = end
        if grown:
            self._wake(topic)

    def close(self) -> None:
        self._closing = True
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while self._wanted.wait() and not self._closing:
            self._wanted.clear()
            since = time.monotonic() - _DEMAND_SECONDS
            demanded = [topic for topic, at in list(self._demanded_at.items()) if at >= since]
            topics = {*self._listeners, *demanded}
            if topics:
                self._wanted.set()
                try:
                    self._ask(topics)
                    time.sleep(_POLL_SECONDS)
                except Exception as error:  # noqa: BLE001 - all who wait for new records need it
                    self._note(error)
                    time.sleep(_RETRY_SECONDS)

    def _ask(self, topics: Collection[str]) -> None:
        """One question at a time, so that an older answer never follows a newer one."""
        wanted_at = time.monotonic()
        with self._asking:
            if all(self._asked_at.get(topic, _NEVER) >= wanted_at for topic in topics):
                return
            now = time.monotonic()
            places = [(topic, p) for topic in topics for p in range(self._partitions(topic))]
            try:
                ends = self._cluster.ends(places)
            except NotReady as error:
                self._note(error)
                raise
            self.trouble = ""
            self._learn(ends)
            self._asked_at.update(dict.fromkeys(topics, now))

    def _note(self, error: Exception) -> None:
        """A line when they fall silent; `/readyz` says it as long as they are."""
        if not self.trouble:
            self._logger.warning("kafka.ends_unknown", error=f"{type(error).__name__}: {error}")
        self._failed_at, self.trouble = time.monotonic(), told(error)

    def _learn(self, ends: dict[Place, int]) -> None:
        grown, shrunk = set(), set()
        with self._lock:
            for place, end in ends.items():
                told, known = self._told.get(place, 0), self._known.get(place, 0)
                self._told[place] = end
                # Only a topic that was made anew, or lost records, ends earlier than it did.
                self._known[place] = end if end < told else max(end, known)
                if end < told:
                    shrunk.add(place[0])
                if end > known:
                    grown.add(place[0])
        for topic in shrunk:
            self._shrunk(topic)
        for topic in grown:
            self._wake(topic)

    def _wake(self, topic: str) -> None:
        for wake in self._listeners.get(topic, ()):
            wake()
