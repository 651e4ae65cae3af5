"""The runner: one thread per projection that carries the log into its sink, for ever.

It owns batching, retries, positions and waiting; sinks own where the batch goes. A failure that may
pass is retried with capped, jittered back-off for as long as it lasts, and the lag shows. Records
that never will are parked by the sink; too many in a row stop the consumer, loudly.
"""

import asyncio
import random
import threading
from contextlib import closing, suppress
from dataclasses import dataclass

from penstock.core.clock import Clock
from penstock.core.errors import Misconfigured
from penstock.core.log import Batch, Follow, Reader
from penstock.core.projection import Projection
from penstock.core.projection.flush import Backlog
from penstock.core.projection.parking import Stopped
from penstock.core.projection.sinks import Outcome, Sink
from penstock.core.telemetry import Logger, Samples

PARKED_IN_A_ROW_MAX = 100
_IDLE_SECONDS = 0.5
_BACKOFF_SECONDS = (0.05, 10.0)
_RECORD_BYTES_GUESS = 128


@dataclass(frozen=True)
class Status:
    projection: str
    topic: str
    partition: int
    state: str
    """`running`, `retrying`, `paused` or `stopped`."""
    position: int
    end: int
    lag_records: int
    lag_seconds: float
    projected: int
    skipped: int
    parked: int
    retries: int
    last_error: str


