"""A cursor: how far one projection has come in one partition, and how it goes on."""

import random
from contextlib import suppress

from penstock.core.clock import Clock
from penstock.core.errors import Damaged, Disproved, Misconfigured, Moved, NotReady, told, told_of
from penstock.core.log import Batch, Follow, Reader
from penstock.core.projection import Projection
from penstock.core.projection.contract import Outcome, Resume, Sink
from penstock.core.projection.dead_letters import Stopped
from penstock.core.projection.flush import Backlog
from penstock.core.projection.reading import exact
from penstock.core.projection.status import Status
from penstock.core.projection.waiters import Waiters
from penstock.core.telemetry import Logger

PARKED_IN_A_ROW_MAX = 100
IDLE_SECONDS = 0.5
_SETTLED_SECONDS = 60.0
"""So long after its last block went in an idle cursor needs that block no more."""
_PROVE_SECONDS = 1.0
"""So often what is behind an idle position is compared again: a log may be replaced under us."""
_LOOK_AGAIN_SECONDS = 5.0
"""So often a log that disproved a position is looked at again: the right one may be put back."""
_COMPACT_SHARE = 0.1
"""A backlog of this share of everything there is was worth rewriting everything for."""
_BACKOFF_SECONDS = (0.05, 10.0)
_RECORD_BYTES_GUESS = 128


