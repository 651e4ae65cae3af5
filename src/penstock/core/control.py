"""The control door of a running process: the operator's tools, for whoever can read its folder.

The process writes its address and a fresh token to `control.json` in the data folder, readable by
its owner only. The tools find it there; nobody else has the token.
"""

import hmac
import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.edge import Received, Response
from penstock.core.edge.endpoints import AnswerEndpoint
from penstock.core.errors import NotFound, PenstockError, Rejected, told_of
from penstock.core.operations import Operations
from penstock.core.platform import Platform
from penstock.core.projection.deleting import Whose
from penstock.core.projection.rebuild import Progress
from penstock.core.projection.why import Asked
from penstock.core.tls import Address

FILE = "control.json"
PATH = "/api/control/{verb}"
_BODY_BYTES_MAX = 262_144
"""Room for as many names of dead letters as the tools send at once."""
_JOBS_KEPT = 16


class Door(msgspec.Struct, frozen=True):
    """Contents of `control.json`."""

    url: str
    token: str
    pid: int
    certificate: str = ""
    """What the process shows to clients: its tools believe this one only. It is kept as it was at
    the start, for the file may hold the next one by now.
    """


class Job(msgspec.Struct):
    """Long work under way, or done."""

    done: int = 0
    total: int = 0
    finished: bool = False
    result: Any = None
    error: str = ""


class LetterName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    projection: str
    partition: int
    offset: int


class LetterNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    projection: str
    partition: int
    offsets: list[int]


class LettersWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    projection: str = ""
    limit: int = 100


class RebuildWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    projection: str
    from_scratch: bool = False
    dry_run: bool = False
    accept_loss: bool = False
    muted: bool = False


class DeadJobName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: str


class SchedulesWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schedule: str = ""
    runs: int = 1


class RunWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schedule: str
    at: str = ""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It needs no word."""


class JobName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    job: int


class Control:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._operations = Operations(platform)
        self._token = secrets.token_urlsafe(32)
        self._jobs: dict[int, Job] = {}
        operations = self._operations
        self._verbs: dict[str, tuple[type[msgspec.Struct], Callable[[Any], object]]] = {
            "topics": (LettersWanted, lambda _: operations.topics()),
            "views": (LettersWanted, lambda _: operations.views()),
            "dead_letters": (
                LettersWanted,
                lambda w: operations.dead_letters(w.projection, w.limit),
            ),
            "show": (LetterName, partial(_named, operations.show_dead_letter)),
            "retry": (LetterName, partial(_named, operations.retry_dead_letter)),
            "drop": (LetterName, partial(_named, operations.drop_dead_letter)),
            "give_up": (
                LetterNames,
                lambda w: operations.give_up(w.projection, w.partition, w.offsets),
            ),
            "take_back": (
                LetterNames,
                lambda w: operations.take_back(w.projection, w.partition, w.offsets),
            ),
            "jobs": (LettersWanted, lambda w: operations.jobs(w.projection, w.limit)),
            "show_job": (DeadJobName, lambda n: operations.show_job(n.number)),
            "retry_job": (DeadJobName, lambda n: operations.retry_job(n.number)),
            "drop_job": (DeadJobName, lambda n: operations.drop_job(n.number)),
            "why": (Asked, self._why),
            "rebuild": (RebuildWanted, self._rebuild),
            "deletable": (Whose, operations.deletable),
            "delete": (Whose, self._delete),
            "schedules": (SchedulesWanted, lambda w: operations.schedules(w.schedule, w.runs)),
            "run_schedule": (RunWanted, self._run_schedule),
            "republish": (Nothing, lambda _: operations.republish()),
            "job": (JobName, self._job),
        }

    def offer(self) -> None:
        endpoint = AnswerEndpoint(
            operation="control", body_bytes_max=_BODY_BYTES_MAX, answer=self._answer, sheds=False
        )
        self._platform.edge.add("POST", PATH, endpoint)

    def open(self, address: Address) -> Path:
        """Write `control.json`; the caller removes it at the end."""
        path = self._platform.settings.folder / FILE
        path.unlink(missing_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as stream:
            door = Door(address.url, self._token, os.getpid(), address.certificate)
            stream.write(msgspec.json.encode(door))
        return path

    async def _answer(self, received: Received) -> Response:
        given = received.headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise NotFound
        wanted = self._verbs.get(received.parameters[0])
        if wanted is None:
            raise NotFound
        struct, act = wanted
        try:
            arguments = msgspec.json.decode(received.body or b"{}", type=struct)
        except msgspec.MsgspecError as error:
            raise Rejected(str(error)) from error
        return Response.json(await self._platform.pools.operate(partial(act, arguments)))

    def _rebuild(self, wanted: RebuildWanted) -> JobName:
        return self._spawn(
            lambda progress: self._operations.rebuild(
                wanted.projection,
                progress,
                from_scratch=wanted.from_scratch,
                dry_run=wanted.dry_run,
                accept_loss=wanted.accept_loss,
                muted=wanted.muted,
            )
        )

    def _delete(self, whose: Whose) -> JobName:
        return self._spawn(lambda progress: self._operations.delete(whose, progress))

    def _why(self, asked: Asked) -> JobName:
        return self._spawn(lambda progress: self._operations.why(asked, progress))

    def _run_schedule(self, wanted: RunWanted) -> JobName:
        return self._spawn(
            lambda progress: self._operations.run_schedule(wanted.schedule, wanted.at, progress)
        )

    def _spawn(self, work: Callable[[Progress], object]) -> JobName:
        number = max(self._jobs, default=0) + 1
        job = self._jobs[number] = Job()
        for old in sorted(self._jobs)[:-_JOBS_KEPT]:
            del self._jobs[old]
        self._platform.pools.spawn(partial(self._work, job, work))
        return JobName(number)

    def _work(self, job: Job, work: Callable[[Progress], object]) -> None:
        def progress(done: int, total: int) -> None:
            job.done, job.total = done, total

        try:
            job.result = work(progress)
        except PenstockError as error:
            job.error = str(error)
        except Exception as error:  # noqa: BLE001 - the operator is told, the server goes on
            job.error = told_of(error)
        job.finished = True

    def _job(self, name: JobName) -> Job:
        job = self._jobs.get(name.job)
        if job is None:
            raise NotFound(f"there is no job {name.job}")
        return job


def _named(act: Callable[[str, int, int], object], name: LetterName) -> object:
    return act(name.projection, name.partition, name.offset)