class Consumer:
    """Carries one partition of a topic into one projection."""

    def __init__(
        self, projection: Projection, sink: Sink, log: Follow, clock: Clock, logger: Logger
    ) -> None:
        self.projection = projection
        self.partition = 0
        self.position = 0
        self.state = "stopped"
        self.last_error = ""
        self.counts = Outcome(0, 0, 0)
        self.retries = 0
        self.sink = sink
        self._log = log
        self._clock = clock
        self._logger = logger.bind(projection=projection.name)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._pause = threading.Lock()
        self._idle = True
        self._waiting_since: float | None = None
        self._oldest_ms = 0
        self._cost_seconds = 0.0
        self._record_bytes = _RECORD_BYTES_GUESS
        self._in_a_row = 0
        self._failures = 0
        self._stirs = False
        self._waiters_lock = threading.Lock()
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._thread: threading.Thread | None = None

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        self.state = "running"
        self._stopping.clear()
        if self._thread is None:
            self._log.listen(self.projection.topic.name, self._stir)
        name = f"penstock-{self.projection.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch in hand and end the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def paused(self) -> threading.Lock:
        """While this lock is held no batch is in hand and none is begun."""
        return self._pause

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    with closing(self._log.reader()) as reader:
                        self._follow(reader)
                except (Stopped, Misconfigured) as error:
                    self._fail(error, "stopped")
                    return
                except Exception as error:  # noqa: BLE001 - whatever it is, the log keeps the events
                    self._failures += 1
                    self._fail(error, "retrying")
                    self._stopping.wait(_backoff(self._failures))
        finally:
            self._release(float("inf"))

    def _follow(self, reader: Reader) -> None:
        """Resume where the store says, then follow the log until something fails."""
        with self._pause:
            self.resume(reader)
        self._recover()
        while not self._stopping.is_set():
            if self._rests():
                continue
            with self._pause:
                self.step(reader, self.projection.flush.block_records)
            self._recover()

    def _rests(self) -> bool:
        """Sleep until the next batch is due; False at once when it is."""
        self._idle = self._behind() <= 0 or self.projection.flush.gathers
        # Looked at again after `_idle` was set: what came in between would stir nobody.
        wait = self._due()
        if wait > 0:
            self._wake.wait(wait)
            self._wake.clear()
        self._stirs = False
        return wait > 0

    def _stir(self) -> None:
        """New records, told on the log's thread: only one who waits for more need hear it."""
        if self._idle:
            self._wake.set()

    def _recover(self) -> None:
        if self._failures:
            self._logger.info("projection.recovered", attempts=self._failures)
            self._failures, self.state, self.last_error = 0, "running", ""

    # -- work -----------------------------------------------------------------------------------

    def resume(self, reader: Reader) -> None:
        was, counted = self.position, self.counts
        resume = self.sink.resume(self._log.identity, self.partition)
        self._check_end(reader, resume.again or resume.position)
        self.position = resume.position
        self._release(self.position)
        if resume.again is not None:
            self.step(reader, resume.again - resume.position)
            if was >= resume.again:
                self.counts = counted

    def _check_end(self, reader: Reader, known: int) -> None:
        """New records must not get offsets that are already in."""
        topic, name = self.projection.topic.name, self.projection.name
        if known and reader.read(topic, self.partition, known - 1, 1).next < known:
            raise Misconfigured(
                f"{name} has the records before offset {known}, and the log ends earlier: it was "
                f"restored from an older copy; run `penstock rebuild {name} --from-scratch`"
            )

    def step(self, reader: Reader, limit: int) -> int:
        """Carry at most `limit` records over; how many there were."""
        topic = self.projection.topic.name
        batch = reader.read(topic, self.partition, self.position, limit)
        if batch.next == batch.first:
            return 0
        began = self._clock.monotonic()
        outcome = self.sink.apply(self._log.identity, self.partition, batch)
        self._cost_seconds = self._clock.monotonic() - began
        self._account(batch, outcome)
        self.position = batch.next
        self._oldest_ms = batch.appended_at_ms
        self._waiting_since = None
        self._release(self.position)
        return batch.next - batch.first

    def _account(self, batch: Batch, outcome: Outcome) -> None:
        was = self.counts
        self.counts = Outcome(
            was.projected + outcome.projected,
            was.skipped + outcome.skipped,
            was.parked + outcome.parked,
        )
        if batch.payloads:
            self._record_bytes = len(batch.payloads[0])
        records = batch.next - batch.first
        if outcome.parked:
            self._logger.warning(
                "projection.parked", first=batch.first, next=batch.next, parked=outcome.parked
            )
        damaged = sum(damage.next - damage.first for damage in batch.damages)
        poison = outcome.parked - damaged
        if records > damaged:
            self._in_a_row = self._in_a_row + poison if poison == records - damaged else 0
        if self._in_a_row >= PARKED_IN_A_ROW_MAX:
            raise Stopped(
                f"the last {self._in_a_row} records could not be projected; correct the projection "
                "and restart; they are in the dead letters"
            )

    def _behind(self) -> int:
        return self._log.end(self.projection.topic.name, self.partition) - self.position

    def _due(self) -> float:
        """Seconds until the next batch; 0 now."""
        backlog = self._behind()
        if backlog <= 0:
            self._waiting_since = None
            return _IDLE_SECONDS
        now = self._clock.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return self.projection.flush.wait(
            Backlog(
                records=backlog,
                bytes=backlog * self._record_bytes,
                age_seconds=now - self._waiting_since,
                cost_seconds=self._cost_seconds,
            )
        )

    def _fail(self, error: Exception, state: str) -> None:
        self.state = state
        self.retries += state == "retrying"
        self.last_error = f"{type(error).__name__}: {error}"
        self._logger.error(
            "projection.failed", state=state, error=self.last_error, position=self.position
        )

    # -- being asked ----------------------------------------------------------------------------

    async def reach(self, offset: int, timeout_seconds: float) -> bool:
        """Wait until every record before `offset` is in; False when the time is up.

        It is a wait, not a push: the flush policy still chooses the moment.
        """
        if self.position >= offset:
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._waiters_lock:
            self._waiters.append((offset, loop, future))
        if self.position >= offset:
            return True
        try:
            await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            with self._waiters_lock:
                self._waiters = [waiter for waiter in self._waiters if waiter[2] is not future]
            return self.position >= offset
        return self.position >= offset  # a consumer that ends lets everybody go

    def _release(self, position: float) -> None:
        if not self._waiters:
            return
        with self._waiters_lock:
            reached = [waiter for waiter in self._waiters if waiter[0] <= position]
            self._waiters = [waiter for waiter in self._waiters if waiter[0] > position]
        for loop in {loop for _, loop, _ in reached}:
            futures = [future for _, own, future in reached if own is loop]
            with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, futures)

    def status(self) -> Status:
        end = self._log.end(self.projection.topic.name, self.partition)
        lag = max(0, end - self.position)
        return Status(
            projection=self.projection.name,
            topic=self.projection.topic.name,
            partition=self.partition,
            state=self.state,
            position=self.position,
            end=end,
            lag_records=lag,
            lag_seconds=self._lag_seconds() if lag else 0.0,
            projected=self.counts.projected,
            skipped=self.counts.skipped,
            parked=self.counts.parked,
            retries=self.retries,
            last_error=self.last_error,
        )

    def _lag_seconds(self) -> float:
        """Age of the oldest record that is not in, from above: the clock may have stepped back."""
        since = self._waiting_since
        waited = 0.0 if since is None else self._clock.monotonic() - since
        if self._oldest_ms and since is None:
            waited = (self._clock.now_ms() - self._oldest_ms) / 1000
        return max(0.0, waited)

    def sample(self, samples: Samples) -> None:
        status = self.status()
        name = status.projection
        samples.gauge("penstock_projection_lag_records", status.lag_records, projection=name)
        samples.gauge("penstock_projection_lag_seconds", status.lag_seconds, projection=name)
        samples.counter("penstock_projection_records", status.projected, projection=name)
        samples.counter("penstock_projection_skipped", status.skipped, projection=name)
        samples.counter("penstock_projection_parked", status.parked, projection=name)
        samples.counter("penstock_projection_retries", status.retries, projection=name)


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _backoff(failures: int) -> float:
    low, high = _BACKOFF_SECONDS
    return min(high, low * 2.0 ** min(failures, 16)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
