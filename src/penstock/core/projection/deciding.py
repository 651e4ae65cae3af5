"""The cursor of a fold: beside what is in the log it minds what is to come."""

from typing import Any

from penstock.core.errors import Damaged, Disproved, Misconfigured, told
from penstock.core.log import Reader
from penstock.core.projection import Fold
from penstock.core.projection.cursor import IDLE_SECONDS, Cursor, backoff
from penstock.core.projection.folding import FoldSink


class FoldCursor(Cursor):
    projection: Fold[Any, Any]
    sink: FoldSink

    _said_to = 0
    """Up to here the log has what was said of timers; more is said when that was heard."""
    _failed_turns = 0
    _turn_at = 0.0

    def resume(self, reader: Reader) -> None:
        super().resume(reader)
        self._said_to = self._log.end(self._topic, self.partition)

    def due(self, cost_seconds: float) -> float:
        wait = super().due(cost_seconds)
        return min(wait, self._turn_due()) if wait > 0 else wait

    def advance(self, reader: Reader) -> None:
        if super().due(0.0) <= 0:
            super().advance(reader)
        if self._turn_due() > 0:
            return
        try:
            self._say()
        except Damaged:
            raise
        except (Misconfigured, Disproved) as error:
            self.stop(error)
        except Exception as error:  # noqa: BLE001 - what waits goes on waiting
            self._failed_turns += 1
            self._turn_at = self._clock.monotonic() + backoff(self._failed_turns)
            self._logger.warning("timers.failed", error=f"{type(error).__name__}: {told(error)}")
        else:
            self._failed_turns = 0

    def _say(self) -> None:
        if not self.sink.elapse(self.partition, self._clock.now_ms()) and self.behind() <= 0:
            self.sink.skip_turn(self.partition)  # otherwise it is still to be heard
        self._said_to = self._log.end(self._topic, self.partition)

    def _turn_due(self) -> float:
        """Seconds until something is to be said."""
        if not self._resumed or self.state != "running" or self.position < self._said_to:
            return IDLE_SECONDS
        next_ms = self.sink.next_ms(self.partition)
        if next_ms is None:
            return IDLE_SECONDS
        wait = (next_ms - self._clock.now_ms()) / 1000
        return min(max(wait, self._turn_at - self._clock.monotonic()), IDLE_SECONDS)

    def late_seconds(self) -> float:
        """How long the next timer has been due. For any thread."""
        next_ms = self.sink.known_ms(self.partition)
        return 0.0 if next_ms is None else max(0.0, (self._clock.now_ms() - next_ms) / 1000)
