"""Appending from any process: what folds and schedules say goes straight to the brokers.

There is no spool behind it. What waited in one while another process went on would come too late,
and be passed over as a repeat; so here the answer is that of the brokers or none, and whoever said
it says it again.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from penstock.core.clock import Clock
from penstock.core.errors import NotReady, PenstockError, TooLarge
from penstock.core.log import RECORD_BYTES_MAX, Append, Done
from penstock.core.log.kafka.producer import KafkaSession
from penstock.core.log.kafka.sending import Part, Submission, divide

PATIENCE_SECONDS = 10.0
"""What the brokers did not take for so long has failed, and is said again by a new producer."""


class KafkaAppender:
    keyed = True

    def __init__(
        self,
        properties: Mapping[str, Any],
        partitions: Callable[[str], int],
        reached: Callable[[str, int, int], None],
        clock: Clock,
    ) -> None:
        """`reached` is told of each partition of a topic up to where something was delivered. No
        producer is made before there is something to send.
        """
        self._properties = properties
        self._partitions = partitions
        self._reached = reached
        self._clock = clock
        self._lock = threading.RLock()  # a producer may fail while it is given something
        self._session: KafkaSession | None = None
        self._over: list[KafkaSession] = []
        """Those that failed, to be put away by whoever comes next."""
        self._waiting: dict[Submission, None] = {}
        self._turn = 0

    def partitions(self, topic: str) -> int:
        return self._partitions(topic)

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        try:
            divided = [self._divide(append) for append in appends]
        except PenstockError as refusal:
            done(refusal)
            return
        submission = Submission(appends, done, time.monotonic())
        for index, parts in enumerate(divided):
            for part in parts:
                part.submission = submission
            if parts:
                parts[0].append = index
            submission.parts += parts
        submission.left = len(submission.parts)
        if not submission.parts:
            done(submission.receipts)
            return
        self._put_away()
        try:
            with self._lock:
                session = self._opened()
                self._waiting[submission] = None
                for part in submission.parts:
                    session.name(part)
                for part in submission.parts:
                    session.send(part)
        except NotReady as error:
            done(error)

    def close(self) -> None:
        """What was not delivered by now is given up."""
        with self._lock:
            session, self._session = self._session, None
            if session is not None:
                session.end()
                self._over.append(session)
        self._put_away()
        self._refuse("the process is about to end")

    def _divide(self, append: Append) -> list[Part]:
        """Raise `NotReady` and `TooLarge`."""
        if any(len(payload) > RECORD_BYTES_MAX for payload in append.payloads):
            raise TooLarge(f"an event may have at most {RECORD_BYTES_MAX} bytes")
        self._turn += 1
        at_ms = append.taken_ms or self._clock.now_ms()
        return divide(append, self._partitions(append.topic), self._turn, at_ms)

    def _opened(self) -> KafkaSession:
        """With the lock held. Raise `NotReady`."""
        if self._session is None:
            self._session = KafkaSession(
                self._properties, self._arrived, self._failed, patience_seconds=PATIENCE_SECONDS
            )
        return self._session

    def _put_away(self) -> None:
        """Without the lock: their threads may wait for it."""
        with suppress(IndexError):
            while True:
                self._over.pop().abandon()

    # -- on the session's thread ----------------------------------------------------------------

    def _arrived(self, part: Part, offset: int) -> None:
        submission = part.submission
        assert submission is not None
        self._reached(part.topic, part.partition, offset + 1)
        with self._lock:
            submission.left -= 1
            over = submission.left == 0 and submission in self._waiting
            if over:
                del self._waiting[submission]
        if over:
            submission.done(submission.receipts)

    def _failed(self, why: str) -> None:
        """What has arrived nevertheless is known by its origin when it is said again."""
        with self._lock:
            if self._session is not None:
                self._over.append(self._session)
                self._session = None
        self._refuse(why)

    def _refuse(self, why: str) -> None:
        with self._lock:
            refused, self._waiting = list(self._waiting), {}
        for submission in refused:
            submission.done(NotReady("appending", detail=why))
