"""Who does the work of jobs in a process: one event loop on a thread of its own, for all folds."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from penstock.core.errors import PenstockError, sound, told_of
from penstock.core.events import Event
from penstock.core.projection.computing import Computers
from penstock.core.projection.job import ComputeFailed, Job, Permanent
from penstock.core.projection.queue import Claimed
from penstock.core.reach import OutOfBounds, Reach
from penstock.core.telemetry import Logger, Samples
from penstock.core.worker import Worker

_GRACE_SECONDS = 5.0
"""So long one may take to end when it is told to, and a process that ends waits for those under
way.
"""


class Outcome(NamedTuple):
    """How an attempt ended."""

    claimed: Claimed
    events: Sequence[Event] = ()
    failed: str = ""
    """Why, if it did."""
    permanent: bool = False
    given_back: bool = False
    """It was ended for the process is about to end: as if it had not begun."""


class Workers:
    """For any thread."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._reach: Reach | None = None
        self._reaches: Mapping[str, Reach] = {}
        """By application."""
        self._computers = Computers(logger)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._running: Counter[str] = Counter()
        self._unsettled = 0
        """Attempts that have begun, and whose end was not taken note of."""
        self._alone = False
        self._closing = False
        self._ended: Counter[tuple[str, str]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, reach: Reach, settings: Mapping[str, Any] | None = None) -> None:
        """`reach`: what jobs have of the world outside, and of the `settings` of applications by
        name. Before this nobody has room.
        """
        self._reach = reach
        self._reaches = {
            name: replace(reach, settings=own) for name, own in (settings or {}).items()
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="penstock-jobs", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        loop = self._loop
        assert loop is not None
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_GRACE_SECONDS))
        loop.close()

    def room(self, job: Job[Any]) -> int:
        """How many more of it may begin."""
        if self._closing or self._alone or self._loop is None:
            return 0
        return job.concurrency - self._running[job.name]

    @property
    def idle(self) -> bool:
        return not self._unsettled and not self._closing and self._loop is not None

    def begin(self, claimed: Claimed, ended: Callable[[Outcome], None], *, alone: bool) -> None:
        """Do it; `ended` is told how that went, on the thread of the loop, and must not block.

        `alone`: nothing else begins meanwhile. Whoever was told says so with `settle`.
        """
        assert self._loop is not None
        with self._changed:
            self._running[claimed.job.name] += 1
            self._unsettled += 1
            self._alone = self._alone or alone
        self._loop.call_soon_threadsafe(self._spawn, claimed, ended)

    def settle(self) -> None:
        """The end of an attempt was taken note of."""
        with self._changed:
            self._unsettled -= 1
            if not self._unsettled:
                self._alone = False
            self._changed.notify_all()

    def close(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Begin nothing more; wait a moment for what is under way, then give it back. Whoever was
        told how attempts ended is to be there until then.
        """
        with self._changed:
            self._closing = True
            settled = self._changed.wait_for(lambda: not self._unsettled, grace_seconds)
        if self._loop is None or self._thread is None:
            return
        if not settled:
            self._loop.call_soon_threadsafe(self._cancel)
            with self._changed:
                self._changed.wait_for(lambda: not self._unsettled, grace_seconds)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GRACE_SECONDS)
        self._computers.close()

    def _spawn(self, claimed: Claimed, ended: Callable[[Outcome], None]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._attempt(claimed, ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _attempt(self, claimed: Claimed, ended: Callable[[Outcome], None]) -> None:
        try:
            outcome = await self._outcome(claimed)
        except asyncio.CancelledError:
            outcome = Outcome(claimed, given_back=True)
        except BaseException as error:  # noqa: BLE001 - an exit of its own is a failure like others
            outcome = Outcome(claimed, failed=_told(error))
        with self._changed:
            self._running[claimed.job.name] -= 1
            how = "failed" if outcome.failed else "given_back" if outcome.given_back else "done"
            self._ended[claimed.job.name, how] += 1
        ended(outcome)

    async def _outcome(self, claimed: Claimed) -> Outcome:
        job = claimed.job
        reach = self._reaches.get(job.name.partition(".")[0], self._reach)
        assert reach is not None
        try:
            work = msgspec.msgpack.decode(claimed.queued.work, type=job.work)
        except msgspec.MsgspecError as error:
            why = f"its work is of another form than {job.work.__name__}: {error}"
            return Outcome(claimed, failed=why, permanent=True)
        try:
            computing = None if job.compute is None else await self._computers.ready(job)
        except ComputeFailed as error:
            return Outcome(claimed, failed=_told(error))
        running = asyncio.ensure_future(self._run(job, work, reach, computing, claimed.queued.work))
        try:
            await asyncio.wait({running}, timeout=job.seconds_max)
            if not running.done():
                running.cancel()
                await asyncio.wait({running}, timeout=_GRACE_SECONDS)
                if not running.done():
                    self._logger.error("job.does_not_end", job=job.name, name=claimed.at.name)
                return Outcome(claimed, failed=f"it took longer than {job.seconds_max:g} seconds")
            if running.cancelled():
                return Outcome(claimed, failed="it was cancelled by itself")
            return Outcome(claimed, running.result())
        except (Permanent, OutOfBounds) as error:
            return Outcome(claimed, failed=_told(error), permanent=True)
        except asyncio.CancelledError:
            running.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
            return Outcome(claimed, failed=_told(error))

    async def _run(
        self, job: Job[Any], work: Any, reach: Reach, computing: Worker | None, packed: bytes
    ) -> Sequence[Event]:
        if computing is not None:
            done = await self._computers.compute(job, computing, packed)
            work = msgspec.msgpack.decode(done, type=job.work)
        try:
            return list(await job.run(work, reach))
        except (SystemExit, KeyboardInterrupt) as error:  # it would end the loop, and all others
            raise RuntimeError(f"it said {error!r}") from error

    def sample(self, samples: Samples) -> None:
        for job, count in [*self._running.items()]:
            samples.gauge("penstock_jobs_running", count, job=job)
        for (job, how), count in [*self._ended.items()]:
            samples.counter("penstock_jobs_ended", count, job=job, how=how)


def _told(error: BaseException) -> str:
    """Others hear it too, so of ours the message alone."""
    if isinstance(error, PenstockError):
        return f"{type(error).__name__}: {sound(error.message)}"[:1_000]
    return told_of(error)
