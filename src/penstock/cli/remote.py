"""The operator's tools work on a serving process and on a stopped one alike.

A serving one is asked through its control door; otherwise the data folder is opened here.
"""

import http.client
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import apsw
import msgspec

from penstock.core.control import FILE, Door, Job
from penstock.core.engines import check_there, is_embedded
from penstock.core.errors import PenstockError
from penstock.core.listed import Deletable, JobLine, Letter, TopicLine, View
from penstock.core.log.disk import failed_open
from penstock.core.operations import Operations
from penstock.core.platform import ROLES
from penstock.core.projection.deleting import Whose
from penstock.core.projection.rebuild import Progress
from penstock.core.projection.shadows import Rebuilt
from penstock.core.projection.why import Asked, Why
from penstock.core.schedules import Line, Ran
from penstock.core.settings import Settings
from penstock.core.tls import Address
from penstock.main import build, read_settings

T = TypeVar("T")
_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.2


class Operating(Protocol):
    def topics(self) -> list[TopicLine]: ...

    def views(self) -> list[View]: ...

    def dead_letters(self, projection: str = "", limit: int = 100) -> list[Letter]: ...

    def show_dead_letter(self, projection: str, partition: int, offset: int) -> Letter: ...

    def retry_dead_letter(self, projection: str, partition: int, offset: int) -> Letter: ...

    def drop_dead_letter(self, projection: str, partition: int, offset: int) -> Letter: ...

    def give_up(self, projection: str, partition: int, offsets: Sequence[int]) -> list[Letter]: ...

    def take_back(
        self, projection: str, partition: int, offsets: Sequence[int]
    ) -> list[Letter]: ...

    def jobs(self, of: str = "", limit: int = 100) -> list[JobLine]: ...

    def show_job(self, number: str) -> JobLine: ...

    def retry_job(self, number: str) -> JobLine: ...

    def drop_job(self, number: str) -> JobLine: ...

    def rebuild(
        self,
        projection: str,
        progress: Progress,
        *,
        from_scratch: bool,
        dry_run: bool,
        accept_loss: bool = False,
        muted: bool = False,
    ) -> Rebuilt: ...

    def why(self, asked: Asked, progress: Progress) -> Why: ...

    def deletable(self, whose: Whose) -> list[Deletable]: ...

    def delete(self, whose: Whose, progress: Progress) -> list[Deletable]: ...

    def schedules(self, name: str = "", runs: int = 1) -> list[Line]: ...

    def run_schedule(self, name: str, at: str, progress: Progress) -> Ran: ...

    def republish(self) -> dict[str, int]: ...


@contextmanager
def operations(data: str | None, *, edge: bool = True) -> Iterator[Operating]:
    """Those of the process that serves the data folder, or our own if none does; without `edge`
    another process may have that role.

    Raise `Misconfigured` where there is no data, with nothing made.
    """
    overrides: dict[str, object] = {} if data is None else {"data": data}
    settings = read_settings(os.environ, overrides)
    if (door := serving(settings)) is not None:
        yield Remote(door)
        return
    check_there(settings)
    # An edge on shared engines has nothing that the tools need; the embedded one is the log.
    roles = ROLES if edge and is_embedded(settings.log_url) else ("api", "work")
    platform = build(os.environ, overrides, roles=roles)
    try:
        yield Operations(platform)
    except apsw.Error as error:
        path = Path(urlsplit(settings.log_url).path)
        raise PenstockError(failed_open(path, error, "reading")) from error
    finally:
        platform.close()


def serving(settings: Settings) -> Door | None:
    """The way to the process that serves the data folder, if one does."""
    try:
        door = msgspec.json.decode((settings.folder / FILE).read_bytes(), type=Door)
    except (OSError, msgspec.MsgspecError):
        return None
    return door if _alive(door) else None


