"""What is told of a cursor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Status:
    projection: str
    topic: str
    partition: int
    state: str
    """`running`, `retrying` or `stopped`."""
    position: int
    end: int
    lag_records: int
    lag_seconds: float
    projected: int
    skipped: int
    dead_lettered: int
    retries: int
    last_error: str
