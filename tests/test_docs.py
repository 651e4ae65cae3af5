"""The documentation says what is true: generated pages are current, links lead somewhere, and
commands exist, with their options. `e2e/test_documents.py` runs what the pages run."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from penstock import reference
from penstock.cli import cli
from penstock.reference.operating import commands
from wallet.load import command

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
]

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]*)(?:#([\w-]+))?\)")
CODE = re.compile(r"```(\w*)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s;&|/])(make|penstock)((?: +[a-z][\w-]*)+)")

OPTIONS = re.compile(r"(?<![\w-])(penstock(?: +[a-z][\w-]*)+)(?: +[^\n;&|]*)?")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    return re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)


# -- generated pages ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_reference_page_says_what_the_code_says(name: str) -> None:
    path = DOCS / "reference" / name
    found = path.read_text() if path.exists() else ""
    difference = "\n".join(
        difflib.unified_diff(
            found.splitlines(), reference.pages()[name].splitlines(), named(path), "the code"
        )
    )

    assert not difference, f"run `make docs`; it changes\n{difference}"


def test_there_is_no_reference_page_but_the_generated_ones() -> None:
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(reference.pages())


# -- links and commands -------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = [
        target
        for target, anchor in LINK.findall(prose(page))
        if "://" not in target and not leads_somewhere(page, target, anchor)
    ]

    assert broken == []


DECISION = re.compile(r"\[decision (\d+)\]\([^)]*?(\d{4})-[^)]*\)|decisions/(\d{4})-([\w-]+)\.md")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_decision_is_called_by_its_number(page: Path) -> None:
    for called, number, mentioned, title in DECISION.findall(page.read_text()):
        assert not called or int(called) == int(number)
        assert not title or (DOCS / "decisions" / f"{mentioned}-{title}.md").exists()


def leads_somewhere(page: Path, target: str, anchor: str) -> bool:
    path = (page.parent / target).resolve() if target else page
    if not path.exists():
        return False
    return not anchor or anchor in anchors(path)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")
            for heading in headings}  # fmt: skip


def test_every_page_can_be_reached_from_the_index() -> None:
    linked, seen = [DOCS / "README.md"], set()
    while linked:
        page = linked.pop()
        if page in seen or page.suffix != ".md" or not page.is_relative_to(DOCS):
            continue
        seen.add(page)
        targets = (target for target, _ in LINK.findall(prose(page)) if "://" not in target)
        linked += [
            path for target in targets if (path := (page.parent / target).resolve()).exists()
        ]

    assert {named(page) for page in DOCS.rglob("*.md")} == {named(page) for page in seen}


def spoken(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Commands in the page's code: `make` or `penstock`, and the words that follow."""
    for _, block, inline in CODE.findall(page.read_text()):
        for program, words in COMMAND.findall(block or inline):
            yield program, words.split()


WRITTEN = [page for page in PAGES if page.parent.name != "reference"]


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_every_option_that_is_mentioned_exists(page: Path) -> None:
    """Of the longest command that the words name: what a line of prose tells is not run."""
    walked = [*commands(cli), ("penstock load wallet", command)]
    known = {path: {option for parameter in command.params for option in parameter.opts}
             for path, command in walked}  # fmt: skip
    unknown = [
        found[0]
        for _, block, inline in CODE.findall(page.read_text())
        for found in OPTIONS.finditer((block or inline).replace("\\\n", " "))
        for words in [found[1].split()]
        for path in [
            next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known), "")
        ]
        if not set(re.findall(r"(?<!\S)--[a-z-]+", found[0])) <= known.get(path, set())
    ]

    assert unknown == []


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_nobody_is_told_to_install_what_is_not_ours(page: Path) -> None:
    """`penstock` on the package index is a stranger's; ours comes from a clone or its wheel."""
    named_ones = re.findall(r"pip install (?:-\S+ )*['\"]?([^\s'\"`]+)", page.read_text())

    assert {name.partition("[")[0] for name in named_ones} <= {"."}


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_every_command_that_is_mentioned_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {path for path, _ in commands(cli)}
    unknown = [
        f"{program} {' '.join(words)}"
        for program, words in spoken(page)
        if (program == "make" and words[0] not in targets)
        or (program == "penstock" and f"penstock {words[0]}" not in known)
    ]

    assert unknown == []


def test_every_command_is_told_in_a_line_of_a_terminal() -> None:
    cut = [
        command.get_help(click.Context(command, info_name=path, terminal_width=80))
        for path, command in commands(cli)
        if isinstance(command, click.Group)
    ]

    assert [line for text in cut for line in text.splitlines()[1:] if line.endswith("...")] == []


def test_the_first_install_says_how_far_it_is() -> None:
    (sync,) = re.findall(r"^SYNC := (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert "uv sync" in sync
    assert "--quiet" not in sync


def test_the_makefile_describes_every_target() -> None:
    text = (ROOT / "Makefile").read_text()

    assert re.findall(r"^\.PHONY: (\S+)", text, re.MULTILINE) == re.findall(
        r"^([a-z0-9-]+):.*## \S", text, re.MULTILINE
    )
