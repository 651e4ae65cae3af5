"""What projections are carried into."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from penstock.core.clock import Clock
from penstock.core.errors import NotReady
from penstock.core.events import Codec
from penstock.core.log import Appender
from penstock.core.projection import Topic
from penstock.core.projection.circles import Circle
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.repeats import Repeats
from penstock.core.projection.workers import Workers
from penstock.core.state import State
from penstock.core.warehouse import Warehouse


class Stores(NamedTuple):
    """What sinks write to, and how they read."""

    warehouse: Warehouse | None
    """None in a process that carries no tables and answers no queries."""
    state: State
    dead_letters: DeadLetters
    clock: Clock
    codec: Callable[[Topic[Any]], Codec[Any]] = Topic.codec
    """What the records of a topic are read with."""
    log: Appender | None = None
    """What folds say goes there; None in a process that may not append."""
    workers: Workers | None = None
    """Who does the work of jobs; None in a process that does none."""
    circles: Collection[Circle] = ()
    """Through more than one fold; what one hears of itself it knows."""
    unique: Callable[[Topic[Any]], Repeats] | None = None
    """Who says which records of a topic are repeats, one for all of a process; None: each sink has
    its own.
    """

    def repeats(self, topic: Topic[Any]) -> Repeats | None:
        """None where no record of it is one."""
        if topic.unique is None:
            return None
        if self.unique is not None:
            return self.unique(topic)
        return Repeats(topic, self.state, self.codec(topic), self.clock)

    @property
    def tables(self) -> Warehouse:
        """Raise `NotReady` in a process without a warehouse."""
        if self.warehouse is None:
            raise NotReady("this process has no warehouse; ask one with the role api")
        return self.warehouse
