"""The `load` command group: a command for each workload, run against a server."""

import sys
from importlib import import_module
from pathlib import Path

import click

from penstock.load.audiences.cli import audiences


class _Workloads(click.Group):
    """Ours, and of every other application that of its package: `command` of the module `load`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or _of_package(cmd_name, ctx)


def _of_package(package: str, context: click.Context) -> click.Command:
    """It is looked for where PENSTOCK_APPLICATIONS looks for applications."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    module = f"{package}.load"
    try:
        found = getattr(import_module(module), "command", None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            told = f"{module} needs {error.name}, which is not installed"
            raise click.UsageError(told, context) from error
        raise click.UsageError(
            f"there is no workload {package}; ours are audiences, and no module {error.name} is "
            "found: start in the folder that it lies in, name that in PYTHONPATH, or install it",
            context,
        ) from error
    if not isinstance(found, click.Command):
        raise click.UsageError(f"{module} has no click command `command`", context)
    return found


@click.group(cls=_Workloads)
def load() -> None:
    """Send a reference workload, and grade every answer.

    Of an application that is none of ours, name the package: the command is `command` of its module
    `load`.
    """


load.add_command(audiences)
