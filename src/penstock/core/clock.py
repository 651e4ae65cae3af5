"""Time as an argument: production takes the system's, tests move their own."""

import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """UTC wall clock in epoch milliseconds; it may step backwards."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step backwards; only differences mean anything."""
        ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()
