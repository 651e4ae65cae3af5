"""What operators are shown of topics, projections, dead letters and jobs: readable, a line each."""

import msgspec


class TopicLine(msgspec.Struct, frozen=True):
    topic: str
    partition: int
    start: int
    end: int
    projections: dict[str, int]
    """Position of each projection that reads it."""
    kept: str
    """How long, in words."""
    waits: list[str]
    """Projections without which more would have been trimmed by now."""
    since_ms: int
    """When the log took the oldest record that it keeps; 0 where it has none."""
    bytes: int | None
    """What the topic takes; None where others keep it."""


class Letter(msgspec.Struct, frozen=True):
    """A dead letter, readable."""

    projection: str
    topic: str
    partition: int
    offset: int
    next: int
    code: str
    reason: str
    at_ms: int
    record: str
    """The event as far as it can be decoded, otherwise the bytes in hex; at most 4 KiB."""


class JobLine(msgspec.Struct, frozen=True):
    """A job that was given up, readable."""

    number: str
    job: str
    projection: str
    project: str
    key: str
    name: str
    attempts: int
    reason: str
    at_ms: int
    work: str
    """As JSON; at most 4 KiB."""


class View(msgspec.Struct, frozen=True):
    name: str
    wrong: str
    """Why it is not answered from; empty when it is what the log proves."""


class Deletable(msgspec.Struct, frozen=True):
    """What a table has of somebody."""

    table: str
    rows: int
    kept: str
    """Why they stay; empty where they can go."""