class Remote:
    """Asks the serving process."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def topics(self) -> list[TopicLine]:
        return self._ask("topics", {}, list[TopicLine])

    def views(self) -> list[View]:
        return self._ask("views", {}, list[View])

    def dead_letters(self, projection: str = "", limit: int = 100) -> list[Letter]:
        return self._ask("dead_letters", {"projection": projection, "limit": limit}, list[Letter])

    def show_dead_letter(self, projection: str, partition: int, offset: int) -> Letter:
        return self._letter("show", projection, partition, offset)

    def retry_dead_letter(self, projection: str, partition: int, offset: int) -> Letter:
        return self._letter("retry", projection, partition, offset)

    def drop_dead_letter(self, projection: str, partition: int, offset: int) -> Letter:
        return self._letter("drop", projection, partition, offset)

    def give_up(self, projection: str, partition: int, offsets: Sequence[int]) -> list[Letter]:
        return self._letters("give_up", projection, partition, offsets)

    def take_back(self, projection: str, partition: int, offsets: Sequence[int]) -> list[Letter]:
        return self._letters("take_back", projection, partition, offsets)

    def jobs(self, of: str = "", limit: int = 100) -> list[JobLine]:
        return self._ask("jobs", {"projection": of, "limit": limit}, list[JobLine])

    def show_job(self, number: str) -> JobLine:
        return self._ask("show_job", {"number": number}, JobLine)

    def retry_job(self, number: str) -> JobLine:
        return self._ask("retry_job", {"number": number}, JobLine)

    def drop_job(self, number: str) -> JobLine:
        return self._ask("drop_job", {"number": number}, JobLine)

    def rebuild(
        self,
        projection: str,
        progress: Progress,
        *,
        from_scratch: bool,
        dry_run: bool,
        accept_loss: bool = False,
        muted: bool = False,
    ) -> Rebuilt:
        wanted = {
            "projection": projection,
            "from_scratch": from_scratch,
            "dry_run": dry_run,
            "accept_loss": accept_loss,
            "muted": muted,
        }
        return msgspec.convert(self._job("rebuild", wanted, progress), Rebuilt)

    def why(self, asked: Asked, progress: Progress) -> Why:
        return msgspec.convert(self._job("why", msgspec.structs.asdict(asked), progress), Why)

    def deletable(self, whose: Whose) -> list[Deletable]:
        return self._ask("deletable", msgspec.structs.asdict(whose), list[Deletable])

    def delete(self, whose: Whose, progress: Progress) -> list[Deletable]:
        told = self._job("delete", msgspec.structs.asdict(whose), progress)
        return msgspec.convert(told, list[Deletable])

    def schedules(self, name: str = "", runs: int = 1) -> list[Line]:
        return self._ask("schedules", {"schedule": name, "runs": runs}, list[Line])

    def run_schedule(self, name: str, at: str, progress: Progress) -> Ran:
        wanted = {"schedule": name, "at": at}
        return msgspec.convert(self._job("run_schedule", wanted, progress), Ran)

    def republish(self) -> dict[str, int]:
        return self._ask("republish", {}, dict[str, int])

    def _job(self, verb: str, wanted: dict[str, Any], progress: Progress) -> Any:
        """Wait for long work. Raise what it came to."""
        name = self._ask(verb, wanted, dict[str, int])
        while True:
            job = self._ask("job", name, Job)
            progress(job.done, job.total)
            if job.finished:
                break
            time.sleep(_POLL_SECONDS)
        if job.error:
            raise PenstockError(job.error)
        return job.result

    def _letter(self, verb: str, projection: str, partition: int, offset: int) -> Letter:
        name = {"projection": projection, "partition": partition, "offset": offset}
        return self._ask(verb, name, Letter)

    def _letters(
        self, verb: str, projection: str, partition: int, offsets: Sequence[int]
    ) -> list[Letter]:
        names = {"projection": projection, "partition": partition, "offsets": offsets}
        return self._ask(verb, names, list[Letter])

    def _ask(self, verb: str, arguments: dict[str, Any], answer: type[T]) -> T:
        status, body = _post(self._door, verb, msgspec.json.encode(arguments))
        if status != http.client.OK:
            refusal = msgspec.json.decode(body, type=dict[str, str])
            raise PenstockError(refusal.get("message", f"the server answered {status}"))
        return msgspec.json.decode(body, type=answer)


def _alive(door: Door) -> bool:
    try:
        return _post(door, "topics", b"{}")[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _post(door: Door, verb: str, body: bytes) -> tuple[int, bytes]:
    connection = Address(door.url, door.certificate).connect(_TIMEOUT_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {door.token}"}
        connection.request("POST", f"/api/control/{verb}", body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
