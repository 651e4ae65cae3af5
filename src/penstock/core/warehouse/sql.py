"""SQL lives in `.sql` files: statements of a schema, and queries under a name and a question."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def schema(package: str) -> list[str]:
    """The statements of the package's `tables.sql`."""
    text = _without_comments((files(package) / "tables.sql").read_text())
    return [statement.strip() for statement in text.split(";") if statement.strip()]


@cache
def queries(package: str) -> dict[str, str]:
    """The statements of the package's `queries.sql`, by the name in `-- name: …` above each."""
    parts = _NAME.split((files(package) / "queries.sql").read_text())
    return {
        name: _without_comments(statement).strip().removesuffix(";")
        for name, statement in zip(parts[1::2], parts[2::2], strict=True)
    }


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
