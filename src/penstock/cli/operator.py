"""`penstock rebuild` and `penstock topics`."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from penstock.cli.listing import echo_rows

if TYPE_CHECKING:
    from penstock.core.listed import TopicLine
    from penstock.core.projection.shadows import Rebuilt

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False),
    help="Folder of the embedded engines.  [default: PENSTOCK_DATA, or data]",
)


@click.command()
@click.argument("projection")
@click.option(
    "--from-scratch",
    is_flag=True,
    help="Do not compare: the log or the form of the read model is another.",
)
@click.option("--dry-run", is_flag=True, help="Build and compare, but keep what there is.")
@click.option(
    "--accept-loss", is_flag=True, help="Let it take its place though it has less than there is."
)
@click.option(
    "--muted",
    is_flag=True,
    help="From scratch, of a fold: the log has what it says already, as a copy of another log has.",
)
@data_option
def rebuild(
    projection: str,
    data: str | None,
    *,
    from_scratch: bool,
    dry_run: bool,
    accept_loss: bool,
    muted: bool,
) -> None:
    """Rebuild a read model from the log.

    It goes into a shadow, is compared with what there is, and takes its place, unless it has less.
    Where the log was trimmed, only those partitions of a table are made anew that it covers whole.
    The exit status is 1 when they differ, or when what there is was kept for that.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating, Bar(f"rebuilding {projection}", "records") as bar:
        rebuilt = operating.rebuild(
            projection,
            bar.move,
            from_scratch=from_scratch,
            dry_run=dry_run,
            accept_loss=accept_loss,
            muted=muted,
        )
    tell(rebuilt, dry_run=dry_run)


def tell(rebuilt: "Rebuilt", *, dry_run: bool = False) -> None:
    """Exit with 1 when both differ, or when what there is was kept."""
    fate = "swapped in" if rebuilt.swapped else "kept as it was"
    click.echo(f"{rebuilt.projection}: {rebuilt.records} records, {fate}")
    if rebuilt.kept:
        click.echo("what the log does not cover any more stays:")
        for one in rebuilt.kept:
            click.echo(f"  {one}")
    if rebuilt.lost:
        click.echo("what was built has less than what there is:")
        for loss in rebuilt.lost:
            click.echo(f"  {loss}")
        if not rebuilt.swapped and not dry_run:
            click.echo("to have it all the same, add --accept-loss")
    if not rebuilt.compared:
        click.echo("not compared")
    elif not rebuilt.differences:
        click.echo("equal")
    else:
        click.echo("different:")
        for difference in rebuilt.differences:
            click.echo(f"  {difference}")
    if rebuilt.differences or (rebuilt.lost and not rebuilt.swapped):
        sys.exit(1)


@click.command()
@data_option
def topics(data: str | None) -> None:
    """List topics: what is kept, and how far projections are.

    `since` is when the log took the oldest record that it keeps. What a topic is kept for may be
    held up by projections that lack it: they are named.
    """
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        lines = operating.topics()
    rows = [
        (line.topic, str(line.partition), _kept(line), _since(line), _bytes(line), str(line.start),
         str(line.end), name, str(position), str(line.end - max(position, line.start)))
        for line in lines
        for name, position in line.projections.items() or [("", line.end)]
    ]  # fmt: skip
    head = ("topic", "partition", "kept", "since", "bytes", "first", "next")
    echo_rows((*head, "projection", "position", "behind"), rows)


def _kept(line: "TopicLine") -> str:
    return f"{line.kept}, waits for {' and '.join(line.waits)}" if line.waits else line.kept


def _since(line: "TopicLine") -> str:
    if not line.since_ms:
        return "-"
    return datetime.fromtimestamp(line.since_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bytes(line: "TopicLine") -> str:
    return "-" if line.bytes is None else str(line.bytes)
