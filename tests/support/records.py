"""Events as records of the log."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TypeVar

from penstock.core.events import Event
from penstock.core.projection import Record
from penstock.core.projects import DEFAULT_PROJECT

E = TypeVar("E", bound=Event)


def records(
    events: Sequence[E],
    numbers: Iterable[int],
    times_ms: Iterable[int] = (),
    project: str = DEFAULT_PROJECT,
) -> list[Record[E]]:
    times = times_ms or repeat(0)
    return [
        Record(number, project, at_ms, event)
        for event, number, at_ms in zip(events, numbers, times, strict=False)
    ]
