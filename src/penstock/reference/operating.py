"""What operators see: settings, metrics and commands."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import click
import msgspec
from msgspec import inspect as shapes

from penstock.core.manifest import Manifest
from penstock.core.settings import CONFIG_VARIABLE, PREFIX, Settings
from penstock.reference.markdown import page, table

_CLI_COLUMNS = 88


def settings_page(manifests: Sequence[Manifest]) -> str:
    parts = [
        f"""
        The command line wins over the environment, and the environment over the TOML file that
        `{CONFIG_VARIABLE}` names.
        In the file a setting of the core stands at the top under its name, and the settings of an
        application stand in a table of the application's name.
        An unknown setting stops the start and names the nearest known one.
        """,
        "## Core",
        _settings_table(Settings, PREFIX),
    ]
    for manifest in manifests:
        prefix = f"{PREFIX}{manifest.name.upper()}_"
        parts += [f"## {manifest.name}", _settings_table(manifest.settings, prefix)]
    return page("Settings", parts)


def _settings_table(struct: type[msgspec.Struct], prefix: str) -> str:
    rows = [
        (
            f"`{setting.name}`",
            f"`{setting.variable}`",
            f"`{setting.default}`" if setting.default else "empty",
            _kind(setting.kind),
            setting.meaning,
        )
        for setting in settings_of(struct, prefix)
    ]
    return table(("name", "variable", "default", "takes", "meaning"), rows)


class Setting(NamedTuple):
    name: str
    variable: str
    default: str
    kind: shapes.Type
    meaning: str


def settings_of(struct: type[msgspec.Struct], prefix: str) -> Iterator[Setting]:
    """Its fields, as somebody sets them."""
    for field in cast("shapes.StructType", shapes.type_info(struct)).fields:
        kind, meaning = field.type, ""
        if isinstance(kind, shapes.Metadata):
            meaning = str((kind.extra_json_schema or {}).get("description", ""))
            kind = kind.type
        variable = f"{prefix}{field.name.upper()}"
        yield Setting(field.name, variable, _spelled(field.default), kind, meaning)


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(kind: shapes.Type) -> str:
    """What a setting takes, in words."""
    match kind:
        case shapes.BoolType():
            return "`on` or `off`"
        case shapes.IntType() | shapes.FloatType():
            word = "whole number" if isinstance(kind, shapes.IntType) else "number"
            if kind.ge is not None and kind.le is not None:
                return f"{word} from {kind.ge} to {kind.le}"
            return f"{word} from {kind.ge} on" if kind.ge is not None else word
        case shapes.StrType(pattern=str(pattern)):
            words = pattern.strip("^$()").split("|")
            return ", ".join(f"`{word}`" for word in words)
        case _:
            return "text"


def metrics_page(metrics: dict[str, str], manifests: Sequence[Manifest]) -> str:
    rows = [(f"`{name}`", meaning) for name, meaning in metrics.items()]
    numbers = [
        (f'`penstock_application{{number="{name}"}}`', meaning)
        for manifest in manifests
        for name, meaning in manifest.counters.items()
    ]
    parts = [
        """
        `GET /metrics` answers in the text form of Prometheus.
        There the name of a counter ends in `_total`, and a histogram has `_bucket`, `_sum` and
        `_count`.
        """,
        table(("metric", "meaning and remedy"), [*rows, *numbers]),
    ]
    return page("Metrics", parts)


def commands_page(root: click.Group) -> str:
    parts = [
        """
        A mistake that has a remedy is one line on standard error and the exit status 2.
        """
    ]
    for path, command in commands(root):
        context = click.Context(
            command,
            info_name=path,
            terminal_width=_CLI_COLUMNS,
            max_content_width=_CLI_COLUMNS,
            help_option_names=["-h", "--help"],
        )
        parts += [f"## `{path}`", f"```text\n{command.get_help(context)}\n```"]
    return page("Commands", parts)


def commands(command: click.Command, path: str = "penstock") -> Iterator[tuple[str, click.Command]]:
    """The command and everything below it, each with its whole name."""
    if command.hidden:
        return
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}")
