"""What a stopped process says: what it did, where that is, and how to go on."""

import shlex
import shutil
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.core.platform import Platform
    from penstock.core.server import Ended


def stopping(platform: "Platform") -> None:
    """At the first signal; what is under way may take a moment."""
    if _is_read(platform):
        click.echo("stopping: what is under way is finished; once more, and it is not", err=True)
    else:
        platform.logger.info("process.stopping", in_flight=platform.edge.in_flight)


def stopped(platform: "Platform", ended: "Ended") -> None:
    """Once the stores are closed."""
    where, again = _where(platform), _again()
    if _is_read(platform):
        click.echo(
            f"stopped: {ended.requests:,} requests answered, {ended.events:,} events stored; "
            f"everything is in {where}; to go on: {again}",
            err=True,
        )
    else:
        platform.logger.info(
            "process.stopped",
            requests=ended.requests,
            events=ended.events,
            log=where,
            again=again,
        )


def _is_read(platform: "Platform") -> bool:
    from penstock.core.telemetry import for_people  # noqa: PLC0415 - heavy

    return for_people(platform.settings.log_format)


def _where(platform: "Platform") -> str:
    from penstock.core.engines import is_embedded  # noqa: PLC0415 - heavy
    from penstock.core.settings import redacted  # noqa: PLC0415 - heavy

    settings = platform.settings
    return (
        str(settings.folder.resolve())
        if is_embedded(settings.log_url)
        else redacted(settings.log_url)
    )


def _again() -> str:
    """The command as it was given, but for the way to it where the shell knows that."""
    program, *words = sys.argv
    found = shutil.which("penstock")
    return shlex.join(["penstock" if program == found else program, *words])
