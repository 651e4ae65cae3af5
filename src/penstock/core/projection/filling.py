"""Who fills a mirror: a thread of its own for each fold that has one, for the warehouse may be away
while the fold goes on.
"""

import threading
from collections.abc import Callable, Collection
from contextlib import suppress

from penstock.core.clock import Clock
from penstock.core.errors import NotReady, told, told_of
from penstock.core.projection.cursor import Cursor, backoff
from penstock.core.projection.folding import FoldSink
from penstock.core.projection.mirroring import Mirroring, TakenOver
from penstock.core.projects import own_key, project_of
from penstock.core.stages import MirrorStage
from penstock.core.telemetry import Logger, Samples

_END_SECONDS = 10.0
"""So long one is waited for that waits for the warehouse."""


class Filling:
    def __init__(
        self,
        sink: FoldSink,
        cursors: Callable[[], Collection[Cursor]],
        clock: Clock,
        logger: Logger,
        *,
        partitions: Callable[[], int],
    ) -> None:
        """`partitions`: how many the topic has; it may raise `NotReady`."""
        self._partitions = partitions
        assert sink.fold.mirror is not None
        self.mirror = sink.fold.mirror
        self.held = threading.Lock()
        """Who has it has all turns, and the table for itself."""
        self.failures = 0
        """In a row."""
        self.retries = 0
        self.last_error = ""
        self.others: frozenset[int] = frozenset()
        """Partitions that others carry, and whose rows are not all in, as was looked up last."""
        self._sink = sink
        self._cursors = cursors
        self._clock = clock
        self._logger = logger.bind(projection=sink.fold.name, mirror=self.mirror.table)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping.clear()
        name = f"penstock-{self.mirror.table}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """While whoever steps goes on: what has gone in is settled."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            with self.held:
                self.round()
            wait = backoff(self.failures) if self.failures else self.mirror.wait_seconds

    def round(self) -> None:
        """A turn of each partition that is carried here."""
        errors = [error for cursor in [*self._cursors()] if (error := self._turn(cursor))]
        self.last_error = next(iter(errors), "")
        if errors:
            self.failures, self.retries = self.failures + 1, self.retries + 1
        else:
            if self.failures:
                self._logger.info("mirror.recovered", attempts=self.failures)
            self.failures = 0

    def _turn(self, cursor: Cursor) -> str:
        """What went wrong."""
        mirroring = self._sink.mirrorings.get(cursor.partition)
        if mirroring is None or cursor.state != "running":
            return ""
        try:
            mirroring.turn(
                self._clock.now_ms(),
                mirroring.hand_over,
                partitions=self._partitions(),
                even=_is_even(cursor),
            )
        except TakenOver:  # nothing has failed; the next turn goes by what the fold has then
            return ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the marks stay
            self._tell(told_of(error))
            return told(error)
        if (refused := mirroring.table.refused) is None:
            return ""
        key, why = refused
        self._tell(told_of(why), key=repr(own_key(project_of(key), key)))
        return f"a row cannot go in: {told(why)}"

    def _tell(self, error: str, **fields: str) -> None:
        if not self.failures:
            self._logger.warning("mirror.failed", error=error, **fields)

    # -- being asked, by any thread -------------------------------------------------------------

    def hear(self) -> None:
        """Learn of those that others carry. Raise `NotReady`."""
        own = {cursor.partition for cursor in self._cursors()}
        self.others = frozenset(
            p for p in range(self._partitions()) if p not in own and not self._is_whole(p)
        )

    def _is_whole(self, partition: int) -> bool:
        begun = self._sink.stored(partition) is not None
        return not begun or self._sink.mirrored(partition).whole

    def lacks(self) -> str:
        """Why it is not to be answered from, in words."""
        known = self._sink.mirrorings
        whole = [c.partition in known and known[c.partition].whole for c in [*self._cursors()]]
        if all(whole) and not self.others:
            return ""
        why = f"; {self.last_error}" if self.last_error else ""
        return f"{self.mirror.table} is being filled from {self._sink.fold.name}{why}"

    def own(self) -> list[tuple[int, Mirroring]]:
        """By partitions that are carried here."""
        known = self._sink.mirrorings
        return [(c.partition, one) for c in [*self._cursors()] if (one := known.get(c.partition))]

    def stages(self) -> list[MirrorStage]:
        """Of each partition, as far as it is known here."""
        found = [self._stage(partition, whole=False) for partition in sorted(self.others)]
        for partition, one in self.own():
            stage = self._stage(partition, whole=one.whole)
            stage["lag_seconds"], stage["rows"] = one.lag_seconds(), one.table.rows
            found.append(stage)
        return found

    def _stage(self, partition: int, *, whole: bool) -> MirrorStage:
        return {
            "mirror": self.mirror.table,
            "projection": self._sink.fold.name,
            "partition": partition,
            "whole": whole,
            "last_error": self.last_error,
        }

    def sample(self, samples: Samples) -> None:
        name = self._sink.fold.name
        samples.counter("penstock_mirror_retries", self.retries, projection=name)
        for partition, one in self.own():
            of = {"projection": name, "partition": str(partition)}
            samples.counter("penstock_mirror_rows", one.table.rows, **of)
            samples.gauge("penstock_mirror_lag_seconds", one.lag_seconds(), **of)


def _is_even(cursor: Cursor) -> bool:
    with suppress(NotReady):
        return cursor.behind() <= 0
    return False


def filling_of(
    sink: FoldSink,
    cursors: Callable[[], Collection[Cursor]],
    clock: Clock,
    logger: Logger,
    *,
    partitions: Callable[[], int],
) -> Filling | None:
    """Nothing for a fold without a mirror, and where there is no warehouse: others fill it."""
    if sink.fold.mirror is None or not sink.has_warehouse:
        return None
    return Filling(sink, cursors, clock, logger, partitions=partitions)
