"""Records that did harm are given up by their numbers, beside a process and without it
(reliability 48)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from apps.audiences.tags import a_tag, encoded, instant
from penstock.cli import cli
from penstock.core.log.sqlite import Limits, SqliteLog
from support.clock import MovedClock
from support.commands import penstock
from support.logs import add
from support.process import Connection, Process, caught_up

NOW_MS = time.time_ns() // 60_000_000_000 * 60_000
TABLE = "audiences_tags"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    started = Process(tmp_path / "data", {"PENSTOCK_AUDIENCES_MAX_FUTURE_SKEW_HOURS": "24"})
    yield started
    started.end()


def test_records_are_given_up_by_their_numbers_and_taken_back(process: Process) -> None:
    times = (instant(NOW_MS + minutes * 60_000) for minutes in (-1, 50, 1_400))
    connection = Connection(process.url)
    lines = b"\n".join(encoded(a_tag(time=time)) for time in times)
    assert connection.ask("POST", "/user_tags/batch", lines)[0] == 200
    connection.close()
    caught_up(process.url)
    data = ("--data", process.folder)
    told = penstock("status", *data)
    assert (told.status, "ahead of the clock" in told.out) == (0, True), told

    told = penstock("dead-letters", "give-up", TABLE, "1-2", *data)
    assert told.status == 0, told
    assert "audiences.tags/0/1 {" in told.out

    process.kill()
    told = penstock("dead-letters", "take-back", TABLE, "1", "2", *data)
    assert (told.status, f"{TABLE}: 3 records, swapped in" in told.out) == (0, True), told


@pytest.mark.parametrize("offset", ["7-", "x", "-3", "1-2-3", ""])
def test_what_is_no_number_is_said(offset: str) -> None:
    result = CliRunner().invoke(cli, ["dead-letters", "give-up", TABLE, "--", offset])
    assert (result.exit_code, "is no offset" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("offset", "said"), [("5-2", "say 2-5"), (f"0-{10**15}", "records at once")]
)
def test_a_range_of_nothing_or_of_everything_rebuilds_nothing(offset: str, said: str) -> None:
    for verb in ("give-up", "take-back"):
        result = CliRunner().invoke(cli, ["dead-letters", verb, TABLE, offset])
        assert (result.exit_code, said in result.output) == (2, True)


def test_a_clock_behind_the_log_is_told_before_the_start(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", MovedClock(NOW_MS + 86_400_000), Limits())
    add(log, b"of tomorrow")
    log.close()
    told = penstock("doctor", "--data", tmp_path)
    assert "behind the log's newest record" in told.out
