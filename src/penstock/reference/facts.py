"""What is stored: events in the log, and the read models made of them."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import pairwise
from typing import cast

import msgspec

from penstock.core.manifest import Manifest
from penstock.core.projection import Fold, Index, Projection
from penstock.core.warehouse.cluster import SHARD_BY
from penstock.reference.markdown import page, table

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*?)\n\) (ENGINE.*?);", re.DOTALL)
_COLUMN = re.compile(r"^\s+(\w+)\s+(.+?),?$", re.MULTILINE)
_SHARD_KEY = re.compile(rf" *{SHARD_BY.removeprefix('--').strip()} (.+)$")
_CODEC = re.compile(r"\s+CODEC\(.*\)$")


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
    return page("Events", parts)


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
        table(("position", "field", "type", "meaning"), rows),
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
            table(
                ("read model", "kind", "reads the topic"),
                [_read_model(projection) for projection in manifest.projections],
            )
        )
        for found in _TABLE.finditer(text):
            parts += _sql_table(found, _comment_before(text, found.start()))
    return page("Read models", parts)


def _read_model(projection: Projection) -> tuple[str, str, str]:
    kind = "table of the warehouse"
    if isinstance(projection, Index):
        depth = f", {projection.keep} entries of a group" if projection.keep else ""
        kind = f"space of the state{depth}"
    if isinstance(projection, Fold):
        emits = ", ".join(f"`{topic.name}`" for topic in projection.emits)
        mirror = "".join(f", mirrored in `{table}`" for table in projection.tables)
        kind = "state of each key" + mirror + (f", emits to {emits}" if emits else "")
    return (f"`{projection.name}`", kind, f"`{projection.topic.name}`")


def _sql_table(found: re.Match[str], comment: str) -> list[str]:
    name, columns, engine = found.groups()
    rows = [
        (f"`{column}`", f"`{_CODEC.sub('', kind)}`") for column, kind in _COLUMN.findall(columns)
    ]
    clauses = [" ".join(line.split()) for line in engine.partition("\nSETTINGS")[0].splitlines()]
    layout = ", ".join(f"`{clause}`" for clause in clauses)
    stored = f"Stored as {layout}."
    if key := _SHARD_KEY.search(comment):
        comment, stored = comment[: key.start()], f"{stored}\nOn a cluster sharded by `{key[1]}`."
    return [f"### `{name}`", comment, stored, table(("column", "type"), rows)]


def _comment_before(text: str, position: int) -> str:
    lines: list[str] = []
    for line in reversed(text[:position].rstrip("\n").splitlines()):
        if not line.startswith("--"):
            break
        lines.insert(0, line.removeprefix("--").strip())
    return " ".join(lines)
