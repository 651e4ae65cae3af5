"""The embedded log: one SQLite file, one writer thread, group commit.

While one commit is in flight the next group collects, so the number of syncs follows the disk and
the number of records per sync follows the load. A topic is a table of its own whose rowid is the
offset of a block's first record: adding is always at the right-hand edge of the tree.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from penstock.core.clock import Clock, careful
from penstock.core.errors import NotReady, Overloaded, PenstockError
from penstock.core.log import Append, Done, Extent, Minute, Receipt, Share, Whole
from penstock.core.log.checkpoint import bytes_of_log
from penstock.core.log.disk import FATAL, Space, defect, failed_write
from penstock.core.log.sqlite_file import SqliteFile, Transaction
from penstock.core.log.sqlite_reader import SqliteReader
from penstock.core.settings import Settings
from penstock.core.telemetry import Logger, logger

_IDLE_SECONDS = 1.0
_SWEEPING_SECONDS = 0.01
"""So long the disk is left to others between two portions of expired keys."""


class Limits(NamedTuple):
    queue_records_max: int = 200_000
    queue_bytes_max: int = 134_217_728
    disk_free_bytes_min: int = 0
    idempotency_hours: float = 24.0

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            settings.queue_records_max,
            settings.queue_bytes_max,
            settings.disk_free_bytes_min,
            settings.idempotency_hours,
        )


class _Submission(NamedTuple):
    appends: Sequence[Append]
    done: Done
    records: int
    size: int


class _Trim(NamedTuple):
    """Where a topic is to begin."""

    log: str
    topic: str
    start: int
    until_ms: int


class _Count(NamedTuple):
    """How large somebody found a topic to be."""

    log: str
    topic: str
    was: Extent
    now: Extent


_Item = _Submission | _Trim | _Count | threading.Event


class SqliteLog:
    """Opens the file for writing; there is one such object per file."""

    keyed = False
    spooled = 0

    def __init__(
        self,
        path: Path,
        clock: Clock,
        limits: Limits,
        *,
        vfs: str = "",
        lines: Logger | None = None,
    ) -> None:
        """Raise `Misconfigured` when the folder or the file cannot be used."""
        self._path = path
        self._clock = careful(clock)
        self._limits = limits
        self._logger = lines or logger()
        self._file = SqliteFile(path, vfs=vfs, writable=True)
        self._space = Space(path, limits.disk_free_bytes_min, clock)
        self.newest_ms = self._file.newest_ms
        """When the newest of the records was taken that were there at the start; 0 for none."""
        self.commits = 0
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._queued_records = 0
        self._queued_bytes = 0
        self._rejected: dict[str, int] = {}
        self._failed: NotReady | None = None
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._thread = threading.Thread(target=self._run, name="penstock-log", daemon=True)
        self._thread.start()

    # -- writing ------------------------------------------------------------------------------

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        records = size = 0
        for append in appends:
            records += len(append.payloads)
            size += sum(map(len, append.payloads))
        with self._lock:
            if (
                self._queued_records + records > self._limits.queue_records_max
                or self._queued_bytes + size > self._limits.queue_bytes_max
            ):
                raise Overloaded("the log is behind; try again in a second")
            self._queued_records += records
            self._queued_bytes += size
        self._queue.put(_Submission(appends, done, records, size))

    def trim(self, log: str, topic: str, start: int, until_ms: int) -> None:
        """Let the topic of this log begin at `start`, by and by, in portions that hold nobody up.

        `start` is where a block begins, or where the topic ends; what goes had been taken until
        then. What is not done when the process ends has to be asked for again.
        """
        self._queue.put(_Trim(log, topic, start, until_ms))

    def count(self, log: str, topic: str, was: Extent, now: Extent) -> None:
        """Note that somebody who knew it as it was counted a topic of this log on."""
        self._queue.put(_Count(log, topic, was, now))

    def tally(self, topic: str, *, rejected: int) -> None:
        with self._lock:
            self._rejected[topic] = self._rejected.get(topic, 0) + rejected

    def clear(self) -> None:
        """Forget every record and become another log; blocks until done."""
        cleared = threading.Event()
        self._queue.put(cleared)
        cleared.wait()

    def failure(self) -> str:
        return "" if self._failed is None else self._failed.message

    def close(self) -> None:
        """Commit what is waiting, fold the write-ahead log into the file, release both."""
        self._queue.put(None)
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        """Lives as long as the process does, whatever it meets: somebody waits for an answer."""
        open_for_more = True
        while open_for_more:
            taken = self._take()
            open_for_more = None not in taken
            try:
                self._turn(taken)
            except Exception as error:  # noqa: BLE001 - a defect, whatever it is
                self._fail(defect("the log's thread", error), error)
        self._commit_tallies()

    def _take(self) -> "list[_Item | None]":
        """All that is waiting, or what comes soon."""
        busy = self._file.expired_left or self._file.trimming.left
        patience = _SWEEPING_SECONDS if busy else _IDLE_SECONDS
        try:
            taken = [self._queue.get(timeout=patience)]
        except queue.Empty:
            return []
        while not self._queue.empty():
            taken.append(self._queue.get_nowait())
        return taken

    def _turn(self, taken: "Sequence[_Item | None]") -> None:
        for item in taken:
            if isinstance(item, threading.Event):
                self._forget(item)
            elif item is not None and not isinstance(item, _Submission):
                self._heed(item)
        group = [item for item in taken if isinstance(item, _Submission)]
        if group:
            self._settle(group)
        if not taken or self._file.trimming.due:  # a group that was refused carried nothing along
            self._commit_tallies()
        if not taken:
            self._file.idle()

    def _heed(self, item: _Trim | _Count) -> None:
        """What was decided of a log that was cleared meanwhile is of no use."""
        if item.log != self.identity(item.topic):
            return
        if isinstance(item, _Trim):
            self._file.want(item.topic, item.start, item.until_ms)
        else:
            self._file.count(item.topic, item.was, item.now)

    def _forget(self, cleared: threading.Event) -> None:
        with self._lock:
            self._rejected = {}
        try:
            self._file.clear()
        finally:
            cleared.set()

    def _settle(self, group: list[_Submission]) -> None:
        outcome = self._commit(group)
        with self._lock:
            self._queued_records -= sum(submission.records for submission in group)
            self._queued_bytes -= sum(submission.size for submission in group)
        if isinstance(outcome, PenstockError):
            for submission in group:
                for append in submission.appends:
                    self.tally(append.topic, rejected=len(append.payloads) + append.rejected)
                self._tell(partial(submission.done, outcome))
            return
        for submission, receipts in zip(group, outcome, strict=True):
            self._tell(partial(submission.done, receipts))

    def _commit(self, group: list[_Submission]) -> list[list[Receipt]] | PenstockError:
        """One transaction for the whole group; on any failure none of it is stored."""
        if self._failed is not None and self._failed.message.startswith(FATAL):
            return self._failed
        with self._lock:
            rejected, self._rejected = self._rejected, {}
        try:
            problem = self._space.problem()
            if problem and not self._may_trim(group):
                self._restore_tallies(rejected)
                return self._fail(NotReady(problem))
            transaction = self._transaction()
            receipts = self._file.write(
                transaction, [submission.appends for submission in group], rejected
            )
        except Exception as error:  # noqa: BLE001 - the thread lives on to answer, and to say why
            self._restore_tallies(rejected)
            return self._fail(failed_write("log", error), error)
        if self._failed is not None and not problem:
            self._failed = None
            self._logger.info("log.recovered")
        while self._file.trimming.troubles:
            topic_id, trouble = self._file.trimming.troubles.pop()
            self._logger.error("log.trimming_stopped", topic=topic_id, error=trouble)
        self.commits += bool(group)
        for topic in transaction.topics:
            for wake in self._listeners.get(topic, ()):
                self._tell(wake)
        return receipts

    def _may_trim(self, group: list[_Submission]) -> bool:
        """Although nothing is to be written: it makes space."""
        return not group and self._file.trimming.due and not self._space.absence()

    def _fail(self, trouble: NotReady, cause: Exception | None = None) -> NotReady:
        """Remember it; a line when it begins, and when it is one that does not pass."""
        fatal = trouble.message.startswith(FATAL)
        if fatal or self._failed is None:
            self._logger.error("log.failed", error=str(trouble), exc_info=cause if fatal else None)
        self._failed = trouble
        return trouble

    def _tell(self, call: Callable[[], None]) -> None:
        """Whoever is told must not end the one thread that writes; a defect there is not hidden."""
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever they raise
            self._fail(defect("telling of a commit", error), error)

    def _transaction(self) -> Transaction:
        return Transaction(self._clock, self._limits.idempotency_hours)

    def _commit_tallies(self) -> None:
        """And forget expired keys."""
        due = self._file.has_expired(self._transaction()) or self._file.trimming.due
        if (self._rejected or due) and isinstance(self._commit([]), PenstockError):
            self._file.expired_left = False  # there is no hurry

    def _restore_tallies(self, rejected: dict[str, int]) -> None:
        for topic, count in rejected.items():
            self.tally(topic, rejected=count)

    # -- reading ------------------------------------------------------------------------------

    def identity(self, topic: str) -> str:
        return f"{self._file.identity}/{topic}"

    def partitions(self, topic: str) -> int:
        del topic
        return 1

    def share(self, group: str, topic: str, changed: Callable[[frozenset[int]], None]) -> Share:
        del group
        return Whole(self.partitions(topic), changed)

    def reader(self) -> SqliteReader:
        return SqliteReader(self._path, vfs=self._file.vfs)

    def start(self, topic: str, partition: int) -> int:
        return self.extent(topic, partition).start

    def extent(self, topic: str, partition: int) -> Extent:
        del partition
        return self._file.extent(topic)

    def end(self, topic: str, partition: int) -> int:
        del partition
        return self._file.ends.get(topic, 0)

    def listen(self, topic: str, wake: Callable[[], None]) -> None:
        self._listeners.setdefault(topic, []).append(wake)

    def ledger(self, topic: str, since_minute: int) -> list[Minute]:
        with closing(self.reader()) as reader:
            return reader.ledger(topic, since_minute)

    def totals(self, topic: str) -> Minute:
        with closing(self.reader()) as reader:
            return reader.totals(topic)

    @property
    def idempotency_keys(self) -> int:
        with closing(self.reader()) as reader:
            return reader.idempotency_keys()

    def remembers(self) -> str:
        return ""

    @property
    def gives_back(self) -> bool:
        """Whether what is trimmed can leave the disk."""
        return self._file.trimming.gives_back

    def bytes_on_disk(self) -> int:
        return bytes_of_log(self._path)
