"""`penstock backup` and `penstock salvage`: the embedded log, kept safe and brought back."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.operator import data_option

if TYPE_CHECKING:
    from penstock.core.log.backup import Contents

_LOWEST = 19
"""So whoever else this user runs in the same session goes first."""
_rate = click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="MB/S",
    help="Megabytes a second at most, in a tenth of the time at most; 0: as fast as it can.",
)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def backup() -> None:
    """Back up the embedded log, prove a backup, restore one."""


@backup.command()
@click.argument("folder", type=_FOLDER)
@_rate
@data_option
def create(folder: Path, rate: float, data: str | None) -> None:
    """Back the log up to FOLDER, and the embedded database.

    It must not exist yet, or be empty. A server may go on serving meanwhile: every event that was
    acknowledged before is in it. FOLDER gets its name when all of it is on the disk, and checked.
    It lets the server go first: it reads, writes and checks a little at a time, and takes longer on
    a machine that is busy.
    """
    os.nice(_LOWEST)
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.core import engines  # noqa: PLC0415 - heavy
    from penstock.core.log import backup as backups  # noqa: PLC0415 - heavy
    from penstock.core.log.pace import Pace  # noqa: PLC0415 - heavy
    from penstock.main import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(os.environ, {} if data is None else {"data": data})
    log = engines.log_file(settings)
    left = settings.disk_free_bytes_min
    pace, database = Pace(rate * 1e6), engines.database_file(settings)
    made = backups.create(log, folder.absolute(), Bar, pace, free_bytes_min=left, database=database)
    _show(made)


@backup.command()
@click.argument("folder", type=_FOLDER)
@_rate
def verify(folder: Path, rate: float) -> None:
    """Read the whole backup and prove that it is what was written.

    The exit status is 2 when it is not.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.core.log import backup as backups  # noqa: PLC0415 - heavy
    from penstock.core.log.pace import Pace  # noqa: PLC0415 - heavy

    os.nice(_LOWEST)
    _show(backups.verify(folder, Bar, Pace(rate * 1e6)))


@backup.command()
@click.argument("folder", type=_FOLDER)
@click.argument("target", type=_FOLDER)
def restore(folder: Path, target: Path) -> None:
    """Make TARGET a data folder with the log of the backup FOLDER.

    It must hold nothing. Where the backup has a database, that is restored too, and all that
    people have set is said anew at the next start.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.core.log import backup as backups  # noqa: PLC0415 - heavy

    restored = backups.restore(folder, target.absolute(), Bar)
    _show(restored)
    if restored.database:
        from penstock.core.clock import SystemClock  # noqa: PLC0415 - heavy
        from penstock.core.editing.serving import republish_file  # noqa: PLC0415 - heavy

        republish_file(target.absolute() / backups.DATABASE, SystemClock())
    click.echo(f"restored to {target}")
    click.echo(f"the read models are rebuilt at the next start: penstock serve --data {target}")


def _show(contents: "Contents") -> None:
    click.echo(f"made {contents.made_at}, {contents.bytes} bytes")
    if contents.database:
        click.echo(f"database: checksum {contents.database}")
    for one in contents.topics:
        click.echo(f"{one.topic}: {one.records} records, checksum {one.checksum}")
        if one.start:
            click.echo(f"  from record {one.start} on; the log kept none before")
        if (lost := one.next - one.start - one.records) > 0:
            click.echo(f"  {lost} records could not be read in the log any more", err=True)


@click.command()
@click.argument("source", metavar="FROM", type=_FOLDER)
@click.argument("target", metavar="TO", type=_FOLDER)
def salvage(source: Path, target: Path) -> None:
    """Copy what can be read of a damaged log into a new folder.

    What cannot be read is listed. TO must hold nothing. FROM is only read; stop its server first.
    Records keep their numbers. The exit status is 1 when something is lost.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.core import engines  # noqa: PLC0415 - heavy
    from penstock.core.log import salvage as salvaging  # noqa: PLC0415 - heavy
    from penstock.main import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings({}, {"data": str(source)})
    found = salvaging.salvage(engines.log_file(settings), target.absolute(), Bar)
    for topic in found.topics:
        click.echo(f"{topic.name}: {topic.records} records copied")
        for lost in topic.lost:
            count = lost.next - lost.first
            click.echo(f"  lost: {count} records, {lost.first} to {lost.next - 1}")
        if not topic.end_known:
            click.echo("  how many there were cannot be read; more may be lost at the end")
    for what in found.lacking:
        click.echo(f"not copied: {what}")
    click.echo(f"the read models are rebuilt at the next start: penstock serve --data {target}")
    if found.lacking or any(topic.lost or not topic.end_known for topic in found.topics):
        sys.exit(1)
