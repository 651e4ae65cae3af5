"""The log in memory, for tests: the same contract but for what a crash leaves behind."""

import threading
from collections.abc import Callable, Sequence
from uuid import uuid4

from penstock.core.clock import Clock, careful
from penstock.core.errors import Disproved, NotReady
from penstock.core.log import (
    DUPLICATE,
    REUSED,
    Append,
    Batch,
    Done,
    Extent,
    Minute,
    Receipt,
    Share,
    Whole,
    added_up,
)


class MemoryLog:
    keyed = False
    spooled = 0

    def __init__(self, clock: Clock, *, idempotency_hours: float = 24.0) -> None:
        self._identity = str(uuid4())
        self.commits = 0
        self.failing = ""
        """Set by a test: every submission fails with this reason."""
        self._clock = careful(clock)
        self._window_ms = int(idempotency_hours * 3_600_000)
        self._lock = threading.Lock()
        self._records: dict[str, list[tuple[int, bytes]]] = {}
        self._keys: dict[tuple[str, str], tuple[int, bytes, bytes]] = {}
        self._origins: dict[tuple[str, str, int], int] = {}
        self._ledger: dict[str, dict[int, Minute]] = {}
        self._listeners: dict[str, list[Callable[[], None]]] = {}

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        if self.failing:
            for append in appends:
                self.tally(append.topic, rejected=len(append.payloads) + append.rejected)
            done(NotReady(self.failing))
            return
        with self._lock:
            receipts: list[Receipt] = []
            for append in appends:
                if append.follows and not receipts[-1].stored:
                    receipts.append(self._turn_away(append, receipts[-1]))
                else:
                    receipts.append(self._append(append))
            self.commits += 1
        for topic in {append.topic for append in appends}:
            for wake in self._listeners.get(topic, ()):
                wake()
        done(receipts)

    def tally(self, topic: str, *, rejected: int) -> None:
        with self._lock:
            self._count(topic, stored=0, duplicate=0, rejected=rejected)

    def failure(self) -> str:
        return self.failing

    def identity(self, topic: str) -> str:
        return f"{self._identity}/{topic}"

    def partitions(self, topic: str) -> int:
        del topic
        return 1

    def share(self, group: str, topic: str, changed: Callable[[frozenset[int]], None]) -> Share:
        del group
        return Whole(self.partitions(topic), changed)

    def reader(self) -> "MemoryLog":
        return self

    def read(
        self, topic: str, partition: int, offset: int, limit: int, proof: str | None = None
    ) -> Batch:
        """One log, which never changes what it has: its identity proves all of its records."""
        end = self.end(topic, partition)
        if proof is not None and (offset > end or (proof and proof != self._identity)):
            raise Disproved(f"the log ends at {end}")
        found = self._records.get(topic, [])[offset : offset + limit]
        after = offset + len(found)
        times = [at for at, _ in found]
        payloads = [payload for _, payload in found]
        at = times[0] if times else 0
        proved = "" if proof is None or after == 0 else self._identity
        return Batch(
            offset, after, range(offset, after), payloads, at, taken_ms=times, proof=proved
        )

    def start(self, topic: str, partition: int) -> int:
        del topic, partition
        return 0

    def extent(self, topic: str, partition: int) -> Extent:
        return Extent(self.start(topic, partition))

    def end(self, topic: str, partition: int) -> int:
        del partition
        return len(self._records.get(topic, ()))

    def listen(self, topic: str, wake: Callable[[], None]) -> None:
        self._listeners.setdefault(topic, []).append(wake)

    def ledger(self, topic: str, since_minute: int) -> list[Minute]:
        minutes = self._ledger.get(topic, {})
        return [minutes[minute] for minute in sorted(minutes) if minute >= since_minute]

    def totals(self, topic: str) -> Minute:
        return added_up(self._ledger.get(topic, {}).values())

    @property
    def idempotency_keys(self) -> int:
        since = self._clock.now_ms() - self._window_ms
        with self._lock:
            return sum(at_ms >= since for at_ms, *_ in self._keys.values())

    def remembers(self) -> str:
        return ""

    def bytes_on_disk(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing to release."""

    def _append(self, append: Append) -> Receipt:
        now = self._clock.now_ms()
        if (origin := append.origin) is not None:
            place = (append.topic, origin.source, origin.partition)
            last = self._origins.get(place, -1)
            fresh = [p for n, p in zip(origin.numbers, append.payloads, strict=True) if n > last]
            if not fresh:
                return DUPLICATE
            self._origins[place] = origin.numbers[-1]
            append = append._replace(payloads=fresh)
        count = len(append.payloads)
        if append.idempotency_key:
            key = (append.topic, append.idempotency_key)
            at_ms, fingerprint, answer = self._keys.get(key, (-1, b"", b""))
            if at_ms >= now - self._window_ms:
                if fingerprint and append.fingerprint not in (b"", fingerprint):
                    return self._turn_away(append, REUSED)
                return self._turn_away(append, DUPLICATE._replace(answer=answer))
            self._keys[key] = (self._clock.latest_ms(), append.fingerprint, append.answer)
        records = self._records.setdefault(append.topic, [])
        first = len(records)
        records.extend((append.taken_ms or now, payload) for payload in append.payloads)
        self._count(append.topic, stored=count, duplicate=0, rejected=append.rejected)
        return Receipt(0, first)

    def _turn_away(self, append: Append, instead: Receipt) -> Receipt:
        count = len(append.payloads)
        duplicate = count if instead.is_duplicate else 0
        rejected = append.rejected + count - duplicate
        self._count(append.topic, stored=0, duplicate=duplicate, rejected=rejected)
        return instead

    def _count(self, topic: str, *, stored: int, duplicate: int, rejected: int) -> None:
        minute = self._clock.now_ms() // 60_000
        minutes = self._ledger.setdefault(topic, {})
        was = minutes.get(minute, Minute(minute, 0, 0, 0, 0))
        received = was.received + stored + duplicate + rejected
        minutes[minute] = Minute(
            minute,
            received,
            was.stored + stored,
            was.duplicate + duplicate,
            was.rejected + rejected,
        )
