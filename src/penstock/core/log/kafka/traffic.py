"""What is on its way to the brokers and somebody waits for; shared by all threads of the edge.

Submissions go straight to the producer as long as nothing is before them: neither one that the
spooler has in hand, nor records in the spool. That way the order of acceptance is the order of
sending, whichever way a record takes.
"""

import threading
import time
from collections.abc import Callable, Sequence

from penstock.core.clock import Clock
from penstock.core.errors import Overloaded, PenstockError
from penstock.core.log import Append, Done, Receipt
from penstock.core.log.disk import defect
from penstock.core.log.kafka.account import Account
from penstock.core.log.kafka.producer import KafkaSession
from penstock.core.log.kafka.sending import Part, Submission, divide
from penstock.core.log.sqlite import Limits

Reached = Callable[[str, int, int], None]
"""Topic, partition, and the offset behind what has arrived."""


class Traffic:
    """`session` is set by the spooler before anything is taken in."""

    session: KafkaSession

    def __init__(
        self,
        reached: dict[str, list[int]],
        clock: Clock,
        limits: Limits,
        account: Account,
        tell: Reached,
    ) -> None:
        self.lock = threading.Lock()
        self.spooling = False
        """Everything goes to the spool first."""
        self.reached = reached
        """Behind the last record of ours that has arrived, by topic and partition, or where we
        began: what has not arrived does not lie before."""
        self.answered = 0
        self.failure = ""
        self._clock = clock
        self._limits = limits
        self._account = account
        self._tell = tell
        self._turn = 0
        self._in_hand = 0
        self._records = self._bytes = 0
        self._sent: dict[Submission, None] = {}

    # -- taking in, on any thread -------------------------------------------------------------

    def admit(self, appends: Sequence[Append], done: Done) -> Submission:
        """Raise `Overloaded` when too much is waiting already."""
        submission = Submission(appends, done, time.monotonic())
        with self.lock:
            if (
                self._records + submission.records > self._limits.queue_records_max
                or self._bytes + submission.size > self._limits.queue_bytes_max
            ):
                raise Overloaded("the log is behind; try again in a second")
            self._records += submission.records
            self._bytes += submission.size
        return submission

    def go(self, submission: Submission) -> bool:
        """Straight to the producer; False when it is for the spooler."""
        keyed = any(append.idempotency_key for append in submission.appends)
        with self.lock:
            if keyed or self.spooling or self._in_hand:
                self._in_hand += 1
                return False
            for index, append in enumerate(submission.appends):
                self.join(submission, index, self.divide(append))
            self.send(submission)
        self.answer_empty(submission)
        return True

    # -- sending, with the lock held ----------------------------------------------------------

    def divide(self, append: Append) -> list[Part]:
        """Its records, named, by partition."""
        self._turn += 1
        partitions = len(self.reached[append.topic])
        parts = divide(append, partitions, self._turn, append.taken_ms or self._clock.now_ms())
        for part in parts:
            self.session.name(part)
        return parts

    def join(self, submission: Submission, index: int, parts: Sequence[Part]) -> None:
        """The parts are those of this append of the submission."""
        append = submission.appends[index]
        if append.rejected and not append.idempotency_key:  # or the spool has accounted for it
            self._account.add(append.topic, rejected=append.rejected)
        for part in parts:
            part.submission = submission
        if parts:
            parts[0].append = index
        submission.parts += parts

    def send(self, submission: Submission) -> None:
        submission.left = len(submission.parts)
        self._sent[submission] = None
        for part in submission.parts:
            self.session.send(part)

    # -- arriving, on the session's thread ----------------------------------------------------

    def arrived(self, part: Part, offset: int) -> None:
        submission = part.submission
        with self.lock:
            part.arrived = True
            reached = self.reached[part.topic]
            reached[part.partition] = max(reached[part.partition], offset + 1)
            if part.stretch is not None:
                part.stretch.left -= 1
            elif not part.spooled:
                self._account.add(part.topic, stored=len(part.payloads))
            if submission is not None:
                submission.left -= 1
        self._tell(part.topic, part.partition, offset + 1)
        if submission is not None and not submission.left and self._forget(submission):
            self.answer(submission, submission.receipts)

    def _forget(self, submission: Submission) -> bool:
        """False when the spooler has taken it back."""
        with self.lock:
            found = submission in self._sent
            self._sent.pop(submission, None)
        return found

    # -- for the spooler -----------------------------------------------------------------------

    def settled(self, number: int) -> None:
        """So many of those in its hand are sent, spooled or refused."""
        with self.lock:
            self._in_hand -= number

    def oldest(self) -> float:
        """Since when the one waits that has waited longest; infinite for none."""
        with self.lock:
            first = next(iter(self._sent), None)
        return float("inf") if first is None else first.since

    def take_back(self) -> list[Submission]:
        """All that wait, in their order; nobody else answers them from now on. Hold the lock."""
        taken, self._sent = list(self._sent), {}
        return taken

    # -- answering ----------------------------------------------------------------------------

    def answer_empty(self, submission: Submission) -> None:
        """Of one that has nothing to send nothing will arrive."""
        if not submission.parts and self._forget(submission):
            self.answer(submission, submission.receipts)

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """None of it was sent."""
        for append in submission.appends:
            refused = len(append.payloads) + append.rejected
            self._account.add(append.topic, rejected=refused)
        self.answer(submission, error)

    def answer(self, submission: Submission, outcome: Sequence[Receipt] | PenstockError) -> None:
        with self.lock:
            self._records -= submission.records
            self._bytes -= submission.size
            self.answered += 1
        try:
            submission.done(outcome)
        except Exception as error:  # noqa: BLE001 - whoever is told must not end the one thread
            self.failure = defect("telling of a commit", error).message
