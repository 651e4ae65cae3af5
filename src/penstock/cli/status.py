"""`penstock status`: what `/readyz`, `topics` and `doctor` say apart, in one look."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import click

from penstock.cli.doctor import CHECKS, Finding, examined, log_size
from penstock.cli.listing import echo_rows
from penstock.cli.operator import data_option

if TYPE_CHECKING:
    from penstock.core.control import Door
    from penstock.core.settings import Settings

_STOPPED = 3
_EFFECTS = {"edge": "no event is taken", "work": "views stay as they are"}


@click.command()
@data_option
def status(data: str | None) -> None:
    """Sum up the process, its log and what doctor objects to.

    The exit status is 0 when it serves and all is well, 1 when something is wrong, and 3 when
    nothing is wrong but nobody serves. It only reads, beside a serving process and without one.
    """
    from penstock.cli.remote import serving  # noqa: PLC0415 - heavy
    from penstock.core.engines import check_there  # noqa: PLC0415 - heavy
    from penstock.main import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(os.environ, {} if data is None else {"data": data})
    door = serving(settings)
    if door is None:
        check_there(settings)
        findings = [*_roles(settings), *examined(settings, [_held])]
    else:
        findings = [Finding("process", "ok", f"process {door.pid} serves {door.url}")]
        findings += [*vacant(settings), *_ready(door), *_topics(door)]
    findings += examined(settings, [_size])
    findings += [one for one in examined(settings, CHECKS) if one.verdict != "ok"]
    echo_rows(("what", "verdict", "detail"), findings)
    if any(finding.verdict == "fail" for finding in findings):
        sys.exit(1)
    if findings[0].verdict == "stopped":
        sys.exit(_STOPPED)


def vacant(settings: "Settings") -> Iterator[Finding]:
    """Roles of the folder that nobody has, where processes share it and one of them serves."""
    from penstock.core.engines import is_embedded  # noqa: PLC0415 - heavy
    from penstock.core.folder import is_taken  # noqa: PLC0415 - heavy

    if not is_embedded(settings.log_url):
        return
    for role, effect in _EFFECTS.items():
        if not is_taken(settings.folder, role):
            remedy = f"start one: penstock serve --role {role} --data {settings.data}"
            yield Finding(role, "fail", f"no process has the role {role}: {effect}; {remedy}")


def _size(settings: "Settings") -> Iterator[Finding]:
    from penstock.core.engines import own_file  # noqa: PLC0415 - heavy

    path = own_file(settings)
    if path.exists():
        yield Finding(path.stem, "ok", log_size(path))


def _ready(door: "Door") -> Iterator[Finding]:
    from penstock.cli.readiness import readiness  # noqa: PLC0415 - heavy

    told = readiness(door)
    if not told.problems:
        yield Finding("ready", "ok", "events are made durable, and every view answers")
    for name, problem in told.problems.items():
        yield Finding(name, "fail", problem)
    for name, oddity in told.warnings.items():
        yield Finding(name, "warn", oddity)


def _topics(door: "Door") -> Iterator[Finding]:
    from penstock.cli.remote import Remote  # noqa: PLC0415 - heavy

    for line in Remote(door).topics():
        behind = [f"{name} {line.end - at} behind" for name, at in line.projections.items()]
        detail = ", ".join([f"{line.end - line.start} records", *behind])
        yield Finding(f"{line.topic}/{line.partition}", "ok", detail)


def _roles(settings: "Settings") -> Iterator[Finding]:
    from penstock.core.folder import is_taken  # noqa: PLC0415 - heavy

    taken = [role for role in ("edge", "work") if is_taken(settings.folder, role)]
    if taken:
        detail = f"the role {' and '.join(taken)} is taken by a process that these tools cannot ask"
        yield Finding("process", "warn", detail)
    else:
        yield Finding("process", "stopped", "nobody serves")


def _held(settings: "Settings") -> Iterator[Finding]:
    """What the log holds; how far views are is known to who serves them."""
    import apsw  # noqa: PLC0415 - heavy

    from penstock.core.engines import is_embedded, log_file  # noqa: PLC0415 - heavy
    from penstock.core.log.disk import failed_open  # noqa: PLC0415 - heavy
    from penstock.core.log.sqlite_reader import SqliteReader  # noqa: PLC0415 - heavy

    if not is_embedded(settings.log_url):
        return
    path = log_file(settings)
    try:
        with closing(SqliteReader(path)) as reader:
            for topic in reader.topics():
                yield Finding(topic, "ok", f"{reader.end(topic) - reader.start(topic)} records")
    except apsw.Error as error:
        yield Finding(path.stem, "fail", failed_open(path, error, "reading"))