class Cursor:
    """Carries one partition of a topic into one projection, on one thread at a time."""

    def __init__(
        self,
        projection: Projection,
        sink: Sink,
        log: Follow,
        clock: Clock,
        logger: Logger,
        *,
        partition: int = 0,
    ) -> None:
        self.projection = projection
        self.partition = partition
        self.position = 0
        self.state = "stopped"
        self.last_error = ""
        self.disproved: Disproved | None = None
        """Why what the store has is not to be answered from."""
        self.again = 0
        """Up to here the store held everything before it lost its newest part."""
        self._held = 0
        """Up to here all is in, though the last block of it may be made sure of once more."""
        self.counts = Outcome(0, 0, 0)
        self.retries = 0
        self.failures = 0
        """Since it last succeeded."""
        self.cost_seconds = 0.0
        """How long the last block took to go in."""
        self.sink = sink
        self._repeats = sink.repeats
        self._log = log
        self._topic = projection.topic.name
        self._clock = clock
        self._logger = logger.bind(projection=projection.name, partition=partition)
        self._resumed = False
        self._identity = ""
        """Of the log that was resumed from."""
        self._proof = ""
        """Of the record before the position."""
        self._proved_at = float("-inf")
        self._failed_at = 0
        """The furthest that it had come when it failed, since it last succeeded."""
        self._retry_at = 0.0
        self._waiting_since: float | None = None
        self._oldest_ms = 0
        """When the oldest record of the last block was stored."""
        self._began = self._stepped_at = clock.monotonic()
        self._even_at: float | None = None
        """When everything there was had been read, if nothing was left behind since."""
        self._uneven = 0
        """Records of the backlog that is being worked off, as far as it is."""
        self._record_bytes = _RECORD_BYTES_GUESS
        self._in_a_row = 0
        self._waiters = Waiters()

    @property
    def held(self) -> int:
        """Up to here the store has everything."""
        return max(self.position, self._held)

    # -- work -----------------------------------------------------------------------------------

    def advance(self, reader: Reader) -> None:
        """Resume if that is due, else carry one block over; whatever fails is noted and told.

        It has recovered when it got further than it was: to resume mostly takes no more than a
        look, and would succeed time and again before the same block that fails. Raise `Damaged`,
        which is of the whole store, and not of this partition alone.
        """
        try:
            if not self._resumed:
                if self._catches_up(reader):
                    return
                self.resume(reader)
                further = self.position > self._failed_at or self.disproved is not None
            elif self.behind() > 0:
                self.step(reader, self.projection.block_records)
                further = True
            else:
                self._prove(reader)
                if self._clock.monotonic() > self._stepped_at + _SETTLED_SECONDS:
                    self.sink.settle(self.partition)
                further = True
        except Damaged:
            raise
        except (Stopped, Misconfigured, Disproved) as error:
            self.stop(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the log keeps the events
            self.fail(error)
        else:
            if further:
                self._recover()

    def resume(self, reader: Reader) -> None:
        """Go to where the store says; apply again what may not have gone in."""
        was, counted = self.position, self.counts
        known, (_, first, before), unproved = self.proved(reader)
        if unproved:
            self.sink.adopt(self.partition, self._proof)
        self.sink.judge(self.partition, "")
        self._held = known if known == was else 0  # whoever was there knows that it went in
        self.position = first if known else self._log.start(self._topic, self.partition)
        fell_back = was if max(known, self.position) < was else 0
        self.again = min(max(self.again, fell_back), self._log.end(self._topic, self.partition))
        self._waiters.release(self.position)
        if first < known:
            self._proof = before
            self.step(exact(reader), known - first)
            if was >= known:
                self.counts = counted
        self._resumed = True

    def _catches_up(self, reader: Reader) -> bool:
        """Whether more than a portion has to be asked of its ids before it can go on."""
        if self._repeats is None:
            return False
        known, _, _ = self.proved(reader)
        return self._repeats.catch_up(self._log, self.partition, known)

    def proved(self, reader: Reader) -> tuple[int, Resume, bool]:
        """What the store has, with the log: where it ends, which of that may not be in, and whether
        there was no proof of it yet. Raise `Disproved`.
        """
        self._identity = self._log.identity(self._topic)
        if self._repeats is not None:
            self._repeats.forget(self.partition)
        position = (resumed := self.sink.resume(self._identity, self.partition)).position
        known = 0 if position is None else position.next
        proof = "" if position is None else position.proof
        self._proof = self._read(reader, known, 0, proof).proof
        return known, resumed, not proof and bool(self._proof)

    def _prove(self, reader: Reader) -> None:
        """Compare what is behind, though nothing is ahead."""
        self._check_log()
        if self.behind() < 0:
            # What was read may be ahead of what is known of the end, but not for so long.
            raise NotReady(f"{self._topic} ends before what was read of it")
        self._read(reader, self.position, 0, self._proof)

    def _check_log(self) -> None:
        if self._identity and self._log.identity(self._topic) != self._identity:
            raise NotReady(f"{self._topic} is another log than it was")

    def _read(self, reader: Reader, offset: int, limit: int, proof: str) -> Batch:
        """What follows; it is of use only if what is behind is what the store has."""
        try:
            batch = reader.read(self._topic, self.partition, offset, limit, proof)
        except Disproved as error:
            name = self.projection.name
            raise Disproved(
                f"{name} has the records before offset {offset}, and {error.message}: an older "
                "copy of it was put back. Put the newer one back if there is one; otherwise run "
                f"`penstock rebuild {name} --from-scratch`"
            ) from error
        self._proved_at = self._clock.monotonic()
        return batch

    def step(self, reader: Reader, limit: int) -> int:
        """Carry at most `limit` records over; how many there were."""
        end, asked_at = self._log.end(self._topic, self.partition), self._clock.monotonic()
        identity = self._log.identity(self._topic)
        self._check_log()
        batch = self._read(reader, self.position, limit, self._proof)
        if batch.next == batch.first:
            return 0
        if self._repeats is not None:
            batch = self._repeats.marked(self._log, self.partition, batch)
        began = self._stepped_at = self._clock.monotonic()
        outcome = self.sink.apply(identity, self.partition, batch._replace(before=self._proof))
        self.cost_seconds = self._clock.monotonic() - began
        self._account(batch, outcome)
        self.position, self._proof = batch.next, batch.proof
        self._oldest_ms = batch.appended_at_ms
        self._waiting_since = None
        self._waiters.release(self.position)
        self._measure(batch, asked_at if batch.next >= end else None)
        return batch.next - batch.first

    def _measure(self, batch: Batch, even_at: float | None) -> None:
        """Notice a backlog, and its end."""
        self._even_at = even_at
        self._uneven += batch.next - batch.first
        if even_at is None:
            return
        block = self.projection.block_records
        if self._uneven > max(block, _COMPACT_SHARE * self.position):
            self.sink.compact()
        self._uneven = 0

    def _account(self, batch: Batch, outcome: Outcome) -> None:
        was = self.counts
        self.counts = Outcome(
            was.projected + outcome.projected,
            was.skipped + outcome.skipped,
            was.dead_lettered + outcome.dead_lettered,
        )
        if batch.payloads:
            self._record_bytes = len(batch.payloads[0])
        records = batch.next - batch.first
        if outcome.dead_lettered:
            self._logger.warning(
                "projection.dead_lettered",
                first=batch.first,
                next=batch.next,
                dead_lettered=outcome.dead_lettered,
                reason=self.sink.reason(self.partition),
            )
        damaged = sum(damage.next - damage.first for damage in batch.damages)
        poison = outcome.dead_lettered - damaged
        if records > damaged:
            self._in_a_row = self._in_a_row + poison if poison == records - damaged else 0
        if self._in_a_row >= PARKED_IN_A_ROW_MAX:
            raise Stopped(
                f"the last {self._in_a_row} records could not be projected; correct the projection "
                "and restart; they are in the dead letters"
            )

    # -- when -----------------------------------------------------------------------------------

    def due(self, cost_seconds: float) -> float:
        """Seconds until `advance` has something to do; 0 now. `cost_seconds`: of a block of every
        cursor that shares the thread.
        """
        if self.state == "stopped" and self.disproved is None:
            return IDLE_SECONDS
        if self.failed or self.disproved is not None:
            return max(0.0, self._retry_at - self._clock.monotonic())
        if self.failures or not self._resumed:
            return 0.0  # what was resumed after a failure is to show that it gets further
        backlog, now = self.behind(), self._clock.monotonic()
        if backlog <= 0:
            self._waiting_since, self._even_at = None, now
            return IDLE_SECONDS if now < self._proved_at + _PROVE_SECONDS else 0.0
        if self._waiting_since is None:
            self._waiting_since = now
        return self.projection.flush.wait(
            Backlog(
                records=backlog,
                bytes=backlog * self._record_bytes,
                age_seconds=now - self._waiting_since,
                cost_seconds=cost_seconds,
            )
        )

    @property
    def failed(self) -> bool:
        """Just now: it is to resume before anything else."""
        return not self._resumed and (self.failures > 0 or self.disproved is not None)

    def behind(self) -> int:
        return self._log.end(self._topic, self.partition) - self.position

    def begin(self) -> None:
        """From now on `advance` is called whenever it is due."""
        self.state, self.last_error, self.failures, self._resumed = "running", "", 0, False
        self._failed_at = 0
        self._in_a_row = 0
        self.disproved = None

    def _recover(self) -> None:
        if self.failures or self.disproved is not None:
            self._logger.info("projection.recovered", attempts=self.failures)
            self.failures, self.state, self.last_error = 0, "running", ""
            self.disproved = None
        self._failed_at = 0

    def stop(self, error: Stopped | Misconfigured | Damaged | Disproved) -> None:
        """Until `begin`. Say so once; what was disproved is looked at again."""
        known, self._resumed = self.last_error, False
        self._retry_at = self._clock.monotonic() + _LOOK_AGAIN_SECONDS
        if (self.state, known) != ("stopped", _spelt(error)):
            self._fail(error, "stopped")
        self.disproved = error if isinstance(error, Disproved) else None
        if self.disproved is not None:
            with suppress(NotReady):  # told again at the next look
                self.sink.judge(self.partition, error.message)
        self.release()

    def fail(self, error: Exception) -> None:
        """Try again, later and later, from where the store says."""
        if self.state == "stopped":
            self._retry_at = self._clock.monotonic() + _LOOK_AGAIN_SECONDS
            self._resumed = False
        else:
            self.failures += 1
            self._retry_at = self._clock.monotonic() + backoff(self.failures)
            self._fail(error, "retrying")

    def compare(self) -> None:
        """Resume when the store is no longer where this left it. No batch may be in hand."""
        if self._resumed and (stored := self.sink.position(self.partition)) < self.position:
            self.again, had = max(self.again, self.position), self.position
            self.position = stored
            self.fail(Moved(f"the store has lost what it held from {stored} to {had}"))

    def _fail(self, error: Exception, state: str) -> None:
        self.state = state
        self._resumed = False
        self._failed_at = max(self._failed_at, self.position)
        self.retries += state == "retrying"
        self.last_error = _spelt(error)
        self._logger.error(
            "projection.failed",
            state=state,
            error=told_of(error),
            position=self.position,
            attempts=self.failures,
        )

    # -- being asked, by any thread -------------------------------------------------------------

    async def reach(self, offset: int, timeout_seconds: float) -> bool:
        """Wait until every record before `offset` is in; False when the time is up.

        It is a wait, not a push: the flush policy still chooses the moment.
        """
        if self.position >= offset:
            return True
        await self._waiters.reach(offset, lambda: self.position, timeout_seconds)
        return self.position >= offset  # a cursor that is given up lets everybody go

    def release(self) -> None:
        """Nobody need wait here any longer."""
        self._waiters.release(float("inf"))

    def status(self) -> Status:
        end = self._log.end(self._topic, self.partition)
        lag = max(0, end - self.position)
        return Status(
            projection=self.projection.name,
            topic=self._topic,
            partition=self.partition,
            state=self.state,
            position=self.position,
            end=end,
            lag_records=lag,
            lag_seconds=self._lag_seconds() if lag else 0.0,
            projected=self.counts.projected,
            skipped=self.counts.skipped,
            dead_lettered=self.counts.dead_lettered,
            retries=self.retries,
            last_error=self.last_error,
        )

    def _lag_seconds(self) -> float:
        """Age of the oldest record that is not in, from above.

        Since there was none before it, or, in a backlog, since the one before it was stored. The
        wall clock that says the latter may have stepped back.
        """
        since = self._even_at
        if since is None and self._oldest_ms:
            return max(0.0, (self._clock.now_ms() - self._oldest_ms) / 1000)
        return self._clock.monotonic() - (self._began if since is None else since)


def _spelt(error: Exception) -> str:
    return f"{type(error).__name__}: {told(error)}"


def backoff(failures: int) -> float:
    low, high = _BACKOFF_SECONDS
    return min(high, low * 2.0 ** min(failures, 16)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
