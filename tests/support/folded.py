"""A fold over real stores, carried on by hand."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from penstock.core.events import Event
from penstock.core.log import Append, Log
from penstock.core.projection import Fold, Topic
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.rebuild import Rebuild
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import Stores, sink
from penstock.core.state import State
from penstock.core.state.rocksdb import RocksState
from support.clock import MovedClock
from support.lines import Lines
from support.logs import contents, submit
from support.notes import Crash
from support.opened import open_sqlite
from support.purses import Moved, Purse


class Failing(RocksState):
    """The real engine, and the process ends when it is told to: before a write, or behind it."""

    at = ""

    def apply(self, *given: Any, **named: Any) -> None:
        at, self.at = self.at, ""
        if at == "before":
            raise Crash
        super().apply(*given, **named)
        if at == "after":
            raise Crash


class Bench:
    """Real stores, and a fold that is carried on by hand."""

    def __init__(
        self,
        folder: Path,
        engine: Callable[[Path], State] = Failing,
        log: Callable[[Path, MovedClock], Log] = open_sqlite,
    ) -> None:
        self.clock, self.lines = MovedClock(), Lines()
        self.log: Log = log(folder, self.clock)
        self.state: Any = engine(folder / "state")
        self.stores = Stores(None, self.state, DeadLetters(self.state), self.clock, log=self.log)

    def cursor(self, fold: Fold[Any, Any], partition: int = 0) -> Cursor:
        inner, logger = sink(fold, self.stores), self.lines.logger
        return Cursor(fold, inner, self.log, self.clock, logger, partition=partition)

    def carry(
        self, fold: Fold[Any, Any], block: int = 40, blocks: int = 1 << 30, partition: int = 0
    ) -> Cursor:
        """As after a restart: resume, then all there is."""
        cursor = self.cursor(fold, partition)
        with closing(self.log.reader()) as reader:
            cursor.resume(reader)
            while blocks and cursor.step(reader, block):
                blocks -= 1
        return cursor

    def say(self, fold: Fold[Any, Any], *events: Event) -> None:
        encode = fold.topic.codec().encode
        keys = list(map(fold.topic.key, events)) if self.log.keyed else ()
        submit(self.log, Append(fold.topic.name, list(map(encode, events)), keys))

    def known(self, fold: Fold[Any, Any], space: str = "") -> dict[str, Any]:
        entries = [entry for entry in self.state.scan(space or fold.space) if entry.group]
        return {entry.group.decode(): fold.read(entry.value) for entry in entries}

    def said(self, fold: Fold[Moved, Purse]) -> list[list[object]]:
        return [self.events(topic) for topic in fold.emits]

    def events(self, topic: Topic[Any]) -> list[object]:
        """Partition by partition."""
        partitions = range(self.log.partitions(topic.name))
        found = [payload for p in partitions for payload in contents(self.log, topic.name, p)]
        return list(map(topic.codec().decode, found))

    def rebuild(self, fold: Fold[Any, Any], **how: bool) -> Any:
        inner = sink(fold, self.stores)
        live = Consumer(fold, inner, self.log, self.clock, self.lines.logger)
        work = Rebuild(live, self.stores, self.log, self.clock, self.lines.logger)
        return work.run("", lambda _done, _total: None, **how)

    def close(self) -> None:
        self.state.close()
        self.log.close()
