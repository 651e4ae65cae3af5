"""What is in the log and how its process is, seen beside it and without it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.commands import penstock
from support.disks import flip
from support.history import History
from support.process import COMMAND, Process, caught_up, clean

TAGS = 200


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    started = Process(tmp_path / "data")
    yield started
    started.end()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_shown_beside_a_process_and_followed(process: Process) -> None:
    history = History()
    history.send(process.url, "shown", TAGS)
    told = penstock("events", "audiences.tags", "--data", process.folder)
    assert told.status == 0, told
    shown = lines(told.out)
    assert [line["number"] for line in shown] == list(range(TAGS))
    assert {line["event"]["origin"] for line in shown} == {"shown"}
    assert all(line["time"].endswith("Z") for line in shown)
    some = penstock("events", "audiences.tags", "--data", process.folder, "--from", "7",
                    "--limit", "2")  # fmt: skip
    assert lines(some.out) == shown[7:9]

    following = subprocess.Popen(
        [COMMAND, "events", "audiences.tags", "--data", str(process.folder), "--follow",
         "--from", str(TAGS - 1), "--limit", "21"],
        env=clean(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert following.stdout is not None
    assert json.loads(following.stdout.readline()) == shown[-1]
    history.send(process.url, "later", 20)
    followed = lines(following.stdout.read())
    following.stdout.close()
    assert following.wait() == 0
    assert [line["number"] for line in followed] == list(range(TAGS, TAGS + 20))


def test_whoever_has_seen_enough_may_go(process: Process) -> None:
    History().send(process.url, "shown", TAGS * 5)
    reading = subprocess.Popen(
        [COMMAND, "events", "audiences.tags", "--data", str(process.folder)],
        env=clean(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert reading.stdout is not None
    assert reading.stderr is not None
    assert reading.stdout.readline()
    reading.stdout.close()
    assert reading.stderr.read() == b""
    reading.stderr.close()
    assert reading.wait() == 0


def test_what_is_no_event_any_more_has_a_line_too(process: Process) -> None:
    assert process.url
    history = History()
    history.send(process.url, "shown", 1)  # small enough to stand as it is in the file
    history.send(process.url, "shown", 1)
    assert process.stop() == 0
    flip(process.folder / "log.db", b"Brand 1")
    told = penstock("events", "audiences.tags", "--data", process.folder)
    assert told.status == 0, told
    assert lines(told.out)[0] == {"number": 0, "next": 1, "damaged": "checksum does not match"}
    assert lines(told.out)[1]["number"] == 1


def test_a_topic_that_is_none_is_named(process: Process) -> None:
    assert process.url
    told = penstock("events", "audiences.tag", "--data", process.folder)
    assert told.status == 2
    assert "there are audiences.tags" in told.errors


def test_status_sums_up_a_serving_process_and_a_stopped_one(
    process: Process, tmp_path: Path
) -> None:
    History().send(process.url, "shown", TAGS)
    caught_up(process.url)
    told = penstock("status", "--data", process.folder)
    assert told.status == 0, told
    assert f"process {process.process.pid} serves {process.url}" in told.out
    assert "every view answers" in told.out
    assert f"{TAGS} records, audiences.profiles 0 behind" in told.out

    process.kill()
    told = penstock("status", "--data", process.folder)
    assert told.status == 3, told
    assert "nobody serves" in told.out
    assert f"{TAGS} records" in told.out

    (process.folder / "log.db-wal").unlink()
    (process.folder / "log.db").write_bytes(b"no log" * 10_000)
    told = penstock("status", "--data", process.folder)
    assert told.status == 1
    assert "it is damaged: restore it from a backup" in told.out
    assert "Traceback" not in told.errors

    told = penstock("status", "--data", tmp_path / "typo")
    assert told.status == 2
    assert not (tmp_path / "typo").exists()
