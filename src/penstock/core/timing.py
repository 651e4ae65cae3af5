"""How far the newest events are from the clock, and how far the clock is from itself.

Neither makes anybody wait, and neither makes a process unready: what one sender's clock says is no
reason to take a server away from all others. So they are told as warnings.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from penstock.core.clock import CarefulClock
from penstock.core.projection import Table
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import TableSink

_AHEAD_SECONDS_MAX = 3_600.0
"""So far ahead of the clock no event is by the default of what is accepted."""


def ahead_seconds(consumer: Consumer, clock: CarefulClock) -> float | None:
    """From the clock to the newest event, negative where that is older; None for none."""
    table, sink = consumer.projection, consumer.sink
    if not isinstance(table, Table) or not isinstance(sink, TableSink):
        return None
    known = [newest for carry in sink.carries if (newest := table.newest_ms(carry)) is not None]
    return (max(known) - clock.now_ms()) / 1000 if known else None


def warnings(consumers: Iterable[Consumer], clock: CarefulClock) -> Iterator[tuple[str, str]]:
    """What it is about, and what is odd about it."""
    if step := clock.step_seconds():
        yield "clock", f"it stepped {_spelled(step)}, and is not believed before a day has passed"
    for consumer in consumers:
        ahead = ahead_seconds(consumer, clock)
        if ahead is not None and ahead > _AHEAD_SECONDS_MAX:
            yield (
                consumer.projection.name,
                f"the newest event is {_spelled(ahead)} of the clock: one of the two is wrong",
            )


def _spelled(seconds: float) -> str:
    """`1 day, 0:00:05 ahead`, or behind."""
    way = "ahead" if seconds > 0 else "behind"
    return f"{timedelta(seconds=round(abs(seconds)))} {way}"
