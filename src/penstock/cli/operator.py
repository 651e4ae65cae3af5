"""`penstock rebuild` and `penstock topics`."""

import os
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import click

from penstock.cli.listing import echo_rows

if TYPE_CHECKING:
    from penstock.core.projection.rebuild import Rebuilt

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
@data_option
def rebuild(
    projection: str, data: str | None, *, from_scratch: bool, dry_run: bool, accept_loss: bool
) -> None:
    """Rebuild a read model from the log.

    It goes into a shadow, is compared with what there is, and takes its place, unless it has less.
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
        )
    tell(rebuilt, dry_run=dry_run)


def tell(rebuilt: "Rebuilt", *, dry_run: bool = False) -> None:
    """Exit with 1 when both differ, or when what there is was kept."""
    fate = "swapped in" if rebuilt.swapped else "kept as it was"
    click.echo(f"{rebuilt.projection}: {rebuilt.records} records, {fate}")
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
    """List the log's topics, their offsets and sizes, and how far each projection is.

    A topic's bytes are told of an embedded log that can be read.
    """
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        lines = operating.topics()
    sizes = _sizes(data)
    rows = [
        (line.topic, str(line.partition), str(line.start), str(line.end),
         sizes.get(line.topic, "-"), name, str(position), str(line.end - position))
        for line in lines
        for name, position in line.projections.items() or [("", line.end)]
    ]  # fmt: skip
    head = ("topic", "partition", "first", "next", "bytes", "projection", "position", "behind")
    echo_rows(head, rows)


def _sizes(data: str | None) -> dict[str, str]:
    """Bytes of each topic, without those that are not known."""
    import apsw  # noqa: PLC0415 - heavy

    from penstock.core.engines import is_embedded, own_file  # noqa: PLC0415 - heavy
    from penstock.core.errors import NotReady  # noqa: PLC0415 - heavy
    from penstock.core.log.sqlite_reader import SqliteReader  # noqa: PLC0415 - heavy
    from penstock.main import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(os.environ, {} if data is None else {"data": data})
    sizes: dict[str, str] = {}
    if is_embedded(settings.log_url):
        with (
            suppress(NotReady, apsw.Error),
            closing(SqliteReader(own_file(settings))) as reader,
        ):
            for topic in reader.topics():
                sizes[topic] = str(reader.bytes_of(topic))
    return sizes
