"""A clock that moves only when a test moves it, in both directions."""


class MovedClock:
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
