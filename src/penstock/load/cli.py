"""The `load` command group: a command for each workload, run against a server."""

import click

from penstock.load.audiences.cli import audiences


@click.group()
def load() -> None:
    """Send a reference workload, and grade every answer."""


load.add_command(audiences)
