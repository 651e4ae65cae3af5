"""The documentation says what is true: generated pages are current, links lead somewhere, commands
exist, and the walks of the README and of getting-started really work."""

import difflib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from penstock import reference
from penstock.cli import cli
from penstock.reference.operating import commands

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
]
WALKS = [ROOT / "README.md", DOCS / "getting-started.md"]

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]*)(?:#([\w-]+))?\)")
CODE = re.compile(r"```(\w*)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s;&|/])(make|penstock)((?: +[a-z][\w-]*)+)")
HOUR = re.compile(r"\d{4}-\d\d-\d\dT\d\d(?=:)")
HOUR_SET = re.compile(r"^HOUR=.*\n", re.MULTILINE)
README_URL = "http://127.0.0.1:8080"
PATIENCE_SECONDS = 20.0


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


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "reference"],
                         ids=named)  # fmt: skip
def test_every_command_that_is_mentioned_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {path for path, _ in commands(cli)}
    unknown = [
        f"{program} {' '.join(words)}"
        for program, words in spoken(page)
        if (program == "make" and words[0] not in targets)
        or (program == "penstock" and f"penstock {words[0]}" not in known)
    ]

    assert unknown == []


def test_the_makefile_describes_every_target() -> None:
    text = (ROOT / "Makefile").read_text()

    assert re.findall(r"^\.PHONY: (\S+)", text, re.MULTILINE) == re.findall(
        r"^([a-z-]+):.*## \S", text, re.MULTILINE
    )


# -- walks --------------------------------------------------------------------------------------


class Server:
    """`penstock serve` in a folder of its own, always at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("penstock"), "serve", "--port", str(self.port)],
            cwd=self.folder,
            env=clean_environment(),
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                with urlopen(f"{self.url}/readyz", timeout=5):
                    return
            except (URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(f"not ready after {PATIENCE_SECONDS} seconds")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_SECONDS)


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        server.stop()


def steps(page: Path) -> list[tuple[str, list[str]]]:
    """Shell blocks, each with the lines that the page shows as its output."""
    blocks = [(kind, text) for kind, text, _ in CODE.findall(page.read_text()) if kind]
    found = []
    for (kind, text), (following, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "bash":
            shows = following in ("json", "text")
            found.append((text, shown.splitlines() if shows else []))
    return found


@pytest.mark.e2e
@pytest.mark.parametrize("page", WALKS, ids=named)
def test_a_walk_shows_what_the_page_shows(page: Path, server: Server) -> None:
    hour = time.strftime("%Y-%m-%dT%H", time.gmtime())
    for text, shown in steps(page):
        if text == "make run\n":
            server.start()
        elif "pip install" not in text:
            follow(HOUR_SET.sub("", text), shown, server, hour)
            if "kill -9" in text and server.process is not None:
                server.process.wait(PATIENCE_SECONDS)


def follow(text: str, shown: list[str], server: Server, hour: str) -> None:
    """Run the step; a query may take a moment to show what was sent before."""
    asks = "/user_tags" not in text.rpartition("curl")[2]
    deadline = time.monotonic() + (PATIENCE_SECONDS if asks else 0.0)
    while True:
        printed = shell(text, server, hour)
        missing = [line for line in shown if HOUR.sub("", line) not in HOUR.sub("", printed)]
        if not missing:
            return
        assert time.monotonic() < deadline, f"{text}\nprinted\n{printed}\nand not\n{missing}"
        time.sleep(0.1)


def shell(text: str, server: Server, hour: str) -> str:
    text = text.replace(README_URL, server.url)
    text = text.replace(".venv/bin/penstock", str(Path(sys.executable).with_name("penstock")))
    done = subprocess.run(
        ["bash", "-c", f"set -eu\n{text}"],
        cwd=server.folder,
        env=clean_environment() | {"HOUR": hour},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout.replace("\r", "")
