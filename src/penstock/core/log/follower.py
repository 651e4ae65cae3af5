"""The embedded log seen from another process: reading only, by looking again and again."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw

from penstock.core.errors import Misconfigured, NotReady, told
from penstock.core.log import Extent, Minute, Share, Whole
from penstock.core.log.checkpoint import bytes_of_log
from penstock.core.log.disk import failed_open, forsaken, is_there
from penstock.core.log.sqlite_reader import SqliteReader

_POLL_SECONDS = 0.01
_RETRY_SECONDS = 0.5


class SqliteFollower:
    """Follows the file that a process with the edge role writes."""

    def __init__(self, path: Path) -> None:
        """Raise `Misconfigured` when there is no log yet, or an empty file: the edge makes it."""
        if why := forsaken(path):
            raise Misconfigured(why)
        if not is_there(path):
            raise Misconfigured(
                f"there is no log {path} to follow yet; start a process with the role edge first"
            )
        self._path = path
        self._reader = SqliteReader(path)
        try:
            self._identity = self._reader.identity()
        except apsw.Error as error:
            self._reader.close()
            raise Misconfigured(failed_open(path, error)) from error
        self._ends: dict[str, int] = {}
        self._trouble = ""
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="penstock-follow", daemon=True)
        self._thread.start()

    def identity(self, topic: str) -> str:
        return f"{self._identity}/{topic}"

    def partitions(self, topic: str) -> int:
        del topic
        return 1

    def share(self, group: str, topic: str, changed: Callable[[frozenset[int]], None]) -> Share:
        del group
        return Whole(self.partitions(topic), changed)

    def reader(self) -> SqliteReader:
        return SqliteReader(self._path)

    def start(self, topic: str, partition: int) -> int:
        return self.extent(topic, partition).start

    def extent(self, topic: str, partition: int) -> Extent:
        del partition
        with closing(self.reader()) as reader:
            return reader.extent(topic)

    def end(self, topic: str, partition: int) -> int:
        del partition
        if topic in self._listeners:
            return self._ends.get(topic, 0)
        with closing(self.reader()) as reader:
            return reader.end(topic)

    def listen(self, topic: str, wake: Callable[[], None]) -> None:
        self._listeners.setdefault(topic, []).append(wake)

    def ledger(self, topic: str, since_minute: int) -> list[Minute]:
        with closing(self.reader()) as reader:
            return reader.ledger(topic, since_minute)

    def totals(self, topic: str) -> Minute:
        with closing(self.reader()) as reader:
            return reader.totals(topic)

    def failure(self) -> str:
        return self._trouble

    def remembers(self) -> str:
        return self._trouble

    def bytes_on_disk(self) -> int:
        return bytes_of_log(self._path)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._reader.close()

    def _turn(self) -> None:
        """Another file is in the place of the log: follow that one, whatever it turns out to be."""
        found = SqliteReader(self._path)
        try:
            self._identity = found.identity()
        except apsw.Error:
            found.close()
            raise
        self._reader.close()
        self._reader = found

    def _poll(self) -> None:
        while not self._closing.wait(_RETRY_SECONDS if self._trouble else _POLL_SECONDS):
            try:
                self._look()
            except apsw.BusyError:
                continue
            except (apsw.Error, NotReady) as error:
                self._trouble = f"reading the log: {told(error)}"
            else:
                self._trouble = ""

    def _look(self) -> None:
        if self._reader.replaced():
            self._turn()
        for topic, listeners in list(self._listeners.items()):
            end = self._reader.end(topic)
            if end != self._ends.get(topic, 0):
                self._ends[topic] = end
                for wake in listeners:
                    wake()
