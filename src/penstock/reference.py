"""The pages of docs/reference, made from the code, so that they cannot say what is not there.

`python -m penstock.reference FOLDER` writes them; a test holds them against the code.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import cast

import click
import msgspec
from msgspec import inspect as shapes

from penstock.cli import cli
from penstock.core import errors
from penstock.core.edge.asgi import Endpoint
from penstock.core.health import Health
from penstock.core.manifest import Ingest, Manifest, Route
from penstock.core.platform import Platform
from penstock.core.projection import Fold, Projection
from penstock.core.settings import CONFIG_VARIABLE, PREFIX, Settings
from penstock.core.telemetry import METRICS
from penstock.main import APPLICATIONS

FIRST_LINE = "<!-- Generated from the code; do not edit, run `make docs`. -->"

_CLI_COLUMNS = 88
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*?)\n\) (ENGINE.*?);", re.DOTALL)
_COLUMN = re.compile(r"^\s+(\w+)\s+(.+?),?$", re.MULTILINE)
_AS_IT_IS = ("#", "|", "```")
_SENTENCE_END = re.compile(r"\. (?=[A-Z`])")
_CODEC = re.compile(r"\s+CODEC\(.*\)$")


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "settings.md": settings_page(APPLICATIONS),
        "events.md": events_page(APPLICATIONS),
        "read-models.md": read_models_page(APPLICATIONS),
        "http.md": http_page(APPLICATIONS),
        "errors.md": errors_page(APPLICATIONS),
        "metrics.md": metrics_page(METRICS),
        "commands.md": commands_page(cli),
    }


def write(folder: Path) -> None:
    """Make the folder hold exactly the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for stale in folder.glob("*.md"):
        if stale.name not in made:
            stale.unlink()
    for name, text in made.items():
        (folder / name).write_text(text)


# -- settings -----------------------------------------------------------------------------------


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
    return _page("Settings", parts)


def _settings_table(struct: type[msgspec.Struct], prefix: str) -> str:
    rows = []
    for field in cast("shapes.StructType", shapes.type_info(struct)).fields:
        kind, description = field.type, ""
        if isinstance(kind, shapes.Metadata):
            description = str((kind.extra_json_schema or {}).get("description", ""))
            kind = kind.type
        default = f"`{_spelled(field.default)}`" if field.default != "" else "empty"
        name = f"`{prefix}{field.name.upper()}`"
        rows.append((f"`{field.name}`", name, default, _kind(kind), description))
    return _table(("name", "variable", "default", "takes", "meaning"), rows)


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


# -- events -------------------------------------------------------------------------------------


def events_page(manifests: Sequence[Manifest]) -> str:
    parts = [
        """
        An event is stored as a MessagePack array: its wire name, then its fields in this order.
        Versions are append-only: a new field goes to the end and has a default.
        """
    ]
    for manifest in manifests:
        for topic in manifest.topics:
            parts.append(f"## Topic `{topic.name}`")
            for event in topic.events:
                parts += _event(event)
    return _page("Events", parts)


def _event(event: type[msgspec.Struct]) -> list[str]:
    notes = dict(_field_notes(event))
    rows = [
        (str(position), f"`{name}`", f"`{annotation}`", notes.get(name, ""))
        for position, (name, annotation) in enumerate(_annotations(event), start=1)
    ]
    name = event.__struct_config__.tag
    return [
        f"### `{name}`",
        inspect.getdoc(event) or "",
        _table(("position", "field", "type", "meaning"), rows),
    ]


def _annotations(struct: type[msgspec.Struct]) -> list[tuple[str, str]]:
    return [
        (node.target.id, ast.unparse(node.annotation))
        for node in _body(struct)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def _field_notes(struct: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """The strings that stand below fields."""
    body = _body(struct)
    for node, following in pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            yield node.target.id, " ".join(str(following.value.value).split())


def _body(struct: type[msgspec.Struct]) -> list[ast.stmt]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(struct)))
    return cast("ast.ClassDef", tree.body[0]).body


# -- read models --------------------------------------------------------------------------------


def read_models_page(manifests: Sequence[Manifest]) -> str:
    parts = [
        """
        Read models are what projections make of the log: tables in the warehouse, spaces in the
        state.
        Each can be dropped and rebuilt with `penstock rebuild NAME`.
        """
    ]
    for manifest in manifests:
        parts.append(f"## {manifest.name}")
        text = (files(manifest.package) / "tables.sql").read_text()
        parts.append(
            _table(
                ("read model", "kind", "reads the topic"),
                [_read_model(projection) for projection in manifest.projections],
            )
        )
        for found in _TABLE.finditer(text):
            parts += _sql_table(found, _comment_before(text, found.start()))
    return _page("Read models", parts)


def _read_model(projection: Projection) -> tuple[str, str, str]:
    kind = "table of the warehouse"
    if isinstance(projection, Fold):
        depth = f", {projection.keep} entries of a group" if projection.keep else ""
        kind = f"space of the state{depth}"
    return (f"`{projection.name}`", kind, f"`{projection.topic.name}`")


