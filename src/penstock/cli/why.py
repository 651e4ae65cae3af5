"""`penstock why`: what a projection knows of a key, and the records that made it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from penstock.cli.listing import echo_rows
from penstock.cli.operator import data_option

if TYPE_CHECKING:
    from penstock.core.projection.why import Heard


@click.command()
@click.argument("projection")
@click.argument("key")
@click.option("--project", default="default", show_default=True, help="Whose key it is.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="Show at most so many records, the newest.",
)
@data_option
def why(projection: str, key: str, project: str, limit: int, data: str | None) -> None:
    """Show what a fold knows of KEY, and the records that made it.

    It reads all that the log has of the topic. A decision can be made again from these records: a
    fold hears nothing else.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy
    from penstock.core.projection.why import Asked  # noqa: PLC0415 - heavy

    with operations(data) as operating, Bar("reading", "records") as bar:
        found = operating.why(Asked(projection, key, project, limit), bar.move)
    click.echo(f"key      {found.key} of {found.project}")
    click.echo(f"state    {found.state or 'nothing is known of it'}")
    for one in found.waits:
        what = f"job {one.job}" if one.job else "timer"
        click.echo(f"waits    {one.name}, a {what}, until {_at(one.at_ms)}")
    for partition, start in found.start.items():
        click.echo(f"log      begins at {start} in partition {partition}; what was before is gone")
    if found.earlier:
        click.echo(f"records  {found.earlier} before these; --limit shows more")
    if found.records:
        rows = [
            (f"{heard.partition}/{heard.offset}", _at(heard.at_ms), _event(heard))
            for heard in found.records
        ]
        echo_rows(("record", "taken", "event"), rows)
    else:
        such_as = f"; keys are spelled as {found.such_as!r}" if found.such_as else ""
        click.echo(f"records  none that the log has{such_as}")


def _event(heard: "Heard") -> str:
    if heard.repeats is None:
        return heard.event
    return f"{heard.event} repeats {heard.partition}/{heard.repeats}, and is left out"


def _at(ms: int) -> str:
    try:
        at = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, ValueError):
        return f"{ms} ms"
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
