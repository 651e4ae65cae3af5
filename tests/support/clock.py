"""Clocks that do what a test says, in both directions."""

from itertools import cycle

from penstock.core.clock import SystemClock


class MovedClock:
    """Moves only when a test moves it."""

    def __init__(self, now_ms: int = 1_646_092_800_000) -> None:
        self.ms = now_ms
        self.seconds = 1_000.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.seconds

    def pass_hours(self, hours: float) -> None:
        """Time passes; both clocks agree."""
        self.ms += int(hours * 3_600_000)
        self.seconds += hours * 3_600

    def step_hours(self, hours: float) -> None:
        """The wall clock is set anew; no time passes."""
        self.ms += int(hours * 3_600_000)


class WrongClock(SystemClock):
    """The system's, wrong by as much as a test says."""

    ahead_hours = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.ahead_hours * 3_600_000)


class SteppingClock(SystemClock):
    """The system's, and a day off either way at every other look. It is right at the first."""

    steps = True

    def __init__(self) -> None:
        self._off_ms = cycle((0, 86_400_000, 0, -86_400_000))

    def now_ms(self) -> int:
        off_ms = next(self._off_ms)
        return super().now_ms() + (off_ms if self.steps else 0)
