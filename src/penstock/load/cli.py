"""The `load` command group: reference workloads against a running server."""

# The modules of the workload bring numpy, half a second that `penstock --help` need not wait for;
# so the command imports them when it runs.

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.load.report import Report

RUNS = ("smoke", "standard", "burst", "soak", "crash", "tail")
TARGET_URL = "http://127.0.0.1:8080"


@click.group()
def load() -> None:
    """Send a reference workload to a server and grade every answer."""


@load.command()
@click.argument("run", type=click.Choice(RUNS))
@click.option("--url", default=TARGET_URL, show_default=True, help="Address of the server.")
@click.option(
    "--ingest-url",
    multiple=True,
    help="Address of an edge that takes the tags; repeatable, they take turns.  [default: --url]",
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file with the certificates that vouch for https://.  [default: the system's]",
)
@click.option("--rate", type=click.IntRange(min=1), help="Tags per second.  [default: the run's]")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), help="Seconds of sending.")
@click.option("--seed", default=1, show_default=True, help="Chooses the tags.")
@click.option(
    "--skew", type=click.Choice(["uniform", "zipf"]), default="uniform", show_default=True
)
@click.option(
    "--spell",
    type=click.Choice(["always3", "drop000"]),
    default="always3",
    show_default=True,
    help="Spelling of tag times: three fraction digits always, or none when they are zero.",
)
@click.option(
    "--product-id", type=click.Choice(["int", "string"]), default="int", show_default=True
)
@click.option("--cookies", default=1_000_000, show_default=True, help="How many cookies there are.")
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    help="At most, for tags.  [default: 64 per 1,000 tags/s, at least 64]",
)
@click.option(
    "--start-index",
    type=click.IntRange(min=0),
    default=0,
    help="The server already holds this many tags of the stream, all of them accepted.",
)
@click.option(
    "--preload",
    type=click.IntRange(min=0),
    default=0,
    help="First send this many tags through /user_tags/batch, as fast as possible.",
)
@click.option("--profile-wait", type=float, help="Ask only for tags accepted this long ago.")
@click.option("--aggregate-wait", type=float, help="The same for aggregates.")
@click.option("--aggregate-start", type=float, help="Seconds until the first aggregate query.")
@click.option("--tail-wait", type=float, help="Seconds between the last tag and the last check.")
@click.option("--tail-cookies", type=int, help="How many whole profiles the last check reads.")
@click.option("--kill-every", type=float, help="Seconds between kills in a crash run.")
@click.option("--raw-time", is_flag=True, help="Compare the spelling of tag times too.")
@click.option("--send-expected", is_flag=True, help="Send each query's expected answer along.")
@click.option(
    "--timeouts",
    type=float,
    nargs=3,
    default=(0.2, 0.2, 60.0),
    show_default=True,
    help="Seconds for tags, profiles and aggregates.",
)
@click.option("--json", "json_path", metavar="FILE", help="Write the report as JSON; - for stdout.")
@click.option("--pid", type=int, help="The server's process, to measure CPU and memory of.")
@click.option(
    "--pid-file", type=click.Path(path_type=Path), help="Holds the pid to measure and to kill."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The server's data directory, to measure the disk use of.",
)
@click.option("--serve", metavar="COMMAND", help="Start the server by this; crash kills that.")
@click.option("--kill-command", metavar="COMMAND", help="What a crash run executes to kill.")
def audiences(
    run: str,
    rate: int | None,
    duration: float | None,
    json_path: str | None,
    **arguments: object,
) -> None:
    """Send user tags and queries, and hold every answer against an exact oracle.

    \b
    smoke     200 tags/s for a minute, short waits
    standard  1,000 tags/s for 15 minutes
    burst     5,000 tags/s for 10 seconds
    soak      a logical day, as fast as the server answers
    crash     standard, with a kill -9 every 60 seconds
    tail      a minute of tags; then every profile is read

    It needs an empty server to itself, and asks for that first.

    Each run ends by waiting, then checking the totals of every minute and whole profiles. The exit
    status is 0 only if every answer was exact and, except for what a crash run kills, none failed.
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    import msgspec  # noqa: PLC0415 - see the top

    from penstock.load.audiences.preload import PreloadFailed  # noqa: PLC0415 - see the top
    from penstock.load.chaos import ServerNotReady  # noqa: PLC0415 - see the top
    from penstock.load.holding import NotEmpty  # noqa: PLC0415 - see the top
    from penstock.load.plans import Options, tailored  # noqa: PLC0415 - see the top
    from penstock.load.run import run as run_plan  # noqa: PLC0415 - see the top

    try:
        options = msgspec.convert(arguments, Options)
        plan = tailored(run, rate=rate, duration=duration, changes=arguments)
        options.check(plan)
        report = run_plan(run, plan, options)
    except (ValueError, ServerNotReady, NotEmpty, PreloadFailed) as error:
        raise click.ClickException(str(error)) from error
    _show(report, json_path)
    if not report.perfect:
        sys.exit(1)


def _show(report: "Report", json_path: str | None) -> None:
    import msgspec  # noqa: PLC0415 - see the top
    from rich.console import Console  # noqa: PLC0415 - see the top

    from penstock.load.render import render  # noqa: PLC0415 - see the top

    # With JSON on stdout, people read the tables on stderr.
    render(report, Console(file=sys.stderr if json_path == "-" else sys.stdout))
    if json_path is None:
        return
    text = json.dumps(msgspec.to_builtins(report), indent=2) + "\n"
    if json_path == "-":
        sys.stdout.write(text)
    else:
        Path(json_path).write_text(text)
