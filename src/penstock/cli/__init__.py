"""The command line. Commands import what is heavy only when they run."""

import os
import sys
from functools import partial

import click

from penstock import __version__
from penstock.cli.backup import backup, salvage
from penstock.cli.dead_letters import dead_letters
from penstock.cli.delete import delete
from penstock.cli.doctor import doctor
from penstock.cli.events import events
from penstock.cli.jobs import jobs
from penstock.cli.moving import copy, migrate
from penstock.cli.operator import data_option, rebuild, topics
from penstock.cli.republish import republish
from penstock.cli.schedules import schedules
from penstock.cli.status import status
from penstock.cli.warehouse import pull_sql
from penstock.cli.why import why
from penstock.core.errors import PenstockError
from penstock.load.cli import load


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """One durable event log, and every product a team needs built on it."""


@cli.command()
@click.option("--host", help="Address to listen on.  [default: PENSTOCK_HOST, or 127.0.0.1]")
@click.option(
    "--port",
    type=int,
    help="Port to listen on; 0 takes any free one.  [default: PENSTOCK_PORT, or 8080]",
)
@data_option
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["edge", "api", "work"]),
    help="Run only this role; repeatable. Default: all of them.",
)
@click.option("--forget-heads", is_flag=True, help="Parse every head anew, to compare.")
@click.option("--demo", is_flag=True, help="Feed a small stream of made-up events to itself.")
def serve(
    host: str | None,
    port: int | None,
    data: str | None,
    roles: tuple[str, ...],
    *,
    forget_heads: bool,
    demo: bool,
) -> None:
    """Serve HTTP and keep read models up to date, until stopped."""
    from penstock.cli import shutdown  # noqa: PLC0415 - heavy
    from penstock.cli.demo import feed  # noqa: PLC0415 - heavy
    from penstock.core.doors import doors  # noqa: PLC0415 - heavy
    from penstock.core.platform import ROLES  # noqa: PLC0415 - heavy
    from penstock.core.server import serve as run  # noqa: PLC0415 - heavy
    from penstock.main import build, read_settings  # noqa: PLC0415 - heavy

    remember = False if forget_heads else None
    given = {"host": host, "port": port, "data": data, "remember_heads": remember}
    overrides = {name: value for name, value in given.items() if value is not None}

    def announce(url: str) -> None:
        click.echo(f"penstock {__version__} serves {url}", err=True)

    with doors(read_settings(os.environ, overrides)) as found:
        platform = build(os.environ, overrides, roles=roles or ROLES)
        beside = [feed(platform)] if demo else []
        stopping = partial(shutdown.stopping, platform)
        ended = run(platform, found, announce, beside, stopping=stopping)
    shutdown.stopped(platform, ended)
    sys.exit(ended.status)


for command in (
    migrate, copy, rebuild, dead_letters, jobs, schedules, topics, events, why, delete,
    status,
    backup, salvage, republish,
    doctor, pull_sql, load,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors that name their remedy are one line, not a traceback."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except PenstockError as error:
        click.echo(f"penstock: {error}", err=True)
        sys.exit(2)
