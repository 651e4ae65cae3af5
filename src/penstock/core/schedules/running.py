"""One attempt of a run: on a thread and an event loop of its own, so that it holds nobody up.

Whatever it does, it is over in time for whoever waits: it is cancelled, and where it does not hear
that, it is given up; a thread cannot be ended. What it returned is appended before it counts as
done, and never once it was given up.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from penstock.core.errors import NotReady, told_of
from penstock.core.events import Codec, Event
from penstock.core.log import RECORD_BYTES_MAX, Append, Appender, Origin
from penstock.core.log.awaiting import stored
from penstock.core.manifest import Owned, Run, Schedule
from penstock.core.projection import Topic
from penstock.core.projects import DEFAULT_PROJECT, order_of
from penstock.core.reach import Reach
from penstock.core.schedules.returned import Returned
from penstock.core.telemetry import Logger

_EVENTS_MAX = 10_000
_EVENTS_BYTES_MAX = 8 << 20
_REASON_CHARACTERS_MAX = 500


class Outcome(NamedTuple):
    succeeded: bool
    events: int = 0
    repeated: bool = False
    reason: str = ""


class Appending:
    """Where what a run returns goes."""

    def __init__(
        self,
        log: Appender | None,
        codec: Callable[[Topic[Any]], Codec[Any]],
        returned: Returned | None = None,
    ) -> None:
        """`returned` is needed where an append may come to lie in parts: on brokers."""
        self._log = log
        self._codec = codec
        self._returned = returned

    def appends(
        self, schedule: Schedule, events: Sequence[Event | Owned], origin: Origin
    ) -> list[Append]:
        """`origin` has one number. Raise `ValueError` for what the schedule may not return."""
        [number] = origin.numbers
        topics = {kind: topic for topic in schedule.emits for kind in topic.events}
        if len(events) > _EVENTS_MAX:
            raise ValueError(f"{len(events)} events of one run; at most {_EVENTS_MAX}")
        made: dict[str, tuple[list[bytes], list[bytes]]] = {}
        size = 0
        for given in events:
            project, event = given if isinstance(given, Owned) else (DEFAULT_PROJECT, given)
            topic = topics.get(type(event))
            if topic is None:
                raise ValueError(
                    f"{type(event).__name__} is of no topic that the schedule emits to"
                )
            payloads, keys = made.setdefault(topic.name, ([], []))
            payloads.append(self._codec(topic).of(project)(event))
            keys.append(order_of(project, topic.key(event)))
            size += len(payloads[-1])
            if len(payloads[-1]) > RECORD_BYTES_MAX:
                raise ValueError(f"an event of more than {RECORD_BYTES_MAX} bytes")
        if size > _EVENTS_BYTES_MAX:
            raise ValueError(f"{size} bytes of events; at most {_EVENTS_BYTES_MAX} of one run")
        return [
            Append(topic, payloads, keys, origin=origin._replace(numbers=[number] * len(payloads)))
            for topic, (payloads, keys) in made.items()
        ]

    def append(self, schedule: Schedule, origin: Origin, appends: Sequence[Append]) -> bool:
        """Durable when this returns; whether the log had some of it already, as far as it tells."""
        if self._log is None:
            if appends:
                raise NotReady("it emits, and this process may not append")
            return False
        if self._returned is not None and self._log.keyed and schedule.emits:
            appends = self._returned.first(schedule.name, origin, appends)
        if not appends:
            return False
        return any(receipt.is_duplicate for receipt in stored(self._log, appends))


class Attempt:
    def __init__(
        self,
        schedule: Schedule,
        run: Run,
        reach: Reach,
        appending: Appending,
        *,
        in_order: bool,
        wake: Callable[[], None],
        logger: Logger,
    ) -> None:
        """`wake` is called on its thread when it is over."""
        self.schedule = schedule
        self.run = run
        self.outcome: Outcome | None = None
        """None until it is over, or was given up."""
        self.cancelled = False
        self._reach = reach
        self._appending = appending
        number = run.interval.number
        name = schedule.name if in_order else f"{schedule.name}/{number}"
        self._origin = Origin(name, 0, [number], alone=not in_order)
        self._wake = wake
        self._logger = logger
        self._lock = threading.Lock()
        self._given_up = False
        self._appends = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Sequence[Event | Owned]] | None = None
        self._thread = threading.Thread(
            target=self._work, name=f"penstock-{schedule.name}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Let it end, if it hears that."""
        with self._lock:
            self.cancelled = True
            if self._loop is not None and self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)

    def give_up(self, reason: str) -> bool:
        """Whatever it will return is nothing any more; False when it is being appended already."""
        with self._lock:
            if self.outcome is None and not self._appends:
                self._given_up = True
                self.outcome = Outcome(succeeded=False, reason=reason)
            return self._given_up

    def _work(self) -> None:
        try:
            outcome = self._result()
        except BaseException as error:  # noqa: BLE001 - whatever a run raises, it has failed
            outcome = Outcome(succeeded=False, reason=_told(error))
        with self._lock:
            if not self._given_up:
                self.outcome = outcome
        if self._given_up:
            self._logger.warning("schedule.ended_late", schedule=self.schedule.name)
        self._wake()

    def _result(self) -> Outcome:
        with asyncio.Runner() as runner:
            events = list(runner.run(self._events()))
        appends = self._appending.appends(self.schedule, events, self._origin)
        with self._lock:
            if self._given_up:
                return Outcome(succeeded=False)
            self._appends = True
        repeated = self._appending.append(self.schedule, self._origin, appends)
        return Outcome(succeeded=True, events=len(events), repeated=repeated)

    async def _events(self) -> Sequence[Event | Owned]:
        async def run() -> Sequence[Event | Owned]:
            return await self.schedule.run(self.run, self._reach)

        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.create_task(run())
            if self.cancelled:
                self._task.cancel()
        try:
            return await self._task
        finally:
            with self._lock:
                self._task = None


def _told(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "it was cancelled"
    return told_of(error, _REASON_CHARACTERS_MAX)
