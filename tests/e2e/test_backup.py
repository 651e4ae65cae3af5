"""What was acknowledged before a backup began is in it, whatever the server does meanwhile."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.test_backup import Quiet
from penstock.core.log.backup import create, verify
from penstock.core.log.pace import Pace
from support.commands import penstock
from support.history import History
from support.logs import wait_until
from support.process import COMMAND, Process, caught_up, clean

TAGS = 400
Serve = Callable[[Path], Process]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Process] = []

    def start(folder: Path) -> Process:
        started.append(Process(folder))
        return started[-1]

    yield start
    for process in started:
        process.end()


def restored(serve: Serve, backup: Path, target: Path) -> Process:
    """A server on what a backup holds, once its read models are rebuilt."""
    told = penstock("backup", "verify", backup)
    assert told.status == 0, told
    told = penstock("backup", "restore", backup, target)
    assert told.status == 0, told
    assert f"restored to {target}\n" in told.out
    assert "rebuilt at the next start" in told.out
    process = serve(target)
    caught_up(process.url)
    return process


def test_a_backup_after_a_kill_holds_what_only_the_write_ahead_log_had(
    serve: Serve, tmp_path: Path
) -> None:
    """Reliability 24."""
    history, process = History(), serve(tmp_path / "data")
    history.send(process.url, "before", TAGS)
    process.kill()

    told = penstock("backup", "create", tmp_path / "kept", "--data", tmp_path / "data")
    assert told.status == 0, told
    assert f"audiences.tags: {TAGS} records" in told.out
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"backup.json", "log.db"}

    again = restored(serve, tmp_path / "kept", tmp_path / "again")
    assert len(history.check(again.url, {"before"})) == TAGS


def test_a_backup_beside_a_loaded_server_holds_all_that_came_before(
    serve: Serve, tmp_path: Path
) -> None:
    """Reliability 24."""
    history, process = History(), serve(tmp_path / "data")
    history.send(process.url, "before", TAGS)
    with history.load(process.url, "during"):
        told = penstock("backup", "create", tmp_path / "kept", "--data", tmp_path / "data")
    assert told.status == 0, told
    assert any(sent.origin == "during" for sent in history.acknowledged)
    assert history.unsettled == [], "the backup disturbs nobody"
    caught_up(process.url)
    history.check(process.url, {"before", "during"})

    again = restored(serve, tmp_path / "kept", tmp_path / "again")
    assert len(history.check(again.url, {"before"})) == TAGS
    history.send(again.url, "after", TAGS)
    caught_up(again.url)
    history.check(again.url, {"before", "after"})


def test_whichever_of_the_two_is_killed_the_other_one_goes_on(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 24."""
    history, data, process = History(), tmp_path / "data", serve(tmp_path / "data")
    history.send(process.url, "before", TAGS)
    partial = tmp_path / ".kept.partial"
    with subprocess.Popen(
        [COMMAND, "backup", "create", tmp_path / "kept", "--data", data, "--rate", "0.001"],
        env=clean(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as slow:
        wait_until((partial / "log.db").is_file)
        slow.kill()
    assert partial.exists()
    assert not (tmp_path / "kept").exists()

    class Killing(Quiet):
        killed = False

        def move(self, done: int, total: int) -> None:
            super().move(done, total)
            if not Killing.killed:
                Killing.killed = True
                process.kill()
                history.send(serve(data).url, "meanwhile", TAGS)

    monkeypatch.setattr("penstock.core.log.moment._PIECE_BYTES", 1_000)
    made = create(data / "log.db", tmp_path / "kept", Killing, Pace(0))
    assert [one.records for one in made.topics if one.topic == "audiences.tags"] == [TAGS]
    assert verify(tmp_path / "kept", Quiet, Pace(0)) == made
    assert not partial.exists()


def test_nothing_is_made_where_there_is_no_log(tmp_path: Path) -> None:
    typo = tmp_path / "typo"
    for arguments in (
        ("topics",),
        ("dead-letters", "list"),
        ("rebuild", "audiences_tags"),
        ("events", "audiences.tags"),
        ("status",),
        ("backup", "create", tmp_path / "kept"),
        ("copy", "--from", f"sqlite://{typo}/log.db", "--to", f"sqlite://{tmp_path}/to/log.db"),
    ):
        told = penstock(*arguments, "--data", typo)
        assert told.status == 2, arguments
        assert f"there is no log {typo}/log.db" in told.errors, arguments
        assert "Traceback" not in told.errors
        assert list(tmp_path.iterdir()) == [], arguments


def test_nor_is_a_folder_made_beside_a_log_on_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_LOG", "kafka://127.0.0.1:1")
    for arguments, said in (
        (("topics",), f"there is no {tmp_path}/typo/state"),
        (("status",), f"there is no {tmp_path}/typo/state"),
        (("backup", "create", tmp_path / "kept"), "whose own tools do this"),
        (("events", "audiences.tags"), "whose own tools do this"),
    ):
        told = penstock(*arguments, "--data", tmp_path / "typo", environment=True)
        assert told.status == 2, told
        assert said in told.errors, told
        assert list(tmp_path.iterdir()) == [], arguments
