"""What the command of every workload has in common: its options, and how its run ends."""

import json
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.load.plans import Options, Plan
    from penstock.load.report import Report
    from penstock.load.workload import Workload

TARGET_URL = "http://127.0.0.1:8080"
_Command = Callable[..., None]


def drives(events: str) -> Callable[[_Command], _Command]:
    """The options of `Plan` and `Options` for a command; `events` is what its events are called."""
    options = (
        click.option("--url", default=TARGET_URL, show_default=True, help="Address of the server."),
        click.option(
            "--ingest-url",
            multiple=True,
            help=f"Address of an edge that takes the {events}; repeatable, they take turns.  "
            "[default: --url]",
        ),
        click.option(
            "--ca",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="PEM file with the certificates that vouch for https://.  [default: the system's]",
        ),
        click.option(
            "--rate",
            type=click.IntRange(min=1),
            help=f"{events.capitalize()} per second.  [default: the run's]",
        ),
        click.option(
            "--duration", type=click.FloatRange(min=0, min_open=True), help="Seconds of sending."
        ),
        click.option("--seed", default=1, show_default=True, help=f"Chooses the {events}."),
        click.option(
            "--connections",
            type=click.IntRange(min=1),
            help=f"At most, for {events}.  [default: 64 per 1,000 {events}/s, at least 64]",
        ),
        click.option(
            "--start-index",
            type=click.IntRange(min=0),
            default=0,
            help=f"The server already holds this many {events} of the stream, all accepted.",
        ),
        click.option(
            "--preload",
            type=click.IntRange(min=0),
            default=0,
            help=f"First send this many {events} in batches, as fast as possible.",
        ),
        click.option(
            "--tail-wait", type=float, help="Seconds between the last event and the last check."
        ),
        click.option("--kill-every", type=float, help="Seconds between kills in a crash run."),
        click.option(
            "--send-expected", is_flag=True, help="Send each query's expected answer along."
        ),
        click.option(
            "--json", "json_path", metavar="FILE", help="Write the report as JSON; - for stdout."
        ),
        click.option("--pid", type=int, help="The server's process, to measure CPU and memory of."),
        click.option(
            "--pid-file",
            type=click.Path(path_type=Path),
            help="Holds the pid to measure and to kill.",
        ),
        click.option(
            "--data",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="The server's data directory, to measure the disk use of.",
        ),
        click.option(
            "--serve", metavar="COMMAND", help="Start the server by this; crash kills that."
        ),
        click.option(
            "--kill-command", metavar="COMMAND", help="What a crash run executes to kill."
        ),
    )
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


def grade(
    run: str, prepared: "Callable[[], tuple[Plan, Options, Workload]]", json_path: str | None
) -> None:
    """Carry out the run and show its report. What cannot be run is told in a line; the process ends
    with status 1 unless the run was perfect.
    """
    from penstock.load.chaos import ServerNotReady  # noqa: PLC0415 - heavy
    from penstock.load.holding import NotEmpty  # noqa: PLC0415 - heavy
    from penstock.load.preload import PreloadFailed  # noqa: PLC0415 - heavy
    from penstock.load.run import run as run_plan  # noqa: PLC0415 - heavy

    try:
        report = run_plan(run, *prepared())
    except (ValueError, ServerNotReady, NotEmpty, PreloadFailed) as error:
        raise click.ClickException(str(error)) from error
    _show(report, json_path)
    if not report.perfect:
        sys.exit(1)


def _show(report: "Report", json_path: str | None) -> None:
    import msgspec  # noqa: PLC0415 - heavy
    from rich.console import Console  # noqa: PLC0415 - heavy

    from penstock.load.render import render  # noqa: PLC0415 - heavy

    # With JSON on stdout, people read the tables on stderr.
    render(report, Console(file=sys.stderr if json_path == "-" else sys.stdout))
    if json_path is None:
        return
    text = json.dumps(msgspec.to_builtins(report), indent=2) + "\n"
    if json_path == "-":
        sys.stdout.write(text)
    else:
        Path(json_path).write_text(text)
