"""`penstock migrate` and `penstock copy`: to other engines, and their topics and tables."""

import os
import sys
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from penstock.cli.operator import data_option


@click.command()
@data_option
def migrate(data: str | None) -> None:
    """Create the topics and tables that are missing.

    Run it before the first start on engines that other processes share, and after an upgrade. What
    is there already stays as it is, but for how long topics are kept, and for columns with a
    default that a table lacks; these are added. A log that an older version made is written anew
    once topics are not kept for ever, so that it can become smaller; stop its server first. What
    differs from the settings is named.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.main import prepare  # noqa: PLC0415 - heavy

    for line in prepare(os.environ, {} if data is None else {"data": data}, Bar):
        click.echo(line)


@click.command()
@click.option("--from", "source", required=True, metavar="URL", help="Log to read; it stays.")
@click.option("--to", "target", required=True, metavar="URL", help="Log to fill; it must be empty.")
@data_option
def copy(source: str, target: str, data: str | None) -> None:
    """Carry all events of one log into another, and compare.

    Records keep the times at which they were taken. Idempotency keys go along: on Kafka they are
    those of the edge that has the data folder. From one embedded log to another, what folds have
    said is known there as theirs.

    Stop every process first. Afterwards set PENSTOCK_LOG to the new URL and rebuild the read models
    with --from-scratch. The exit status is 1 when counts or checksums differ.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.core import engines  # noqa: PLC0415 - heavy
    from penstock.core.clock import SystemClock, careful  # noqa: PLC0415 - heavy
    from penstock.core.copying import Copy  # noqa: PLC0415 - heavy
    from penstock.core.folder import FolderLock  # noqa: PLC0415 - heavy
    from penstock.main import manifests, read_settings  # noqa: PLC0415 - heavy

    overrides: dict[str, object] = {} if data is None else {"data": data}
    reading = read_settings(os.environ, {**overrides, "log": source})
    writing = read_settings(os.environ, {**overrides, "log": target})
    topics = [
        topic for application in manifests(reading.applications) for topic in application.topics
    ]
    if _folder(source):
        engines.log_file(reading)
    with ExitStack() as locked:
        folders = {_folder(source) or reading.folder, _folder(target) or writing.folder}
        for folder in {folder.resolve() for folder in folders}:  # one may be named in two ways
            locked.callback(FolderLock(folder, "edge").release)
        with ExitStack() as opened:
            names = [topic.name for topic in topics]
            follow = opened.enter_context(closing(engines.follow_log(reading, names)))
            log = opened.enter_context(
                closing(engines.open_log(writing, careful(SystemClock()), names))
            )
            bar = opened.enter_context(Bar("copying", "records"))
            read, write = (partial(engines.codec_of, settings) for settings in (reading, writing))
            found = Copy(follow, log, topics, read=read, write=write).run(bar.move)
        files = engines.own_file(reading), engines.own_file(writing)
        carried = _carry_keys(*files)
        if _folder(source) and _folder(target) and not any(of.renumbered for of in found):
            _carry_origins(*files)
    for copied in found:
        verdict = "equal" if copied.equal else "DIFFERENT"
        click.echo(f"{copied.topic}: {verdict}")
        click.echo(f"  {source}: {copied.source}")
        click.echo(f"  {target}: {copied.target}")
        if copied.source.damaged:
            click.echo(f"  {copied.source.damaged} records of the source are damaged and missing")
    click.echo(f"idempotency keys: {carried}")
    if not all(copied.equal and not copied.source.damaged for copied in found):
        sys.exit(1)


def _carry_keys(source: Path, target: Path) -> int:
    """How many are in the target that were not."""
    from penstock.core.log.carrying import carry_keys  # noqa: PLC0415 - heavy

    return carry_keys(source, target) if source.is_file() and source != target else 0


def _carry_origins(source: Path, target: Path) -> None:
    from penstock.core.log.carrying import carry_origins  # noqa: PLC0415 - heavy

    carry_origins(source, target)


def _folder(url: str) -> Path | None:
    """The folder that an embedded log lies in, whose processes must be stopped."""
    parts = urlsplit(url)
    return Path(parts.path).parent if parts.scheme == "sqlite" else None
