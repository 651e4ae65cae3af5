"""The runner: one thread per projection that carries the log into its sink, for ever.

It moves the cursors of the partitions that are this process's; sinks own where a batch goes. A
failure that may pass is retried with capped, jittered back-off for as long as it lasts, and the lag
shows; it holds up its own partition only. Records that never will become dead letters; too many
in a row stop the cursor, loudly.
"""

import threading
from collections.abc import Sequence
from contextlib import closing, suppress

from penstock.core.clock import Clock
from penstock.core.errors import Damaged, Disproved, NotReady
from penstock.core.log import Follow, Reader, Share, Whole, record_place
from penstock.core.projection import Projection
from penstock.core.projection.contract import Sink
from penstock.core.projection.cursor import IDLE_SECONDS, Cursor
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.filling import Filling, filling_of
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.reading import Reading
from penstock.core.telemetry import Logger, Samples

_LOOK_SECONDS_MAX = 5.0
_STEP_SECONDS_MAX = 10.0


class Consumer:
    """Carries a topic, or this process's share of it, into one projection."""

    def __init__(
        self,
        projection: Projection,
        sink: Sink,
        log: Follow,
        clock: Clock,
        logger: Logger,
        *,
        reading: Reading | None = None,
        whole: bool = False,
    ) -> None:
        """With `reading` it shares what is read of its topic with the other projections of it; with
        `whole` it has all partitions for itself, whoever else carries them.
        """
        self.projection = projection
        self.sink = sink
        self.cursors: dict[int, Cursor] = {}
        """By partition; replaced whole, never changed, so that any thread may read it."""
        self.rebuilding = threading.Lock()
        """Held by whoever rebuilds its read model."""
        self.shadows: Sequence[Cursor] = ()
        """Of the rebuild that goes on; they read from the log's beginning."""
        self.damaged: Damaged | None = None
        """What its read model has lost, whoever found it: then nothing is carried into it, and
        nothing answered from it.
        """
        self._missed = False
        """Whether a look found that, so that a later one may find it mended; what a cursor met is
        mended by a rebuild only.
        """
        self._step: tuple[int | None, float] = (None, 0.0)
        """The record whose step was under way at a look, and since when it is."""
        self._told: dict[int, str] = {}
        """Why the positions of partitions are disproved, as those said who carry them."""
        self._log = log
        self._reading = reading
        self._whole = whole
        self._clock = clock
        self._logger = logger
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._pause = threading.Lock()
        self._looked = threading.Event()
        self._idle = True
        self._listens = False
        self._share: Share | None = None
        self.filling: Filling | None = None
        """What fills its mirror."""
        if isinstance(sink, FoldSink):
            sink.stir = self._wake.set
            self.filling = filling_of(
                sink,
                lambda: [*self.cursors.values()],
                clock,
                logger,
                partitions=lambda: log.partitions(projection.topic.name),
            )
        self._dealt = False
        """Whether it was told which partitions are its own; they may be none."""
        self._thread: threading.Thread | None = None

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Take part: partitions are taken up as the log hands them out."""
        topic = self.projection.topic.name
        self._stopping.clear()
        self._looked.clear()
        self._dealt = False
        if not self._listens:
            self._log.listen(topic, self._stir)
            self._listens = True
        if self._whole:
            self._share = Whole(self._log.partitions(topic), self._take)
        else:
            self._share = self._log.share(self.projection.name, topic, self._take)
        name = f"penstock-{self.projection.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        if self.filling is not None:
            self.filling.start()

    def looked(self) -> bool:
        """Wait until the partitions that were ours at the start were compared with the log, or
        could not be: nobody is to be answered from them before. Not for ever.
        """
        return self._looked.wait(_LOOK_SECONDS_MAX)

    def begin(self) -> None:
        """Whatever stopped a cursor is mended: if this consumer runs, all of them go on at once."""
        self.damaged, self._missed = None, False
        if self._share is not None:
            for cursor in self.cursors.values():
                cursor.begin()
            self._wake.set()

    def stop(self) -> None:
        """Finish the batch in hand, end the thread, and let others take the partitions over."""
        if self.filling is not None:
            self.filling.stop()
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._share is not None:
            self._share.close()
            self._share = None
        for cursor in self.cursors.values():
            cursor.state = "stopped"

    def judge(self, lacks: str) -> bool:
        """What a look at the store found to be lost, or nothing; True when it finds so anew.

        Whoever works on the read model meanwhile, or replaces it, is not stopped: so to be said
        with every look.
        """
        if not lacks:
            if self._missed:
                self.begin()
            return False
        new, self._missed = not self._missed, True
        self.damaged = Damaged(self.projection.name, lacks)
        if self._pause.acquire(blocking=False):
            try:
                self._halt(self.damaged)
            finally:
                self._pause.release()
        return new

    def _halt(self, damaged: Damaged) -> None:
        """Carry nothing more over. No batch may be in hand but by the thread that calls."""
        for cursor in self.cursors.values():
            if cursor.state != "stopped" or cursor.disproved is not None:
                cursor.stop(damaged)

    def hangs(self) -> str:
        """The record whose step does not end, as far as looks have seen, in words; or nothing.

        To be asked every second or so. Nobody can end it: the fold holds up until a restart.
        """
        at = self.sink.stepping if isinstance(self.sink, FoldSink) else None
        now = self._clock.monotonic()
        known, since = self._step
        if at is None or at != known:
            self._step = (at, now)
            return ""
        if now - since < _STEP_SECONDS_MAX:
            return ""
        partition, offset = record_place(at)
        return (
            f"the step of record {partition}/{offset} of {self.projection.topic.name} has not "
            f"ended for {now - since:.0f} seconds; correct the fold, or give the record up, and "
            "restart"
        )

    def hear(self) -> None:
        """Learn what those found who carry the partitions that this process does not; while the
        state is away what was heard last holds.
        """
        with suppress(NotReady):
            self._told = self.sink.judged()
            if self.filling is not None:
                self.filling.hear()

    def compare(self) -> None:
        """Whether the store is where the cursors are; where it fell behind, they go back too."""
        if self._pause.acquire(blocking=False):
            try:
                for cursor in self.cursors.values():
                    if cursor.state == "running":
                        cursor.compare()
            finally:
                self._pause.release()

    def needed(self, partition: int) -> int | None:
        """The oldest record that it may yet ask the log for; None where it has not begun."""
        shadows = [shadow.position for shadow in self.shadows if shadow.partition == partition]
        try:
            first = self.sink.needed(partition)
        except NotReady:  # whatever it has, it may need everything
            first = 0
        if first is None and not shadows and self._share is None:
            return None
        return min([first or 0, *shadows])

    def paused(self) -> threading.Lock:
        """While this lock is held no batch is in hand and none is begun."""
        return self._pause

    def whole(self) -> list[Cursor]:
        """Cursors of every partition; those of a consumer that does not run are made for the
        occasion. Raise `NotReady` when other processes have some of them.
        """
        partitions = range(self._log.partitions(self.projection.topic.name))
        if self._share is None:
            self.cursors = {partition: self._cursor(partition) for partition in partitions}
        if missing := [partition for partition in partitions if partition not in self.cursors]:
            raise NotReady(
                f"other processes carry {len(missing)} of the partitions of {self.projection.name};"
                " stop all but one of them, and try again"
            )
        return [self.cursors[partition] for partition in partitions]

    def _take(self, owned: frozenset[int]) -> None:
        """These are ours from now on; returns when nothing is in hand of any other."""
        self._dealt = True
        with self._pause:
            kept = {p: cursor for p, cursor in self.cursors.items() if p in owned}
            gone = [cursor for p, cursor in self.cursors.items() if p not in owned]
            for partition in sorted(owned):
                cursor = kept.get(partition)
                if cursor is None or cursor.state == "stopped":
                    cursor = kept[partition] = cursor or self._cursor(partition)
                    cursor.begin()
            self.cursors = kept
            if self.damaged is not None:
                self._halt(self.damaged)
        for cursor in gone:
            cursor.release()
        self._wake.set()

    def _cursor(self, partition: int) -> Cursor:
        speaks = isinstance(self.sink, FoldSink) and not self.sink.muted
        kind = FoldCursor if speaks else Cursor
        return kind(
            self.projection, self.sink, self._log, self._clock, self._logger, partition=partition
        )

    def _reader(self) -> Reader:
        if self._reading is None:
            return self._log.reader()
        return self._reading.listener()

    # -- work -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    with closing(self._reader()) as reader:
                        self._follow(reader)
                except Exception as error:  # noqa: BLE001 - the log itself; it may come back
                    self._looked.set()
                    cursors = list(self.cursors.values())
                    for cursor in cursors:
                        cursor.fail(error)
                    waits = (cursor.due(0.0) for cursor in cursors if cursor.failures)
                    self._stopping.wait(min(waits, default=IDLE_SECONDS))
        finally:
            for cursor in self.cursors.values():
                cursor.release()

    def _follow(self, reader: Reader) -> None:
        """Move every cursor that is due, until one fails: its next try deserves a new reader."""
        while not self._stopping.is_set():
            cursors = list(self.cursors.values())
            cost = sum(cursor.cost_seconds for cursor in cursors)
            due = [cursor for cursor in cursors if cursor.due(cost) <= 0]
            if not due:
                self._looked.set()
                self._rest(cursors, cost)
                continue
            for cursor in due:
                with self._pause:
                    if self.cursors.get(cursor.partition) is cursor:
                        self._advance(cursor, reader)
            self._looked.set()
            if any(cursor.failed for cursor in due):
                return

    def _advance(self, cursor: Cursor, reader: Reader) -> None:
        was = cursor.position
        try:
            cursor.advance(reader)
        except Damaged as error:
            self.damaged = error
            self._halt(error)
        if cursor.position != was and self._share is not None:
            self._share.commit(cursor.partition, cursor.position)

    def _rest(self, cursors: list[Cursor], cost: float) -> None:
        """Sleep until a cursor is due, or until there may be something for one that idles."""
        self._idle = self.projection.flush.gathers or any(
            c.state == "running" and c.behind() <= 0 for c in cursors
        )
        # Looked at again after `_idle` was set: what came in between would stir nobody.
        wait = min((cursor.due(cost) for cursor in cursors), default=IDLE_SECONDS)
        if wait > 0:
            self._wake.wait(wait)
            self._wake.clear()

    def _stir(self) -> None:
        """New records, told on the log's thread: only one who waits for more need hear it."""
        if self._idle:
            self._wake.set()

    # -- being asked ----------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """The worst of its cursors': `running`, `retrying` or `stopped`; `joining` before it was
        told which are its own.
        """
        states = {cursor.state for cursor in self.cursors.values()}
        if self._share is None or "stopped" in states:
            return "stopped"
        if not self._dealt:
            return "joining"
        return "retrying" if "retrying" in states else "running"

    @property
    def disproved(self) -> Disproved | None:
        """Why its view is not to be answered from."""
        own = self.cursors
        found = [one for c in own.values() if (one := c.disproved) is not None]
        found += [Disproved(why) for partition, why in self._told.items() if partition not in own]
        return next(iter(found), None)

    @property
    def last_error(self) -> str:
        return next((c.last_error for c in self.cursors.values() if c.last_error), "")

    def sample(self, samples: Samples) -> None:
        name = self.projection.name
        for cursor in self.cursors.values():
            of = {"projection": name, "partition": str(cursor.partition)}
            samples.counter("penstock_projection_records", cursor.counts.projected, **of)
            samples.counter("penstock_projection_skipped", cursor.counts.skipped, **of)
            samples.counter("penstock_projection_dead_lettered", cursor.counts.dead_lettered, **of)
            samples.counter("penstock_projection_retries", cursor.retries, **of)
            with samples.apart(f"lag of {name}/{cursor.partition}"):
                status = cursor.status()
                samples.gauge("penstock_projection_lag_records", status.lag_records, **of)
                samples.gauge("penstock_projection_lag_seconds", status.lag_seconds, **of)
            if isinstance(cursor, FoldCursor):
                samples.gauge("penstock_due_late_seconds", cursor.late_seconds(), **of)
        if self.filling is not None:
            self.filling.sample(samples)
