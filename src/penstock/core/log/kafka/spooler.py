"""The spooler: decides when it is needed, fills it, and has it emptied.

One thread does all that touches the file. In turns it takes what was handed to it, sends or spools
that, and sends a bounded part of what is spooled. What has an idempotency key is spooled first in
any case, since key and event are to be on disk together or not at all, and sent at once.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from penstock.core.errors import NotReady
from penstock.core.log import REUSED, SPOOLED, Append, Receipt
from penstock.core.log.disk import defect
from penstock.core.log.kafka.account import Account, Lines
from penstock.core.log.kafka.cluster import Place
from penstock.core.log.kafka.drain import Drain
from penstock.core.log.kafka.packing import packed
from penstock.core.log.kafka.producer import KafkaSession
from penstock.core.log.kafka.recovery import Recovery
from penstock.core.log.kafka.sending import Part, Report, Submission
from penstock.core.log.kafka.spool import Spool
from penstock.core.log.kafka.traffic import Traffic
from penstock.core.telemetry import Logger

_IDLE_SECONDS = 0.1
_BUSY_SECONDS = 0.01
_NOTE_SECONDS = 1.0

OpenSession = Callable[[Report, Callable[[str], None]], KafkaSession]
OpenRecovery = Callable[[Mapping[Place, int], set[bytes], Callable[[set[bytes]], None]], Recovery]


class Spooler:
    def __init__(
        self,
        spool: Spool,
        traffic: Traffic,
        account: Account,
        *,
        open_session: OpenSession,
        open_recovery: OpenRecovery,
        spool_after_seconds: float,
        logger: Logger,
    ) -> None:
        self._spool = spool
        self._traffic = traffic
        self._account = account
        self._open_session = open_session
        self._open_recovery = open_recovery
        self._spool_after_seconds = spool_after_seconds
        self._logger = logger
        self._queue: queue.SimpleQueue[Submission | set[bytes] | None] = queue.SimpleQueue()
        self._broken = ""
        self._recovery: Recovery | None = None
        self._recovering = False
        self._refused: list[Part] = []
        """The producer has them, and nobody was told that they are safe."""
        self._noted_at = 0.0
        traffic.session = self._begin_session()
        self._drain = Drain(spool, traffic, logger)
        if self._drain.left:
            traffic.spooling = True
            self._recover()
        self._thread = threading.Thread(target=self._run, name="penstock-spool", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._drain.waiting

    def put(self, submission: Submission) -> None:
        self._queue.put(submission)

    def close(self) -> None:
        """Send what is waiting, or else spool it."""
        self._queue.put(None)
        self._thread.join()
        if self._recovery is not None:
            self._recovery.close()
        self._abandon()
        self._drain.close()

    # -- turns --------------------------------------------------------------------------------

    def _run(self) -> None:
        open_for_more = True
        while open_for_more:
            group, open_for_more = self._gather()
            try:
                self._turn(group)
            except Exception as error:
                self._logger.exception("kafka.spooler_failed")
                self._traffic.failure = defect("the spooler", error).message
            self._traffic.settled(len(group))
        self._finish()

    def _gather(self) -> tuple[list[Submission], bool]:
        """All that is waiting, or the first that comes; and whether more may come."""
        group: list[Submission] = []
        with suppress(queue.Empty):
            item = self._queue.get(timeout=self._patience())
            while True:
                if item is None:
                    return group, False
                if isinstance(item, set):
                    self._recovered(item)
                else:
                    group.append(item)
                item = self._queue.get_nowait()
        return group, True

    def _patience(self) -> float:
        if not self._traffic.spooling or self._recovering:
            return _BUSY_SECONDS if self._spool.expired_left else _IDLE_SECONDS
        return 0.0 if self._drain.can_step else _BUSY_SECONDS

    def _turn(self, group: Sequence[Submission]) -> None:
        if self._broken:
            self._renew()
        waited = time.monotonic() - self._traffic.oldest()
        if waited > self._spool_after_seconds and not self._traffic.spooling:
            self._spool_from_now(f"no answer for {waited:.1f} seconds")
        if self._traffic.spooling:
            self._store(group)
            self._empty()
        else:
            self._send(group)
        self._drain.count()
        if self._spool.expired_left or time.monotonic() > self._noted_at + _NOTE_SECONDS:
            self._note()

    def _empty(self) -> None:
        """Send of the spool what can be sent; go straight again when the brokers keep up."""
        if self._recovering:
            return
        self._drain.step()
        self._refused = [part for part in self._refused if not part.arrived]
        young = time.monotonic() - self._spool_after_seconds / 2
        if not (self._drain.left or self._refused) and self._drain.since > young:
            self._drain.there.clear()
            with self._traffic.lock:
                self._traffic.spooling = False
            self._logger.info("kafka.drained")

    def _finish(self) -> None:
        """Wait a moment for what is under way: it spares the next start a look at the brokers."""
        deadline = time.monotonic() + max(self._spool_after_seconds, _NOTE_SECONDS)
        while self._under_way() and not self._recovering and time.monotonic() < deadline:
            self._turn([])
            time.sleep(_BUSY_SECONDS)
        if self._traffic.oldest() < float("inf"):
            self._spool_from_now("stopping")
            self._store([])
        self._note()

    def _under_way(self) -> bool:
        waited_for = self._traffic.oldest() < float("inf")
        return waited_for or self._drain.left or self._drain.in_flight > 0

    # -- what is handed in --------------------------------------------------------------------

    def _send(self, group: Sequence[Submission]) -> None:
        """To the producer; what has an idempotency key by way of the spool."""
        items = {submission: self._items(submission) for submission in group}
        keyed = [
            item
            for of in items.values()
            for item in of
            if item.append.idempotency_key or item.append.follows
        ]
        try:
            for item, receipt in zip(keyed, self._write(keyed), strict=True):
                item.stored = receipt
        except NotReady as error:
            for submission in {item.submission for item in keyed}:
                del items[submission]
                self._traffic.refuse(submission, error)
        for submission, of in items.items():
            with self._traffic.lock:
                for item in of:
                    self._join(item)
                self._traffic.send(submission)
            self._traffic.answer_empty(submission)

    def _join(self, item: "_Item") -> None:
        submission, append = item.submission, item.append
        if item.stored is not None and _stored_nothing(item.stored):
            submission.receipts[item.index] = item.stored
            return
        self._traffic.join(submission, item.index, item.parts)
        if item.stored is not None:
            first, since = item.stored.first, submission.since
            following = first + len(append.payloads)
            self._drain.hand(append.topic, item.parts, first, following, since, told=False)

    def _store(self, group: Sequence[Submission]) -> None:
        """To the spool; first of all what the producer has, and nobody got an answer to."""
        with self._traffic.lock:
            back = self._traffic.take_back()
            late = [
                _Item(submission, -1, Append(part.topic, part.payloads), [part])
                for submission in back
                for part in submission.parts
                if part.is_unsafe
            ]
            for item in late:
                item.parts[0].spooled = True
        fresh = [item for submission in group for item in self._items(submission)]
        try:
            receipts = self._write([*late, *fresh])
        except NotReady as error:
            self._refuse(back, group, error)
            return
        self._drain.count()
        if not self._recovering:
            with self._traffic.lock:
                for item, receipt in zip(late, receipts, strict=False):
                    first = receipt.first
                    topic, number = item.append.topic, len(item.append.payloads)
                    since = item.submission.since
                    self._drain.hand(topic, item.parts, first, first + number, since, told=True)
        for submission in back:
            self._traffic.answer(submission, _as_spooled(submission.receipts))
        rest = iter(receipts[len(late) :])
        for submission in group:
            self._traffic.answer(submission, _as_spooled([next(rest) for _ in submission.appends]))

    def _items(self, submission: Submission) -> list["_Item"]:
        with self._traffic.lock:
            return [
                _Item(submission, index, append, self._traffic.divide(append))
                for index, append in enumerate(submission.appends)
            ]

    def _write(self, items: Sequence["_Item"]) -> list[Receipt]:
        """Of each where it begins in the spool, or why it is not there. Raise `NotReady`."""
        if not items:
            return []
        [receipts] = self._spool.store([[packed(item.append, item.parts) for item in items]])
        return receipts

    def _refuse(
        self, back: Sequence[Submission], group: Sequence[Submission], error: NotReady
    ) -> None:
        """What the producer has may arrive all the same; nobody is told so."""
        for submission in back:
            late = [part for part in submission.parts if part.is_unsafe]
            self._refused += late
            for part in late:
                self._account.add(part.topic, rejected=len(part.payloads))
            self._traffic.answer(submission, error)
        for submission in group:
            self._traffic.refuse(submission, error)

    # -- beginning and ending -----------------------------------------------------------------

    def _spool_from_now(self, why: str) -> None:
        with self._traffic.lock:
            self._traffic.spooling = True
        self._logger.warning("kafka.spooling", reason=why)

    def _begin_session(self) -> KafkaSession:
        session = self._open_session(self._traffic.arrived, self._broke)
        self._spool.begin(session.id, self._traffic.reached)
        return session

    def _broke(self, why: str) -> None:
        """On any thread, with the lock or without."""
        self._broken = why

    def _renew(self) -> None:
        """The producer gave up: what has arrived of what it had is to be found out."""
        self._spool_from_now(f"the producer failed: {self._broken}")
        self._abandon()
        self._recovering, self._broken = True, ""
        self._refused.clear()
        self._store([])
        self._note()
        try:
            self._traffic.session = self._begin_session()
        except NotReady as error:
            self._broken = str(error)  # so that it is tried again
            return
        self._recover()

    def _abandon(self) -> None:
        with self._traffic.lock:  # nobody is in the midst of sending
            self._traffic.session.end()
        self._traffic.session.abandon()

    def _recover(self) -> None:
        """Ask the brokers what they have of what waits here."""
        self._recovering = True
        if self._recovery is not None:
            self._recovery.close()
        lows, sessions = self._drain.doubt(), self._spool.sessions()
        self._recovery = self._open_recovery(lows, sessions, self._queue.put)

    def _recovered(self, there: set[bytes]) -> None:
        self._drain.there, self._recovering = there, False
        self._logger.info("kafka.recovered", waiting=self.waiting, there=len(there))

    def _note(self) -> None:
        """How far the spool is drained, and the account; what fails is tried again."""
        self._noted_at = time.monotonic()
        noted = self._spool.progress
        progress = {t: of for t, of in self._drain.progress().items() if of != noted[t]}

        def write(lines: Lines) -> None:
            if progress or lines or self._spool.slack or self._spool.has_expired_keys:
                self._spool.note(progress, lines)
            else:
                self._spool.idle()

        with suppress(NotReady):
            self._account.file(write)


class _Item:
    """One append of a submission, on its way."""

    __slots__ = ("append", "index", "parts", "stored", "submission")

    def __init__(
        self, submission: Submission, index: int, append: Append, parts: Sequence[Part]
    ) -> None:
        self.submission = submission
        self.index = index
        self.append = append
        self.parts = parts
        self.stored: Receipt | None = None
        """Where it begins in the spool."""


def _as_spooled(receipts: Sequence[Receipt]) -> list[Receipt]:
    return [receipt if _stored_nothing(receipt) else SPOOLED for receipt in receipts]


def _stored_nothing(receipt: Receipt) -> bool:
    return receipt.is_duplicate or receipt == REUSED
