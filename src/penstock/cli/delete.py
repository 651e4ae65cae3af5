"""`penstock delete`: the rows of a project, or of one subject of it."""

import click

from penstock.cli.listing import echo_rows
from penstock.cli.operator import data_option


@click.command()
@click.option("--project", required=True, help="Whose rows.")
@click.option("--subject", default="", help="Only those about this one of the project.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def delete(project: str, subject: str, data: str | None, *, yes: bool) -> None:
    """Delete rows of a project or a subject.

    They go from all tables: those of a project, or of one subject of it. It shows how many each
    table has, and which tables cannot tell, and asks. The log and the state keep what they have: a
    rebuild brings the rows back.
    """
    from penstock.cli.progress import Bar  # noqa: PLC0415 - heavy
    from penstock.cli.remote import operations  # noqa: PLC0415 - heavy
    from penstock.core.projection.deleting import Whose  # noqa: PLC0415 - heavy

    whose = Whose(project, subject)
    with operations(data) as operating:
        found = operating.deletable(whose)
        rows = [(one.table, "-" if one.kept else f"{one.rows:,}", one.kept) for one in found]
        echo_rows(("table", "rows", "stays, for"), rows)
        if not (total := sum(one.rows for one in found)):
            click.echo("nothing to delete")
            return
        if not yes:
            click.confirm(
                f"Delete these {total:,} for good? The log keeps the records.", abort=True
            )
        with Bar("deleting", "tables") as bar:
            deleted = operating.delete(whose, bar.move)
    for one in deleted:
        click.echo(f"{one.table}: {one.rows:,} rows deleted")
