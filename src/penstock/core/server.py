"""Running a platform: sockets in front, signals in, and a drain that loses nothing."""

import asyncio
import gc
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import uvloop

from penstock.core import heap
from penstock.core.admin import admin_edge
from penstock.core.adoption import adopt, loop_exception_handler
from penstock.core.control import Control
from penstock.core.doors import Doors
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.door import BACKLOG
from penstock.core.edge.listener import Listener
from penstock.core.edge.watchdog import Watchdog
from penstock.core.health import Health
from penstock.core.pages import Pages
from penstock.core.platform import Platform
from penstock.core.tls import Address

_SWITCH_SECONDS = 0.0005
"""How long a projection may keep the interpreter from the edge when both want it."""
_GC_ALLOCATIONS = 50_000
"""Requests leave no cycles behind: look for them less often than after every 700 objects."""
_WATCH_SECONDS = 0.5
_SETTLE_SECONDS = 0.005

Ready = Callable[[str], None]
Beside = Callable[[Address], Coroutine[None, None, None]]


class Ended(NamedTuple):
    """What a process did before it was told to stop, or could not go on."""

    status: int
    """The process's exit status."""
    requests: int
    """So many were answered, refusals among them."""
    events: int
    """So many were stored."""


def serve(
    platform: Platform,
    doors: Doors,
    ready: Ready,
    beside: Sequence[Beside] = (),
    *,
    stopping: Callable[[], None] = lambda: None,
) -> Ended:
    """Serve until SIGTERM or SIGINT, then drain.

    `ready` gets the URL once requests are answered; everything that runs `beside` knows what it may
    ask there, and is cancelled at the end. `stopping` is called before what is under way is waited
    for. The platform is closed on return.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 50)
    _raise_open_files()
    undo = adopt(platform.logger, platform.died)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(platform, doors, ready, beside, stopping))
    finally:
        platform.close()
        undo()
    return Ended(1 if platform.fatal() else 0, platform.registry.answered, platform.edge.stored)


class _Signals:
    """The first one drains; a second one does not wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stop = asyncio.Event()
        self.force = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._heard)

    def _heard(self) -> None:
        (self.force if self.stop.is_set() else self.stop).set()


async def _watch(platform: Platform, stop: asyncio.Event) -> None:
    """End a process that cannot go on as a whole; a new one recovers."""
    while not (reason := platform.fatal()):  # noqa: ASYNC110 - it fails on a thread of its own
        await asyncio.sleep(_WATCH_SECONDS)
    platform.logger.error("process.fatal", reason=reason)
    stop.set()


def _task_ended(platform: Platform, task: asyncio.Task[None]) -> None:
    """What runs beside the requests is to run until it is cancelled, as threads are."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        platform.logger.error("task.died", task=task.get_name(), exc_info=error)
        platform.died(task.get_name())


async def _serve(
    platform: Platform,
    doors: Doors,
    ready: Ready,
    beside: Sequence[Beside],
    stopping: Callable[[], None],
) -> None:
    settings, edge = platform.settings, platform.edge
    loop = asyncio.get_running_loop()
    doors.listen(BACKLOG)
    edge.attach(loop)
    watchdog = Watchdog(loop)
    platform.registry.sources.append(watchdog)
    health = Health(platform)
    health.offer()
    Pages(platform, health).offer()
    control = Control(platform) if platform.stores is not None else None
    if control is not None:
        control.offer()
    platform.start()
    loop.set_exception_handler(loop_exception_handler(platform.logger))
    signals = _Signals(loop)
    listeners = [Listener(edge, None if doors.identity is None else doors.identity.context)]
    listeners[0].open(doors.users)
    admin: Dispatcher | None = None
    if doors.admin is not None:
        admin = admin_edge(platform)
        admin.attach(loop)
        listeners.append(Listener(admin))
        listeners[1].open(doors.admin)
    watchdog.start()
    address = doors.address
    door = control.open(address) if control is not None else None
    work = [*(task(address) for task in beside), _watch(platform, signals.stop)]
    work += [heap.give_back(), *(listener.sweep() for listener in listeners)]
    helpers = [
        asyncio.create_task(task, name=getattr(task, "__qualname__", "beside")) for task in work
    ]
    for helper in helpers:
        helper.add_done_callback(partial(_task_ended, platform))
    ready(address.url)
    try:
        await signals.stop.wait()
        stopping()
        for listener in reversed(listeners):
            await listener.close(settings.drain_seconds_max, signals.force)
        await settle_behind(edge, settings.drain_seconds_max)
    finally:
        watchdog.stop()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        if admin is not None:
            admin.close()
        if door is not None:
            door.unlink(missing_ok=True)


def _raise_open_files() -> None:
    """Every connection is an open file, and the customary soft limit is there for programs that use
    `select`, which this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a limit below the one that it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def settle_behind(edge: Dispatcher, seconds_max: float) -> None:
    """What was answered first is still to be stored; the loop that carries it must not end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds_max):
            while edge.behind:  # noqa: ASYNC110 - it is counted down by the log's thread
                await asyncio.sleep(_SETTLE_SECONDS)
