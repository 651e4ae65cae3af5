"""The cursor of a fold: beside what is in the log it minds what is to come."""

from typing import Any

from penstock.core.errors import Damaged, Disproved, Misconfigured, Moved, told
from penstock.core.log import Reader
from penstock.core.projection import Fold
from penstock.core.projection.cursor import IDLE_SECONDS, Cursor, backoff
from penstock.core.projection.folding import FoldSink


class FoldCursor(Cursor):
    projection: Fold[Any, Any]
    sink: FoldSink

    _resumed_to = 0
    """What the log had when it was resumed from; before that was heard no job begins."""
    _said_to = 0
    """Up to here the log has what was said of what was due; more is said when that was heard."""
    _failures = 0
    """Of minding it, since that last succeeded."""
    _mind_at = 0.0

    def resume(self, reader: Reader) -> None:
        super().resume(reader)
        self._said_to = self._resumed_to = self._log.end(self._topic, self.partition)

    def due(self, cost_seconds: float) -> float:
        wait = super().due(cost_seconds)
        return min(wait, self._mind_due()) if wait > 0 else wait

    def advance(self, reader: Reader) -> None:
        if super().due(0.0) <= 0:
            super().advance(reader)
        if self._mind_due() > 0:
            return
        try:
            self._mind()
        except Damaged:
            raise
        except (Misconfigured, Disproved) as error:
            self.stop(error)
        except Moved as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - what waits goes on waiting
            self._failures += 1
            self._mind_at = self._clock.monotonic() + backoff(self._failures)
            self._logger.warning("due.failed", error=f"{type(error).__name__}: {told(error)}")
        else:
            self._failures = 0

    def _mind(self) -> None:
        sink, partition = self.sink, self.partition
        doing = sink.doing(partition)
        if doing.has_ended:
            doing.settle(self._clock)
        if (mirroring := sink.mirrorings.get(partition)) is not None:
            sink.settle_mirror(partition, mirroring.handed)
        if self.position >= self._said_to:
            if not sink.say_due(partition, self._clock.now_ms()) and self.behind() <= 0:
                sink.timers(partition).skip()  # otherwise it is still to be heard
            self._said_to = self._log.end(self._topic, self.partition)
        if self.position >= self._resumed_to:
            doing.begin(self._clock.now_ms())

    def _mind_due(self) -> float:
        """Seconds until `_mind` has something to do."""
        if not self._resumed or self.state != "running":
            return IDLE_SECONDS
        wait = self._wait_seconds()
        return min(max(wait, self._mind_at - self._clock.monotonic()), IDLE_SECONDS)

    def _wait_seconds(self) -> float:
        doing, at_ms = self.sink.doing(self.partition), list[int | None]()
        mirroring = self.sink.mirrorings.get(self.partition)
        if doing.has_ended or (mirroring is not None and mirroring.handed is not None):
            return 0.0
        if self.position >= self._said_to:
            if doing.endings:
                return 0.0
            if self.projection.times:
                at_ms.append(self.sink.timers(self.partition).next_ms())
        if self.position >= self._resumed_to:
            at_ms.append(doing.due_ms())
        first = min((at for at in at_ms if at is not None), default=None)
        return IDLE_SECONDS if first is None else (first - self._clock.now_ms()) / 1000

    def late_seconds(self) -> float:
        """How long the next of what is due has been so. For any thread."""
        if not self._resumed:
            return 0.0
        timers, doing = self.sink.timers(self.partition), self.sink.doing(self.partition)
        known = (at for at in (timers.known_ms, doing.queue.known_ms) if at is not None)
        first = min(known, default=None)
        return 0.0 if first is None else max(0.0, (self._clock.now_ms() - first) / 1000)