def _sql_table(found: re.Match[str], comment: str) -> list[str]:
    name, columns, engine = found.groups()
    rows = [
        (f"`{column}`", f"`{_CODEC.sub('', kind)}`") for column, kind in _COLUMN.findall(columns)
    ]
    clauses = [" ".join(line.split()) for line in engine.partition("\nSETTINGS")[0].splitlines()]
    layout = ", ".join(f"`{clause}`" for clause in clauses)
    return [f"### `{name}`", comment, f"Stored as {layout}.", _table(("column", "type"), rows)]


def _comment_before(text: str, position: int) -> str:
    lines: list[str] = []
    for line in reversed(text[:position].rstrip("\n").splitlines()):
        if not line.startswith("--"):
            break
        lines.insert(0, line.removeprefix("--").strip())
    return " ".join(lines)


# -- HTTP ---------------------------------------------------------------------------------------


def http_page(manifests: Sequence[Manifest]) -> str:
    parts = [
        """
        A path parameter is percent-decoded and never empty.
        An answer that is an error has the body `{"error": CODE, "message": TEXT}`; see
        [errors](errors.md).
        An `X-Request-Id` that comes with a request goes back with its answer.
        """
    ]
    for manifest in manifests:
        offers: list[Ingest | Route] = [*manifest.ingest, *manifest.routes]
        rows = [_operation(offer) for offer in offers]
        parts += [f"## {manifest.name}", manifest.summary, _table(_HTTP_HEAD, rows)]
    parts += ["## Operations", _table(_HTTP_HEAD, _health_operations())]
    return _page("HTTP", parts)


_HTTP_HEAD = ("method", "path", "operation", "largest body", "what it does")


def _operation(offer: Ingest | Route) -> tuple[str, ...]:
    size = f"{offer.body_bytes_max:,} bytes"
    return (f"`{offer.method}`", f"`{offer.path}`", f"`{offer.operation}`", size, offer.summary)


class _Recorder:
    """Stands in for a platform, to be offered what a platform is offered."""

    def __init__(self) -> None:
        self.edge = self
        self.added: list[tuple[str, str, Endpoint]] = []

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        self.added.append((method, path, endpoint))


def _health_operations() -> list[tuple[str, ...]]:
    recorder = _Recorder()
    Health(cast("Platform", recorder)).offer()
    return [
        (
            f"`{method}`",
            f"`{path}`",
            f"`{endpoint.operation}`",
            f"{endpoint.body_bytes_max:,} bytes",
            _summary(endpoint.answer),
        )
        for method, path, endpoint in recorder.added
    ]


def _summary(described: object) -> str:
    return " ".join((inspect.getdoc(described) or "").split("\n\n")[0].split())


# -- errors -------------------------------------------------------------------------------------


def errors_page(manifests: Sequence[Manifest]) -> str:
    classes = sorted(_error_classes(), key=lambda kind: (kind.status, kind.default_code))
    statuses = {kind.default_code: kind.status for kind in classes}
    parts = [
        """
        After any error nothing of the request was stored.
        A 4xx says that the request has to change; only 408 and 5xx are worth sending again.
        A 503 to an event says in `Retry-After` when.
        """,
        "## Core",
        _table(
            ("status", "code", "meaning"),
            [(str(kind.status), f"`{kind.default_code}`", _summary(kind)) for kind in classes],
        ),
    ]
    for manifest in manifests:
        rows = [
            (str(statuses.get(code, errors.Rejected.status)), f"`{code}`", meaning)
            for code, meaning in manifest.errors.items()
        ]
        parts += [f"## {manifest.name}", _table(("status", "code", "meaning"), rows)]
    return _page("Errors", parts)


def _error_classes() -> Iterator[type[errors.PenstockError]]:
    """Those a client can be answered with."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.PenstockError):
            inside = kind.status == errors.PenstockError.status
            if kind is errors.PenstockError or not inside:
                yield kind


# -- metrics and commands -----------------------------------------------------------------------


def metrics_page(metrics: dict[str, str]) -> str:
    rows = [(f"`{name}`", meaning) for name, meaning in metrics.items()]
    parts = [
        """
        `GET /metrics` answers in the text form of Prometheus.
        There the name of a counter ends in `_total`, and a histogram has `_bucket`, `_sum` and
        `_count`.
        """,
        _table(("metric", "meaning and remedy"), rows),
    ]
    return _page("Metrics", parts)


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
    return _page("Commands", parts)


def commands(command: click.Command, path: str = "penstock") -> Iterator[tuple[str, click.Command]]:
    """The command and everything below it, each with its whole name."""
    if command.hidden:
        return
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}")


# -- Markdown -----------------------------------------------------------------------------------


def _page(title: str, parts: Iterable[str]) -> str:
    texts = [part if part.startswith(_AS_IT_IS) else _prose(part) for part in parts]
    return "\n\n".join([FIRST_LINE, f"# {title}", *(text for text in texts if text)]) + "\n"


def _prose(text: str) -> str:
    """One sentence a line, as in all our Markdown."""
    return _SENTENCE_END.sub(".\n", " ".join(text.split()))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m penstock.reference FOLDER\n")
        return 2
    write(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
