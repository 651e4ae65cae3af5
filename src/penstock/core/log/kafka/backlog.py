"""What of a topic's spool the producer has, and what it is still to get."""

from collections import deque
from collections.abc import Sequence

from penstock.core.log.kafka.sending import Stretch
from penstock.core.log.kafka.spool import Progress


class Backlog:
    def __init__(self, topic: str, progress: Progress, end: int) -> None:
        self.topic = topic
        self.handed = progress.mark
        """The producer has what is before this."""
        self.doubtful_before = end
        """Of what is before this the brokers may have some that we do not know of."""
        self._lows: Sequence[int] = progress.lows
        self._stretches: deque[Stretch] = deque()

    def hand(self, stretch: Stretch) -> None:
        """The producer has this, which is what came next."""
        self._stretches.append(stretch)
        self.handed = stretch.next

    def advance(self) -> None:
        while self._stretches and not self._stretches[0].left:
            self._stretches.popleft()

    @property
    def in_flight(self) -> int:
        return self.handed - self._stretches[0].first if self._stretches else 0

    def waiting(self, end: int) -> int:
        """Records that are acknowledged and not known to be with the brokers."""
        told = sum(of.next - of.first for of in self._stretches if of.told)
        return end - self.handed + told

    @property
    def since(self) -> float:
        """When the oldest of what has not arrived was handed over; infinite for none."""
        return self._stretches[0].since if self._stretches else float("inf")

    def lows(self, reached: Sequence[int]) -> Sequence[int]:
        """What is handed over now cannot lie before these, given what has arrived."""
        return self._lows if self.handed < self.doubtful_before else list(reached)

    def progress(self, reached: Sequence[int]) -> Progress:
        if self._stretches:
            return Progress(self._stretches[0].first, self._stretches[0].lows)
        return Progress(self.handed, self.lows(reached))
