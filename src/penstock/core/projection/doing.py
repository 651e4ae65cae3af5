"""The jobs of one partition of a fold: begun, tried again, and said to have ended.

What waits is on disk, and each attempt is counted there before it begins. How one ended is said in
the turns of `core.projection.timers`, with what it returned: what was not heard is said again; what
is heard ends the waiting, and has it say what was returned. So nothing is added twice, though an
attempt whose process was killed is made once more.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from penstock.core.clock import Clock
from penstock.core.errors import sound, words_of
from penstock.core.events import Codec
from penstock.core.log import RECORD_BYTES_MAX
from penstock.core.projection import Fold, due
from penstock.core.projection.dead_jobs import DeadJob, DeadJobs, place_of
from penstock.core.projection.due import GROUP, Placed, Queued, Waiting
from penstock.core.projection.job import Done, Ended, Failed
from penstock.core.projection.queue import Claimed, Queue
from penstock.core.projection.workers import Outcome, Workers
from penstock.core.projects import order_of, own_key
from penstock.core.state import Entry, Place, State

Write = Callable[[Sequence[Entry], Sequence[Place]], None]


class Ending(NamedTuple):
    """What is to be said of a job that ended."""

    sort: bytes
    project: str
    event: Ended
    key: bytes


class Doing:
    def __init__(
        self,
        fold: Fold[Any, Any],
        state: State,
        workers: Workers | None,
        *,
        into: str,
        partition: int,
        codec: Codec[Any],
        write: Write,
        stir: Callable[[], None],
    ) -> None:
        """`write` puts entries and deletes beside the position; `stir` is called when an attempt
        has ended, on another thread. Raise `NotReady`.
        """
        self._stir = stir
        self.endings: deque[Ending] = deque()
        """What is to be said."""
        self.queue = Queue(state, into, partition, fold.jobs)
        self._fold = fold
        self._state = state
        self._workers = workers if fold.jobs else None
        self._into = into
        self._partition = partition
        self._codec = codec
        self._dead = DeadJobs(state)
        self._write = write
        self._outcomes: deque[Outcome] = deque()
        self._alone: deque[Claimed] = deque()
        """Those that were under way when their process ended; each is tried again alone."""

    def resume(self) -> None:
        """Look at what is on disk: go on with what is under way, if nobody else ended it."""
        queue = Queue(self._state, self._into, self._partition, self._fold.jobs)
        queue.follow(self.queue)
        self.queue = queue
        self._forget(lambda sort: not queue.has(sort))

    def _forget(self, gone: Callable[[bytes], bool]) -> None:
        """Somebody else ended these, and was first to say so."""
        if self.endings:
            self.endings = deque(one for one in self.endings if not gone(one.sort))
        if self._alone:
            self._alone = deque(one for one in self._alone if not gone(one.at.sort))

    def heard(
        self, entries: Sequence[Entry], deletes: Sequence[Place], ended: Sequence[bytes]
    ) -> None:
        """These went in, these went away, and these were heard to have ended."""
        self.queue.note(entries, deletes)
        for sort in ended:
            self.queue.release(sort)
        self._forget({*ended, *(place.sort for place in deletes)}.__contains__)

    def due_ms(self) -> int | None:
        """When there is something to begin; None: nothing that there is room for."""
        if self._workers is None:
            return None
        if self._alone:
            return 0 if self._workers.idle else None
        return self.queue.next_ms(self._workers.room)

    @property
    def has_ended(self) -> bool:
        """Whether attempts have ended that `settle` is to see."""
        return bool(self._outcomes)

    # -- beginning ------------------------------------------------------------------------------

    def begin(self, now_ms: int) -> None:
        """Begin what is due, as far as there is room. Raise `NotReady` and `Moved`."""
        workers = self._workers
        if workers is None:
            return
        if not self._alone:
            taken = self.queue.take(now_ms, workers.room)
            gone = self._unwanted(taken)
            if gone:
                self._write([], [Place(self._into, GROUP, one.at.sort) for one in gone])
                for one in gone:
                    self.queue.release(one.at.sort)
            wanted = [one for one in taken if one not in gone]
            self._alone.extend(one for one in wanted if one.queued.begun)
            self._count([one for one in wanted if not one.queued.begun], alone=False)
        if self._alone and workers.idle:
            attempts = self._alone[0].queued.attempts
            if attempts < self._alone[0].job.retry.attempts:
                self._count([self._alone.popleft()], alone=True)
            else:
                why = f"its process ended in each of {attempts} attempts"
                self._give_up(self._alone[0], why, now_ms)
                self._alone.popleft()

    def _count(self, claimed: Sequence[Claimed], *, alone: bool) -> None:
        """Before they begin."""
        if not claimed:
            return
        assert self._workers is not None
        counted = [
            one._replace(queued=one.queued._replace(attempts=one.queued.attempts + 1, begun=True))
            for one in claimed
        ]
        try:
            self._write([_entry(one.at.sort, one.queued) for one in counted], [])
        except BaseException:
            for one in claimed:
                self.queue.release(one.at.sort)
                self.queue.note([_entry(one.at.sort, one.queued)])
            raise
        for one in counted:
            self._workers.begin(one, self._end, alone=alone)

    def _unwanted(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """Those that no key waits for any more, and nobody tries by hand: they were failing when
        they were taken back, or wanted anew.
        """
        moved = [one for one in claimed if one.queued.attempts and not one.queued.by_hand]
        values = self._state.get_many(self._into, [one.at.key for one in moved])
        return [one for one, value in zip(moved, values, strict=True) if not _waits(value, one.at)]

    # -- ending ---------------------------------------------------------------------------------

    def _end(self, outcome: Outcome) -> None:
        """On the workers' thread."""
        self._outcomes.append(outcome)
        self._stir()

    def settle(self, clock: Clock) -> None:
        """Take note of how attempts ended. Raise `NotReady` and `Moved`, and then it is to be
        called again.
        """
        assert self._workers is not None
        while self._outcomes:
            self._settle(self._outcomes[0], clock.now_ms())
            self._outcomes.popleft()
            self._workers.settle()

    def _settle(self, outcome: Outcome, now_ms: int) -> None:
        one, retry, failed = outcome.claimed, outcome.claimed.job.retry, sound(outcome.failed)
        if not self.queue.has(one.at.sort):
            return  # somebody else did it, and it was heard
        if outcome.given_back:
            attempts = one.queued.attempts - 1
            self._again(one, one.queued._replace(attempts=attempts, begun=False), one.at.at_ms)
        elif not outcome.failed:
            try:
                done = self._done(one, outcome)
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is
                self._give_up(one, f"what it returned: {words_of(error)}", now_ms)
            else:
                self._say(one, done)
        elif outcome.permanent or one.queued.attempts >= retry.attempts:
            self._give_up(one, failed, now_ms)
        else:
            at_ms = now_ms + int(1_000 * retry.wait(one.queued.attempts))
            self._again(one, one.queued._replace(begun=False, reason=failed), at_ms)

    def _again(self, one: Claimed, queued: Queued, at_ms: int) -> None:
        at = Waiting(at_ms, one.at.wanted_ms, one.project, one.job.name)
        entry = _entry(due.place(self._partition, one.at.key, one.at.name, at), queued)
        gone = [] if entry.sort == one.at.sort else [Place(self._into, GROUP, one.at.sort)]
        self._write([entry], gone)
        self.queue.release(one.at.sort)
        self.queue.note([entry])

    def _give_up(self, one: Claimed, reason: str, now_ms: int) -> None:
        self._dead.add(
            DeadJob(
                projection=self._fold.space,
                job=one.job.name,
                project=one.project,
                partition=self._partition,
                key=one.at.key,
                name=one.at.name,
                wanted_ms=one.at.wanted_ms,
                work=one.queued.work,
                attempts=one.queued.attempts,
                reason=reason,
                at_ms=now_ms,
            )
        )
        self._say(one, Failed(*_about(one), reason))

    def _say(self, one: Claimed, event: Ended) -> None:
        self.endings.append(Ending(one.at.sort, one.project, event, one.at.key))

    def _done(self, one: Claimed, outcome: Outcome) -> Done:
        """With what it returned, as the log is to have it. Raise `ValueError`."""
        fold, topic, project = self._fold, self._fold.topic, one.project
        if len(outcome.events) > fold.events_max:
            raise ValueError(f"{len(outcome.events)} events; at most {fold.events_max}")
        for event in outcome.events:
            if type(event) not in topic.events or isinstance(event, due.Heard):
                raise ValueError(f"{type(event).__name__} is no event of {topic.name}")
        payloads = [self._codec.of(project)(event) for event in outcome.events]
        if (size := sum(map(len, payloads))) > fold.events_bytes_max:
            raise ValueError(f"{size} bytes of events; at most {fold.events_bytes_max}")
        for payload in payloads:
            self._codec.decode(payload)
        keys = [order_of(project, topic.key(event)) for event in outcome.events]
        done = Done(*_about(one), tuple(keys), tuple(payloads))
        if (size := len(self._codec.of(project)(done))) > RECORD_BYTES_MAX:
            raise ValueError(f"{size} bytes in one record; at most {RECORD_BYTES_MAX}")
        return done

    # -- by hand --------------------------------------------------------------------------------

    def by_hand(self, dead: DeadJob, now_ms: int) -> tuple[Entry, Place]:
        """What to put and to delete so that it is tried again, as often as at first."""
        at = Waiting(now_ms, dead.wanted_ms, dead.project, dead.job)
        sort = due.place(self._partition, dead.key, dead.name, at)
        return _entry(sort, Queued(dead.work, by_hand=True)), place_of(dead)


def _about(one: Claimed) -> tuple[bytes, str, int, int, str, int, int]:
    """Fields of what is said of it; the turn is put in when it comes."""
    at = one.at
    key = own_key(one.project, at.key)
    return key, at.name, at.wanted_ms, 0, one.job.name, at.at_ms, one.queued.attempts


def _entry(sort: bytes, queued: Queued) -> Entry:
    return Entry(GROUP, sort, due.packed(queued))


def _waits(value: bytes | None, at: Placed) -> bool:
    if value is None or not due.is_framed(value):
        return False
    waiting = due.table_of(value).get(at.name)
    return waiting is not None and waiting.wanted_ms == at.wanted_ms
