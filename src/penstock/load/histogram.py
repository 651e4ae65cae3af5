"""Durations in logarithmic buckets: any number of them in constant memory, within 1.6 %."""

import msgspec

_STEPS = 64
_STEP_BITS = 6
_BUCKETS = 64 * _STEPS


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds at the usual percentiles; zeros where nothing was recorded."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class Histogram:
    """Buckets are one microsecond wide up to 128 us, then 64 to each power of two."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._count = 0
        self._max = 0.0

    def record(self, seconds: float) -> None:
        micros = int(seconds * 1e6) if seconds > 0 else 0
        shift = micros.bit_length() - _STEP_BITS - 1
        bucket = micros if shift <= 0 else (shift << _STEP_BITS) + (micros >> shift)
        self._counts[bucket] += 1
        self._count += 1
        self._max = max(self._max, seconds)

    def percentile(self, fraction: float) -> float:
        """Seconds below which at least `fraction` of the records lie, rounded up to a bucket."""
        wanted, seen = fraction * self._count, 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_upper_edge(bucket), self._max)
        return 0.0

    def durations(self) -> Durations:
        p50, p95, p99, p999 = (
            round(self.percentile(fraction) * 1e3, 3) for fraction in (0.5, 0.95, 0.99, 0.999)
        )
        return Durations(
            count=self._count,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            p999_ms=p999,
            max_ms=round(self._max * 1e3, 3),
        )


def _upper_edge(bucket: int) -> float:
    if bucket < 2 * _STEPS:
        return (bucket + 1) / 1e6
    shift = (bucket >> _STEP_BITS) - 1
    return ((bucket - (shift << _STEP_BITS) + 1) << shift) / 1e6
