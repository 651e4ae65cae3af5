"""The heavy part of jobs, in processes beside this one: bounded in time and memory.

What kills or fills its process is the work's own doing, and a failure of the attempt; this process
goes on, and so does all other work.
"""

import asyncio
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from penstock.core.errors import sound, told_of
from penstock.core.projection.job import ComputeFailed, Job, Permanent
from penstock.core.telemetry import Logger
from penstock.core.worker import Handle, Worker, WorkerDied

T = TypeVar("T")

_CODE = (
    "from penstock.core.projection.computing import computer; from penstock.core.worker import "
    "work; work(computer)"
)
_BACKSTOP_SECONDS = 30.0
"""Beyond the attempt's own time, which ends it before."""
_PROCESSES_MAX = 256
_REST_SECONDS = 600.0
"""So long a process without work is kept."""
_DONE, _FAILED, _NEVER = b"d", b"f", b"n"
"""Begin an answer."""
_pack = msgspec.msgpack.Encoder().encode


class Given(msgspec.Struct):
    """What such a process is for."""

    paths: list[str]
    """Where modules are looked for."""
    compute: tuple[str, str]
    """Module and name."""
    work: tuple[str, str]
    memory_bytes_max: int
    result_bytes_max: int


class Computers:
    """On the event loop of the jobs. Processes are started when they are needed, and kept."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._idle: dict[str, list[Worker]] = {}
        self._all: list[Worker] = []
        self._used: dict[Worker, float] = {}
        """When they were asked last, by the clock of the loop."""
        self._threads = ThreadPoolExecutor(_PROCESSES_MAX, "penstock-compute")

    async def ready(self, job: Job[Any]) -> Worker:
        """A process that is to be asked next, and by nobody else. Raise `ComputeFailed`."""
        idle = self._idle.setdefault(job.name, [])
        worker = idle.pop() if idle else self._worker(job)
        await self._on_thread(job, worker, worker.begin)
        return worker

    async def compute(self, job: Job[Any], worker: Worker, work: bytes) -> bytes:
        """The work, with what was computed. Raise `ComputeFailed` and `Permanent`."""
        answer = await self._on_thread(job, worker, partial(worker.ask, work))
        self._free(job, worker)
        if answer[:1] == _DONE:
            return answer[1:]
        raise (Permanent if answer[:1] == _NEVER else ComputeFailed)(answer[1:].decode())

    async def _on_thread(self, job: Job[Any], worker: Worker, call: Callable[[], T]) -> T:
        asking = asyncio.get_running_loop().run_in_executor(self._threads, call)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            worker.kill()
            asking.add_done_callback(partial(self._gone, job, worker))
            raise
        except WorkerDied as error:
            self._free(job, worker)
            raise ComputeFailed(f"the process that computed it ended: {error.why}") from error

    def _gone(self, job: Job[Any], worker: Worker, asking: "asyncio.Future[Any]") -> None:
        """Nobody waits for it any more; only now it may be asked again."""
        if not asking.cancelled():
            asking.exception()
        self._free(job, worker)

    def _free(self, job: Job[Any], worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        self._idle[job.name].append(worker)
        self._used[worker] = loop.time()
        loop.call_later(_REST_SECONDS, self._rest, job, worker, self._used[worker])

    def _rest(self, job: Job[Any], worker: Worker, used: float) -> None:
        idle = self._idle[job.name]
        if worker in idle and self._used[worker] == used:
            idle.remove(worker)
            resting = asyncio.get_running_loop().run_in_executor(self._threads, worker.rest)
            resting.add_done_callback(lambda _: idle.insert(0, worker))

    def _worker(self, job: Job[Any]) -> Worker:
        assert job.compute is not None
        given = Given(
            sys.path,
            (job.compute.__module__, job.compute.__qualname__),
            (job.work.__module__, job.work.__qualname__),
            job.memory_bytes_max,
            job.result_bytes_max,
        )
        seconds = job.seconds_max + _BACKSTOP_SECONDS
        worker = Worker(_CODE, given, self._logger, answer_seconds=seconds)
        self._all.append(worker)
        return worker

    def close(self) -> None:
        """When nothing is under way any more, or nobody waits for it."""
        for worker in self._all:
            worker.kill()
        self._threads.shutdown(wait=True)
        for worker in self._all:
            worker.rest()


# -- the other process ----------------------------------------------------------------------------


def computer(given: bytes) -> Handle:
    """What answers there."""
    known = msgspec.msgpack.decode(given, type=Given)
    sys.path[:] = known.paths
    compute, work = (_found(*named) for named in (known.compute, known.work))
    decode = msgspec.msgpack.Decoder(work).decode
    _bound(known.memory_bytes_max)
    return partial(_answer, compute, decode, known)


def _answer(
    compute: Callable[[Any], Any],
    decode: Callable[[bytes], Any],
    known: Given,
    question: bytes,
    more: bytes,
) -> bytes:
    del more
    try:
        result = _pack(compute(decode(question)))
    except MemoryError:
        return _FAILED + b"it takes more than %d bytes of memory" % known.memory_bytes_max
    except Permanent as error:
        return _NEVER + sound(error.message).encode()
    except BaseException as error:  # noqa: BLE001 - an exit of its own is a failure like others
        return _FAILED + told_of(error).encode()
    if len(result) > known.result_bytes_max:
        return _NEVER + b"%d bytes were computed; at most %d" % (
            len(result),
            known.result_bytes_max,
        )
    return _DONE + result


def _found(module: str, name: str) -> Any:
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _bound(more_bytes: int) -> None:
    """Of memory, beyond what it has now; where the system can tell."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, now + more_bytes))
