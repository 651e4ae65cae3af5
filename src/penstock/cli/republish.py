"""`penstock republish`: all that people have set is said anew to whoever goes by it."""

import click

from penstock.cli.operator import data_option


@click.command()
@data_option
def republish(data: str | None) -> None:
    """Say anew all that people have set.

    It goes to the log, and so to whoever goes by it. It is for after a restore of the database, or
    of the log without it: the log then knows of changes that the database lacks, or the other way
    round. What the database does not have is forgotten by all. Nothing is changed in the database;
    what is said leaves at once where a server runs, and with its next start where none does.
    """
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy

    with operations(data) as operating:
        said = operating.republish()
    for application, count in said.items():
        click.echo(f"{application}: {count} entities")
