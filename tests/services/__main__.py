"""`python -m services fetch|start|stop`: what `make services` and its relatives do."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from services import jars, kafka, packages
from services.packages import Missing
from services.process import NotStarted
from services.running import Services


@click.group()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=jars.SERVICES,
    help="Where their data, logs and addresses are.",
)
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """Kafka, PostgreSQL and Redis for tests, on loopback and without containers."""
    context.obj = folder


@main.command()
def fetch() -> None:
    """Install what is missing, and download Kafka."""
    with _alone(jars.SERVICES):
        _fetch()


@main.command()
@click.pass_obj
def start(folder: Path) -> None:
    """Fetch and start them, unless they run."""
    with _alone(jars.SERVICES):
        _fetch()
        record = Services(folder).start()
    click.echo(
        f"Kafka at {record.bootstrap}, Redis at {record.redis}, PostgreSQL at "
        f"{record.postgresql}; . {folder}/env leads there"
    )


@main.command()
@click.pass_obj
def stop(folder: Path) -> None:
    """End what `start` started; the data stays."""
    with _alone(jars.SERVICES):
        Services(folder).stop()


def _fetch() -> None:
    packages.install(
        ["java", "nginx", "postgres", "redis-server", *([] if jars.fetched() else ["mvn"])]
    )
    jars.fetch()
    kafka.prepare()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two commands at once would fetch into one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        except (Missing, NotStarted) as error:
            raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
