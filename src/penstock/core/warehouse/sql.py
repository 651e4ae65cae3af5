"""SQL lives in `.sql` files: statements of a schema, and queries under a name and a question."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from penstock.core.warehouse.cluster import SHARD_BY
from penstock.core.warehouse.pull import Pull

_TOPIC = re.compile(r"^-- topic: (\S+)\s*$", re.MULTILINE)
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def schema(package: str) -> list[str]:
    """The statements of the package's `tables.sql`, if there is one, each with its shard key above
    it, if any.
    """
    file = files(package) / "tables.sql"
    return statements(file.read_text()) if file.is_file() else []


def statements(text: str) -> list[str]:
    parts = _without_comments(text).split(";")
    return [part.strip() for part in parts if part.strip()]


@cache
def queries(package: str) -> dict[str, str]:
    """The statements of the package's `queries.sql`, by the name in `-- name: …` above each."""
    text = (files(package) / "queries.sql").read_text()
    return {name: _statement(part) for name, part in _named(text)}


def pulls(package: str) -> list[Pull]:
    """What the package's `pull.sql` says, if there is one: tables, topics and selects."""
    file = files(package) / "pull.sql"
    return [
        Pull(table, _TOPIC.findall(part)[0], _statement(part))
        for table, part in (_named(file.read_text()) if file.is_file() else ())
    ]


def _named(text: str) -> Iterator[tuple[str, str]]:
    parts = _NAME.split(text)
    return zip(parts[1::2], parts[2::2], strict=True)


def _statement(part: str) -> str:
    return _without_comments(part).strip().removesuffix(";")


def _without_comments(text: str) -> str:
    return "\n".join(
        line
        for line in text.splitlines()
        if line.startswith(SHARD_BY) or not line.lstrip().startswith("--")
    )


def quoted(text: str) -> str:
    """As a text of a statement."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
