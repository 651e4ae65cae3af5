"""A process beside this one, and every way in which it may end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.core.worker import Worker, WorkerDied
from support.lines import Lines
from support.workers import PATHS

ECHO = "from support.workers import echoes; echoes()"
PATIENCE_SECONDS = 60


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is nicer than others, and so the last to end on a busy machine."""
    monkeypatch.setattr("penstock.core.worker._END_SECONDS_MAX", PATIENCE_SECONDS)


@pytest.fixture
def worker(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    worker = Worker(ECHO, "given", lines.logger)
    yield worker
    worker.rest()


def wait_for_end(pid: int) -> None:
    """Of a child it is the end when it could be waited for."""
    until = time.monotonic() + PATIENCE_SECONDS
    with suppress(FileNotFoundError, ProcessLookupError):
        while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            assert time.monotonic() < until
            time.sleep(0.01)


def test_it_is_started_once_by_a_question_and_ends_at_rest(worker: Worker) -> None:
    assert worker.pid == 0
    assert worker.ask(b"a") == b"\xa5given a "
    pid = worker.pid
    large = bytes(4_194_304)
    assert worker.ask(b"b", large) == b"\xa5given b " + large
    assert worker.pid == pid
    assert worker.rest() == 0
    assert worker.pid == 0
    assert worker.ask(b"c") == b"\xa5given c "


def test_when_it_was_killed_between_two_questions_the_next_one_is_answered(
    worker: Worker, lines: Lines
) -> None:
    worker.ask(b"a")
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.ask(b"b") == b"\xa5given b "
    assert [(line["event"], line["status"]) for line in lines.lines] == [("worker.died", -9)]


def test_when_it_ends_over_a_question_that_one_is_told_and_the_next_is_answered(
    worker: Worker, lines: Lines
) -> None:
    """Two of them: the first may have ended by itself just before."""
    worker.ask(b"a")
    with pytest.raises(WorkerDied):
        worker.ask(b"die")
    assert [(line["event"], line["status"]) for line in lines.lines] == [("worker.died", 7)] * 2
    assert worker.ask(b"a") == b"\xa5given a "


def test_a_question_without_an_end_is_given_up(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setattr("penstock.core.worker._END_SECONDS_MAX", 0.1)
    worker = Worker(ECHO, "given", lines.logger, answer_seconds=0.1)
    with pytest.raises(WorkerDied):
        worker.ask(b"sleep")
    assert worker.pid == 0


def test_signals_are_for_the_process_that_started_it(worker: Worker) -> None:
    worker.ask(b"a")
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    assert worker.ask(b"b") == b"\xa5given b "


def test_what_does_not_start_is_told(lines: Lines) -> None:
    with pytest.raises(WorkerDied):
        Worker("raise SystemExit(3)", None, lines.logger).ask(b"a")
    assert [(line["event"], line["status"]) for line in lines.lines] == [("worker.died", 3)]


def test_it_outlives_nobody() -> None:
    code = (
        "from penstock.core.worker import Worker; from penstock.core.telemetry import logger\n"
        f"import os, time; w = Worker({ECHO!r}, 'x', logger('info', 'json')); w.ask(b'a')\n"
        "print(w.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PATHS},
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_for_end(pid)


@pytest.mark.parametrize(
    ("trick", "did"),
    [
        (b"fork", b"parent"),
        (b"fork and raise", b"parent"),
        (b"read", b"read "),
        (b"have it read", b"read "),
    ],
)
def test_who_forks_or_reads_its_input_neither_answers_nor_takes_the_next_question(
    worker: Worker, trick: bytes, did: bytes
) -> None:
    assert worker.ask(trick) == b"\xa5given %b " % did
    pid = worker.pid
    for question in (b"a", b"b"):
        assert worker.ask(question) == b"\xa5given %b " % question
    assert worker.pid == pid


def test_an_answer_to_another_question_is_nobody_s(worker: Worker) -> None:
    worker.ask(b"a")
    with pytest.raises(WorkerDied, match="answered another question"):
        worker.ask(b"speak")
    assert worker.ask(b"b") == b"\xa5given b "


@pytest.mark.parametrize("trick", [b"leave one", b"leave a fork"])
@pytest.mark.parametrize("how", ["rest", "kill", "die"])
def test_what_it_has_started_does_not_outlive_it(worker: Worker, trick: bytes, how: str) -> None:
    left = int(worker.ask(trick).split()[1])
    assert worker.ask(b"a") == b"\xa5given a "
    if how == "rest":
        assert worker.rest() == 0
    elif how == "kill":
        worker.kill()
    else:
        with pytest.raises(WorkerDied):
            worker.ask(b"die")
    wait_for_end(left)


def test_it_is_of_the_session_of_whom_it_works_for(worker: Worker) -> None:
    """And so of its share of the processors, where those have one for each session."""
    worker.ask(b"a")
    assert os.getsid(worker.pid) == os.getsid(0)
    assert os.getpgid(worker.pid) == worker.pid
