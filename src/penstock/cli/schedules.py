"""`penstock schedules`: what is done when, what came of it, and doing it by hand."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from penstock.cli.listing import echo_rows
from penstock.cli.operator import data_option

if TYPE_CHECKING:
    from penstock.core.schedules import Line, Ran

_STRETCHES_SHOWN = 10


@click.group()
def schedules() -> None:
    """What is done at the end of intervals: list it, run it."""


@schedules.command("list")
@click.argument("schedule", default="")
@click.option("--limit", default=20, show_default=True, help="List at most so many runs of one.")
@data_option
def list_schedules(schedule: str, limit: int, data: str | None) -> None:
    """List all with their last runs, or the runs of one SCHEDULE."""
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        lines = operating.schedules(schedule, limit if schedule else 1)
    if not lines:
        click.echo("no schedules")
    elif schedule:
        _tell(lines[0])
    else:
        rows = [
            (line.schedule, line.at, *(_cells(line.runs[0]) if line.runs else ("", "", "")),
             "everywhere" if line.everywhere else _at(line.next_ms),
             str(len(line.lacking)) if line.lacking else "")
            for line in lines
        ]  # fmt: skip
        echo_rows(("schedule", "at", "last interval", "result", "ended", "next", "gaps"), rows)


@schedules.command()
@click.argument("schedule")
@click.option(
    "--interval",
    "at",
    default="",
    help="The interval that this time is in, as 2026-03-01T07:00 or 2026-03-01, in the zone of "
    "the schedule.  [default: the last one that is over]",
)
@data_option
def run(schedule: str, at: str, data: str | None) -> None:
    """Run one interval of a SCHEDULE now, and wait for it.

    What an interval has put into the log before is not put in again. The exit status is 1 when it
    fails.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating, Bar(f"running {schedule}", "runs") as bar:
        ran = operating.run_schedule(schedule, at, bar.move)
    events = "nothing new" if ran.repeated else f"{ran.events} events"
    told = f": {ran.reason}" if ran.reason else f": {events}"
    click.echo(f"{schedule} {_interval(ran)} {ran.result}{told}")
    if ran.result != "succeeded":
        sys.exit(1)


def _tell(line: "Line") -> None:
    click.echo(f"schedule  {line.schedule}")
    click.echo(f"at        {line.at}")
    click.echo(f"next      {'everywhere' if line.everywhere else _at(line.next_ms)}")
    for first, last in line.lacking[-_STRETCHES_SHOWN:]:
        ends = _at(first * 1000) if first == last else f"{_at(first * 1000)} to {_at(last * 1000)}"
        click.echo(f"lacking   intervals that end {ends}")
    if line.runs:
        rows = [
            (*_cells(ran), ran.by, str(ran.attempts), str(ran.events), ran.reason)
            for ran in line.runs
        ]
        echo_rows(("interval", "result", "ended", "by", "attempts", "events", "reason"), rows)


def _cells(ran: "Ran") -> tuple[str, str, str]:
    return _interval(ran), ran.result, _at(ran.ended_ms) if ran.ended_ms else ""


def _interval(ran: "Ran") -> str:
    return f"{_at(ran.start_ms)}/{_at(ran.end_ms)}"


def _at(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
