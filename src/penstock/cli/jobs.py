"""`penstock jobs`: work that was given up, and what becomes of it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from penstock.cli.listing import echo_rows
from penstock.cli.operator import data_option

if TYPE_CHECKING:
    from penstock.cli.remote import Operating
    from penstock.core.listed import JobLine

_ALL = 1_000_000


@click.group()
def jobs() -> None:
    """Jobs that were tried as often as may be: see, retry, drop."""


@jobs.command("list")
@click.argument("of", default="")
@click.option("--limit", default=100, show_default=True, help="List at most so many.")
@data_option
def list_jobs(of: str, limit: int, data: str | None) -> None:
    """List them, of one job or fold, or of all."""
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        found = operating.jobs(of, limit)
    if not found:
        click.echo("no jobs were given up")
        return
    rows = [
        (one.number, one.job, one.project, one.key, one.name, str(one.attempts), _at(one),
         one.reason)
        for one in found
    ]  # fmt: skip
    echo_rows(("number", "job", "project", "key", "name", "attempts", "since", "reason"), rows)


@jobs.command()
@click.argument("number")
@data_option
def show(number: str, data: str | None) -> None:
    """Show one with its reason and its work."""
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        one = operating.show_job(number)
    click.echo(f"job         {one.job}")
    click.echo(f"wanted by   {one.projection}")
    click.echo(f"project     {one.project}")
    click.echo(f"key         {one.key}")
    click.echo(f"name        {one.name}")
    click.echo(f"attempts    {one.attempts}")
    click.echo(f"since       {_at(one)}")
    click.echo(f"reason      {one.reason}")
    click.echo(f"work        {one.work}")


@jobs.command()
@click.argument("numbers", nargs=-1)
@click.option("--all", "every", metavar="JOB", help="Retry all of a job or a fold.")
@data_option
def retry(numbers: tuple[str, ...], every: str | None, data: str | None) -> None:
    """Let them be tried again, as often as at first."""
    _each("to be tried again", numbers, every, data, lambda operating: operating.retry_job)


@jobs.command()
@click.argument("numbers", nargs=-1)
@click.option("--all", "every", metavar="JOB", help="Drop all of a job or a fold.")
@click.confirmation_option(prompt="Drop them for good? The log has what wanted them.")
@data_option
def drop(numbers: tuple[str, ...], every: str | None, data: str | None) -> None:
    """Forget them; the log has what wanted them."""
    _each("dropped", numbers, every, data, lambda operating: operating.drop_job)


def _each(
    done: str,
    numbers: tuple[str, ...],
    every: str | None,
    data: str | None,
    act: "Callable[[Operating], Callable[[str], JobLine]]",
) -> None:
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy
    from penstock.core.errors import PenstockError  # noqa: PLC0415 - beside the one above

    if bool(numbers) == bool(every):
        raise click.UsageError("name numbers, or say --all JOB")
    failed = 0
    with operations(data) as operating:
        named = numbers or tuple(one.number for one in operating.jobs(every or "", _ALL))
        for number in named:
            try:
                act(operating)(number)
            except PenstockError as error:
                failed += 1
                click.echo(f"{number}: {error}", err=True)
    click.echo(f"{len(named) - failed} {done}, {failed} failed")
    if failed:
        raise SystemExit(1)


def _at(one: "JobLine") -> str:
    return datetime.fromtimestamp(one.at_ms / 1000, UTC).isoformat(timespec="seconds")
