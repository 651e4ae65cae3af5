"""Every command of every page is run, in the order of reading, after an unclean stop too.

Reliability 52. What no test machine can run is named here with its reason, and nothing else is.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.certificates import pair
from e2e.reader import ROOT, Block, Reader, kinds, steps
from penstock.apps.audiences.events import TagRecorded
from penstock.apps.audiences.projections import TAGS
from penstock.core.clock import SystemClock
from penstock.core.log.sqlite import Limits, SqliteLog
from support.clickhouse import ThinServer
from support.logs import add

pytestmark = pytest.mark.timeout(900)  # a busy machine is no failure

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "reference").glob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
SHOWN = {"python", "json", "text", "toml", "ini", "nginx", "sql", "yaml", "csv"}
"""Kinds of blocks that are looked at; what is run is `bash`."""

EMBEDDED = ("README.md", "docs/getting-started.md", "docs/operations.md")
CLICKHOUSE = ("docs/clickhouse.md",)
SHARED = ("docs/scaling.md", "CONTRIBUTING.md")
REFERENCE = "docs/reference/http.md"
WRITING = "docs/write-an-application.md"

INSTALLS = "gets a gigabyte from the network; `make setup` of the same has been run for the tests"
DOCKER = "needs Docker, or a cluster; tests/deploy holds its files against the code"
HELM = "helm install events deploy/helm/penstock --set image.repository=registry.example/penstock"
NOT_RUN = {
    ("README.md", "pip install . && penstock serve"): INSTALLS,
    ("CONTRIBUTING.md", "make check"): "runs the tests",
    (WRITING, "make setup"): INSTALLS,
    ("docs/operations.md", "python3 -m venv /opt/penstock"): INSTALLS,
    (
        "docs/operations.md",
        "penstock schedules run wallet.statement --interval 2026-03-28",
    ): "no application that is served by default has a schedule",
    ("docs/scaling.md", "pip install '.[kafka,postgresql,redis]'"): INSTALLS,
    ("docs/deployment.md", "cd deploy"): DOCKER,
    ("docs/deployment.md", "docker compose exec api penstock topics"): DOCKER,
    ("docs/deployment.md", "docker compose build migrate"): DOCKER,
    ("docs/deployment.md", "docker compose stop"): DOCKER,
    (
        "docs/deployment.md",
        "docker build -f deploy/Dockerfile -t registry.example/penstock:0.1.0 .",
    ): DOCKER,
    ("docs/deployment.md", HELM): DOCKER,
}
FAILS = frozenset({"1: penstock dead-letters retry audiences_tags --all"})
"""It ends so where nothing was mended, as here."""

Read = Callable[..., Reader]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run(page: str) -> list[Block]:
    return [step for step in steps(ROOT / page) if (page, step.name) not in NOT_RUN]


# -- nothing is left out ------------------------------------------------------------------------


def test_what_is_not_run_is_listed_and_what_is_listed_is_there() -> None:
    blocks = {(named(page), step.name) for page in PAGES for step in steps(page) if step.name}
    walked = {*EMBEDDED, *CLICKHOUSE, *SHARED, REFERENCE, WRITING}

    assert {block for block in blocks if block[0] not in walked} <= NOT_RUN.keys()
    assert NOT_RUN.keys() <= blocks


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_block_is_for_is_said_by_its_kind(page: Path) -> None:
    assert kinds(page) <= SHOWN | {"bash"}


# -- reading ------------------------------------------------------------------------------------


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    opened: list[Reader] = []

    def reading(**replaced: str) -> Reader:
        opened.append(Reader(tmp_path, replaced))
        return opened[-1]

    yield reading
    for reader in opened:
        reader.close()


def follow(reader: Reader, page: str) -> None:
    for step in run(page):
        if step.kind == "stop":
            reader.stop()
        else:
            reader.follow(step, may_fail=FAILS)


def test_the_first_hour_is_as_the_pages_say(read: Read) -> None:
    """From the clone to the restored backup, and what an operator does afterwards."""
    reader = read()
    for page in EMBEDDED[:2]:
        follow(reader, page)
        if page == "README.md":
            said = reader.refused("make load\n")  # of the server that the page has started
            assert "already, and answers can be graded only where nobody else sends" in said
        reader.stop()
    assert reader.said().count('"process.stopped"') == 4, "but for the one that was killed"
    installed(reader.root)
    for step in run(EMBEDDED[2]):
        if step.heading == "Backup":
            reader.stop(signal.SIGKILL)  # an unclean stop, of which backups know
        if step.kind == "bash":
            reader.follow(step, may_fail=FAILS)


def installed(root: Path) -> None:
    """What operations.md finds: a log with a dead letter, and a certificate."""
    logged(root / "var/lib/penstock")
    for made in (root / "backup", root / "etc/penstock"):
        made.mkdir(parents=True)
    certificate, key = pair(root / "etc/penstock")
    certificate.rename(root / "etc/penstock/fullchain.pem")
    key.rename(root / "etc/penstock/privkey.pem")


def logged(folder: Path) -> None:
    """A log of 1,100 records, one of which nobody can read."""
    folder.mkdir(parents=True)
    clock, encode = SystemClock(), TAGS.codec().encode
    records = [encode(tag_recorded(clock.now_ms() + n, n)) for n in range(1_100)]
    records[1042] = b"no event at all"
    log = SqliteLog(folder / "log.db", clock, Limits())
    add(log, *records, topic=TAGS.name)
    log.close()


def tag_recorded(at_ms: int, number: int) -> TagRecorded:
    return TagRecorded(
        at_ms, 3, f"c{number % 9}", "PL", "PC", "VIEW", "TEST", number, "Acme", "Hats", 100
    )


def test_a_server_answers_every_example_as_the_reference_says(read: Read) -> None:
    reader = read()
    reader.follow(Block("bash", "penstock serve", [], ""))
    follow(reader, REFERENCE)


def test_an_application_is_written_as_the_page_says(read: Read) -> None:
    follow(read(), WRITING)


def test_the_warehouse_moves_to_a_server_as_the_page_says(read: Read, tmp_path: Path) -> None:
    with ThinServer(tmp_path / "clickhouse") as server:
        reader = read(
            **{
                "clickhouse://penstock:PASSWORD@host:8123/penstock": server.url(),
                "clickhouse://host:8123/penstock": server.url(),
            }
        )
        for page in CLICKHOUSE:
            follow(reader, page)


def test_one_machine_grows_into_many_processes_as_the_pages_say(
    read: Read, fetched: None, tmp_path: Path
) -> None:
    """With events in ./data from before, which stay there, and then move."""
    logged(tmp_path / "clone" / "data")
    reader = read(
        **{"kafka://broker1:9092": "$PENSTOCK_LOG", "redis://host:6379/0": "$PENSTOCK_STATE"}
    )
    for page in SHARED:
        follow(reader, page)
        reader.stop()
