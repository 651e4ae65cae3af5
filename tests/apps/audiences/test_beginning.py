"""A log that is gone or empty beside views of it is no new one (reliability 45)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from apps.audiences.served import Served
from apps.audiences.tags import a_tag
from penstock.cli import cli
from penstock.core.errors import Misconfigured
from penstock.main import build
from support.damage import emptied, removed

TAGS = 3


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "data")
    served.tags(a_tag(cookie="ann") for _ in range(TAGS))
    served.settle()
    served.platform.close()
    yield served
    served.close()


@pytest.mark.parametrize("damage", [emptied, removed])
def test_a_log_that_is_gone_or_empty_stops_the_start_until_it_or_the_views_are_moved(
    stopped: Served, damage: Callable[[Path], None]
) -> None:
    """Reliability 45: SQLite would make a new one, and take events into it."""
    log = stopped.folder / "log.db"
    content = log.read_bytes()
    assert not log.with_name("log.db-wal").exists()
    damage(log)
    there = sorted(path.name for path in stopped.folder.iterdir())
    with pytest.raises(Misconfigured) as refused:
        stopped._open()
    said = str(refused.value)
    assert f"{log}: it is {'empty' if damage is emptied else 'gone'}" in said
    assert f"holds what the first {TAGS} records of it made" in said
    assert "restore a backup" in said
    doctor = CliRunner().invoke(cli, ["doctor", "--data", str(stopped.folder)])
    assert doctor.exit_code == 1
    assert f"holds what the first {TAGS} records of it made" in doctor.output
    assert sorted(path.name for path in stopped.folder.iterdir()) == there, "nothing is made"
    log.write_bytes(content)
    stopped.platform = stopped._open()
    stopped.until("/readyz", 200)


@pytest.mark.parametrize("kept", ["state", "warehouse"])
def test_either_kind_of_view_is_enough_and_without_both_the_log_begins(
    stopped: Served, kept: str
) -> None:
    for folder in {"state", "warehouse"} - {kept}:
        (stopped.folder / folder).rename(stopped.folder / f"{folder}-aside")
    emptied(stopped.folder / "log.db")
    name = {"state": "audiences.profiles", "warehouse": "audiences_tags"}[kept]
    with pytest.raises(Misconfigured, match=f"{name} holds what the first {TAGS} records"):
        stopped._open()
    (stopped.folder / kept).rename(stopped.folder / f"{kept}-aside")
    stopped.platform = stopped._open()
    stopped.until("/readyz", 200)


def test_whoever_only_follows_waits_for_a_log_with_something_in_it(stopped: Served) -> None:
    emptied(stopped.folder / "log.db")
    with pytest.raises(Misconfigured, match=r"there is no log .* to follow yet"):
        build({}, {"data": str(stopped.folder)}, roles=["api", "work"])
    assert (stopped.folder / "log.db").stat().st_size == 0
