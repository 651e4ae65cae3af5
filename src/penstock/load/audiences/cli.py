"""The `load audiences` command."""

# The modules of the workload bring numpy, half a second that `penstock --help` need not wait for;
# so the command imports them when it runs.

from typing import TYPE_CHECKING

import click

from penstock.load.driving import drives, grade

if TYPE_CHECKING:
    from penstock.load.audiences.plans import Options, Plan
    from penstock.load.audiences.workload import Audiences

RUNS = ("smoke", "standard", "burst", "soak", "crash", "tail")


@click.command()
@click.argument("run", type=click.Choice(RUNS))
@drives("tags")
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
@click.option("--profile-wait", type=float, help="Ask only for tags accepted this long ago.")
@click.option("--aggregate-wait", type=float, help="The same for aggregates.")
@click.option("--aggregate-start", type=float, help="Seconds until the first aggregate query.")
@click.option("--tail-cookies", type=int, help="How many whole profiles the last check reads.")
@click.option("--raw-time", is_flag=True, help="Compare the spelling of tag times too.")
@click.option(
    "--timeouts",
    type=float,
    nargs=3,
    default=(0.2, 0.2, 60.0),
    show_default=True,
    help="Seconds for tags, profiles and aggregates.",
)
def audiences(
    run: str,
    rate: int | None,
    duration: float | None,
    json_path: str | None,
    **arguments: object,
) -> None:
    """Send user tags and queries, and grade every answer.

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
    grade(run, lambda: _prepared(run, rate, duration, arguments), json_path)


def _prepared(
    run: str, rate: int | None, duration: float | None, arguments: dict[str, object]
) -> "tuple[Plan, Options, Audiences]":
    import msgspec  # noqa: PLC0415 - see the top

    from penstock.load.audiences.plans import PLANS, Options  # noqa: PLC0415 - see the top
    from penstock.load.audiences.workload import Audiences  # noqa: PLC0415 - see the top
    from penstock.load.plans import tailored  # noqa: PLC0415 - see the top

    options = msgspec.convert(arguments, Options)
    plan = tailored(PLANS[run], rate=rate, duration=duration, changes=arguments)
    options.check(plan)
    return plan, options, Audiences(options, plan)
