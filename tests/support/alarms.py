"""A fold that does nothing but set timers and hear them, and a bench that moves its clock."""

from collections.abc import Sequence
from contextlib import closing
from itertools import count
from typing import Any, Literal

import msgspec

from penstock.core.events import Event
from penstock.core.projection import Due, Elapsed, Fold, Record, Step, Topic
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.flush import Flush
from penstock.core.projection.folding import FoldSink
from support.folded import Bench

_names = count()


class Set(Event, frozen=True, array_like=True, gc=False, tag="set/1"):
    key: str
    name: str
    at_ms: int | None
    keep: Literal["latest", "earliest"] = "latest"
    trick: str = ""
    """What the step does besides: `forget` its key, `many` or `long` or `odd` of what is due."""


class Heard(msgspec.Struct, frozen=True, array_like=True):
    rung: Sequence[tuple[str, int]] = ()
    """Names, and when they were to come."""


def step(heard: Heard, record: Record[Set | Elapsed]) -> Step[Heard]:
    event = record.event
    if isinstance(event, Elapsed):
        if event.name == "bad":
            raise ValueError("cannot bear this")
        return Step(Heard([*heard.rung, (event.name, event.at_ms)]))
    due: Any = [Due(event.name, event.at_ms, keep=event.keep)]
    match event.trick:
        case "forget":
            return Step(None, due=due)
        case "many":
            due = [Due(str(n), 1) for n in range(101)]
        case "long":
            due = [Due("x" * 256, 1)]
        case "odd":
            odd: Any = 1.5
            due = [Due("x", odd)]
    return Step(heard, due=due)


def fold() -> Fold[Any, Heard]:
    """One under a name of its own."""
    name = f"tests.alarms{next(_names)}"
    topic: Topic[Any] = Topic(name, (Set, Elapsed), key=lambda event: event.key.encode())
    flush = Flush(wait_seconds=0.0, block_records=40)
    return Fold(space=name, topic=topic, state=Heard, step=step, flush=flush)


class Timed(Bench):
    """What a fold's thread does, by hand."""

    def owner(self, fold: Fold[Any, Any]) -> FoldCursor:
        sink = FoldSink(fold, self.stores)
        cursor = FoldCursor(fold, sink, self.log, self.clock, self.lines.logger)
        cursor.begin()
        return cursor

    def settle(self, cursor: FoldCursor, most: int = 1 << 30) -> FoldCursor:
        """All that is due, or so many times something of it."""
        with closing(self.log.reader()) as reader:
            while most and cursor.due(0.0) <= 0:
                cursor.advance(reader)
                most -= 1
        return cursor

    def elapsed(self, fold: Fold[Any, Any]) -> list[Elapsed]:
        """Those in the log."""
        return [event for event in self.events(fold.topic) if isinstance(event, Elapsed)]

    def rung(self, fold: Fold[Any, Any], key: str = "a") -> list[tuple[str, int]]:
        value = self.state.get_many(fold.space, [key.encode()])[0]
        return [(name, at_ms) for name, at_ms in fold.read(value).rung] if value else []
