"""The real process, ended at any moment: what it acknowledged is there, once, in every answer."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.history import History
from support.process import COMMAND, PATIENCE_SECONDS, Connection, Process, caught_up, clean

KILL_ROUNDS = int(os.environ.get("KILL_ROUNDS", "10"))
_FULL_CHECKS = {10 << n for n in range(10)} | {KILL_ROUNDS}
"""After these rounds all tags are looked at, otherwise those of the round."""
Start = Callable[..., Process]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def begin(folder: Path, **environment: str) -> Process:
        started.append(Process(folder, environment))
        return started[-1]

    yield begin
    for process in started:
        process.end()


def check_pipeline(pipeline: dict[str, Any], stored: int) -> None:
    """The account is balanced, and both views have all there is."""
    (topic,) = pipeline["topics"]
    assert topic["balanced"]
    assert topic["end"] == stored
    assert sum(minute["stored"] for minute in topic["minutes"]) == stored
    assert pipeline["log"]["last_error"] == ""
    for stage in pipeline["projections"]:
        assert (stage["state"], stage["position"], stage["dead_lettered"]) == ("running", stored, 0)


def test_what_was_acknowledged_survives_every_kill(data: Path, start: Start) -> None:
    """Reliability 1."""
    history, chance = History(), random.Random()
    origins: list[str] = []
    stored = 0
    process = start(data)
    for number in range(1, KILL_ROUNDS + 1):
        origins.append(f"round {number}")
        with history.load(process.url, origins[-1]):
            time.sleep(chance.uniform(0.05, 0.8))
            process.kill()
        if chance.random() < 0.2:  # also while it starts and recovers
            starting = start(data)
            time.sleep(chance.uniform(0.1, 1.5))
            starting.kill()
        process = start(data)
        pipeline = caught_up(process.url)
        stored += len(history.check(process.url, {origins[-1]}))
        if number < 50:  # the pipeline shows the last hour
            check_pipeline(pipeline, stored)
        if number in _FULL_CHECKS:
            assert len(history.check(process.url, set(origins))) == stored
    assert len(history.acknowledged) > KILL_ROUNDS


def test_a_stop_under_load_answers_what_it_took_and_loses_nothing(data: Path, start: Start) -> None:
    """Reliability 17."""
    history = History()
    process = start(data)
    with history.load(process.url, "before"):
        time.sleep(1.0)
        assert process.stop() == 0
    assert history.acknowledged
    assert not (data / "control.json").exists()
    again = start(data)
    pipeline = caught_up(again.url)
    check_pipeline(pipeline, len(history.check(again.url, {"before"})))
    assert again.stop() == 0


def test_a_stopped_process_leaves_no_request_without_an_answer(data: Path, start: Start) -> None:
    """Reliability 17: what was under way is finished; connections are closed between two."""
    history = History()
    process = start(data)
    with history.load(process.url, "before"):
        time.sleep(0.5)
        process.stop()
    again = start(data)
    caught_up(again.url)
    there = history.check(again.url, {"before"})
    unanswered = [sent for sent in history.unsettled if sent.products[0] in there]
    assert unanswered == []


def test_a_second_process_on_the_folder_is_refused_at_once(data: Path, start: Start) -> None:
    """Reliability 39."""
    process = start(data)
    assert process.url
    second = start(data)
    assert second.process.wait(PATIENCE_SECONDS) == 2
    (line,) = second.errors().splitlines()
    assert line.startswith("penstock: ")
    assert f"is in use by process {process.process.pid}; stop it" in line
    connection = Connection(process.url)
    assert connection.ask("GET", "/healthz")[0] == 200
    connection.close()


def test_of_two_started_at_once_one_serves(data: Path, start: Start) -> None:
    """Reliability 39: neither was there first."""
    both = [start(data), start(data)]
    until(lambda: any(one.process.poll() is not None for one in both))
    (refused,) = [one for one in both if one.process.poll() is not None]
    (serving,) = [one for one in both if one is not refused]
    assert refused.process.returncode == 2
    assert "is in use by process" in refused.errors()
    history = History()
    history.send(serving.url, "first", 60)
    caught_up(serving.url)
    assert len(history.check(serving.url, {"first"})) == 60
    assert serving.stop() == 0


def test_an_unknown_setting_stops_the_start_and_names_the_nearest(data: Path, start: Start) -> None:
    process = start(data, PENSTOCK_HEAD_BYTE_MAX="100")
    assert process.process.wait(PATIENCE_SECONDS) == 2
    (line,) = process.errors().splitlines()
    assert "PENSTOCK_HEAD_BYTE_MAX" in line
    assert "did you mean PENSTOCK_HEAD_BYTES_MAX?" in line
    assert not data.exists()


@pytest.mark.parametrize("lost", ["warehouse", "state", "both"])
def test_a_store_that_was_removed_is_filled_again_from_the_log(
    data: Path, start: Start, lost: str
) -> None:
    """Reliability 46."""
    history = History()
    process = start(data)
    for origin in ("one", "two"):
        history.send(process.url, origin, 150)
    caught_up(process.url)
    assert process.stop() == 0
    for folder in ("warehouse", "state") if lost == "both" else (lost,):
        shutil.rmtree(data / folder)
    again = start(data)
    check_pipeline(caught_up(again.url), 300)
    assert len(history.check(again.url, {"one", "two"})) == 300


@pytest.mark.parametrize("store", ["warehouse", "state"])
def test_a_store_that_was_rolled_back_goes_on_from_what_it_knows(
    data: Path, tmp_path: Path, start: Start, store: str
) -> None:
    """Reliability 9."""
    history = History()
    for origin in ("one", "two", "three"):
        process = start(data)
        for _ in range(3):  # several blocks
            history.send(process.url, origin, 60)
            caught_up(process.url)
        assert process.stop() == 0
        if origin == "one":
            shutil.copytree(data / store, tmp_path / "older", symlinks=True)
    shutil.rmtree(data / store)
    shutil.copytree(tmp_path / "older", data / store, symlinks=True)
    again = start(data)
    check_pipeline(caught_up(again.url), 540)
    assert len(history.check(again.url, {"one", "two", "three"})) == 540


def test_a_log_that_was_rolled_back_is_noticed(data: Path, tmp_path: Path, start: Start) -> None:
    """Reliability 45."""
    history = History()
    for turn in ("one", "two"):
        process = start(data)
        history.send(process.url, turn, 100)
        caught_up(process.url)
        assert process.stop() == 0
        if turn == "one":
            shutil.copy(data / "log.db", tmp_path / "older.db")
    shutil.copy(tmp_path / "older.db", data / "log.db")
    again = start(data)
    connection = Connection(again.url)
    until(lambda: not ready(connection))
    status, problems = connection.ask("GET", "/readyz")
    assert status == 503
    assert b"an older copy of it was put back" in problems
    connection.close()


def ready(connection: Connection) -> bool:
    return connection.ask("GET", "/readyz")[0] == 200


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_folder_that_is_away_for_a_while_is_said_and_got_over(data: Path, start: Start) -> None:
    """Reliability 44."""
    history = History()
    process = start(data)
    connection = Connection(process.url)
    for turn in range(2):
        history.send(process.url, f"before {turn}", 60)
        caught_up(process.url)
        elsewhere = data.with_name("elsewhere")
        data.rename(elsewhere)
        until(lambda: not ready(connection))
        _, problems = connection.ask("GET", "/readyz")
        assert b"disk" in problems
        assert str(data.parent).encode() not in problems
        assert connection.ask("GET", "/healthz")[0] == 200
        with history.load(process.url, f"away {turn}", queries=""):
            time.sleep(1.5)  # longer than good news of the disk hold
        status, answer = connection.ask("POST", "/user_tags", b"{}")
        assert (status, str(data.parent).encode() in answer) == (400, False)
        elsewhere.rename(data)
        until(lambda: ready(connection))
        history.send(process.url, f"after {turn}", 60)
    check = {f"{when} {turn}" for when in ("before", "away", "after") for turn in range(2)}
    pipeline = caught_up(process.url)
    stored = len(history.check(process.url, check))
    check_pipeline(pipeline, stored)
    connection.close()
    assert process.stop() == 0
    again = start(data)
    caught_up(again.url)
    assert len(history.check(again.url, check)) == stored


@pytest.mark.parametrize(
    ("dies", "event", "reason"),
    [
        ("core.log.sqlite:SqliteLog._turn", "log.failed", "fatal: the log's thread failed"),
        ("core.log.checkpoint:Checkpoints._run", "thread.died", "penstock-checkpoint has died"),
        ("core.projection.runner:Consumer._run", "thread.died", "penstock-audiences"),
        ("core.schedules.scheduler:Scheduler._run", "thread.died", "penstock-schedules has died"),
        ("core.poller:Poller._run", "thread.died", "has died; restart"),
        ("core.edge.listener:Listener.sweep", "task.died", "has died; restart"),
    ],
)
def test_a_thread_that_dies_is_a_process_that_ends(
    data: Path, dies: str, event: str, reason: str
) -> None:
    """Reliability 44: the real command, in which one function raises."""
    module, _, place = dies.partition(":")
    owner, _, name = place.partition(".")
    kind = "async def" if event == "task.died" else "def"
    code = f"""
import sys, threading, time
from penstock.cli import main
from penstock.{module} import {owner}
{kind} die(*_):
    while threading.excepthook is threading.__excepthook__:
        time.sleep(0.01)  # until it serves
    raise RuntimeError("nobody foresaw it")
{owner}.{name} = die
sys.argv = sys.argv[1:]
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, COMMAND, "serve", "--port", "0", "--data", str(data)],
        env={**clean(), "PENSTOCK_LOG_FORMAT": "json", "PENSTOCK_DISK_FREE_BYTES_MIN": "0"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    (fatal,) = [line for line in lines if line["event"] == "process.fatal"]
    assert reason in fatal["reason"]
    assert "nobody foresaw it" in next(
        line["exception"] for line in lines if line["event"] == event
    )
