"""The size and shape of the code, and what may stand in it. Exceptions may only become fewer."""

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from penstock.core.manifest import Manifest
from penstock.core.warehouse.sql import queries
from penstock.main import manifests

ROOT = Path(__file__).parents[1]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

TOO_LONG_FOR_NOW: set[str] = set()
"""May only shrink: an entry that is no longer needed fails too."""

VAGUE_NAMES = {
    "base", "common", "helper", "helpers", "manager", "misc", "service", "tools", "types", "util",
    "utils",
}  # fmt: skip

MUTE = re.compile(r"#\s*(noqa|type:\s*ignore)\b(?P<rest>.*)")
CODED_AND_REASONED = re.compile(
    r":\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*\s+-\s+\S"
    r"|\[[a-z-]+(,\s*[a-z-]+)*\]\s+#\s+\S"
)
UNFINISHED = re.compile(r"\b(FIXME|TODO|XXX|HACK)\b")  # tidy: the rule itself

MANIFESTS = (*manifests(), *manifests("wallet"))
"""Ours, and the example's."""

TABLE_NAME = re.compile(r"\b(?:TABLE(?: IF NOT EXISTS)?|FROM|JOIN|INTO)\s+([A-Za-z_]\w*)")


def sources() -> list[Path]:
    return [
        path
        for folder in ("src", "tests", "bench", "attackers", "examples")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.is_relative_to(ROOT / "bench" / "references")
    ]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def long_files() -> set[str]:
    return {
        named(path) for path in sources() if len(path.read_text().splitlines()) > FILE_LINES_MAX
    }


def long_functions() -> set[str]:
    return {
        f"{named(path)}::{node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    }


def test_code_is_short_enough_to_hold_in_the_head() -> None:
    assert long_files() | long_functions() == TOO_LONG_FOR_NOW


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {named(path): path.parent.name if path.stem == "__init__" else path.stem
             for path in sources()}  # fmt: skip

    assert [path for path, name in names.items() if name in VAGUE_NAMES] == []


def test_no_module_that_can_be_imported_alone_hides_one_of_the_standard_library() -> None:
    top = [path for folder in ("src", "tests", "bench") for path in (ROOT / folder).iterdir()]

    assert [named(path) for path in top if path.stem in sys.stdlib_module_names] == []


def comments(path: Path, about: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """To tell a comment from a text takes long, so only where there is anything of the kind."""
    if not about.search(path.read_text()):
        return
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield f"{named(path)}:{token.start[0]}", token.string


def test_every_mute_names_its_rule_and_its_reason() -> None:
    bare = [
        f"{place} {comment}"
        for path in sources()
        for place, comment in comments(path, MUTE)
        if (mute := MUTE.search(comment)) and not CODED_AND_REASONED.match(mute["rest"])
    ]

    assert bare == []


def test_nothing_is_left_to_be_done_in_a_comment() -> None:
    left = [
        f"{place} {comment}"
        for path in sources()
        for place, comment in comments(path, UNFINISHED)
        if UNFINISHED.search(comment) and "tidy:" not in comment
    ]

    assert left == []


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.name)
def test_an_application_s_sql_names_only_its_own_tables(manifest: Manifest) -> None:
    package = manifest.package
    foreign = [
        f"{name}: {table}"
        for name in ("tables.sql", "queries.sql", "pull.sql")
        if (files(package) / name).is_file()
        for table in tables_in((files(package) / name).read_text())
        if not table.startswith(f"{package.rpartition('.')[2]}_")
    ]

    assert foreign == []


def tables_in(sql: str) -> list[str]:
    return TABLE_NAME.findall(re.sub(r"--.*", "", sql))


def test_every_query_asks_for_the_rows_of_one_project() -> None:
    for manifest in MANIFESTS:
        for name, query in queries(manifest.package).items():
            assert "{project:String}" in query, f"{name} of {manifest.name}"


def test_every_query_begins_with_its_question() -> None:
    for manifest in MANIFESTS:
        text = (files(manifest.package) / "queries.sql").read_text()
        for query in text.split("-- name: ")[1:]:
            name, question, *_ = query.splitlines()

            assert question.startswith("-- "), f"{manifest.name}: {name}"
