"""When a projection that failed tries again, and when it says that it has recovered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.test_projection_runner import Running, exactly, lone_cursor, reach
from penstock.core.warehouse import Unavailable
from support.logs import wait_until
from support.notes import note, rows_of


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("call", ["plan", "insert"])
def test_one_that_fails_before_the_same_block_has_not_recovered_and_backs_off(
    running: Running, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """To resume, and to send again what is in already, work on a full disk too."""
    note(running.log, *range(10))
    cursor, reader = lone_cursor(running), running.log.reader()
    cursor.begin()
    cursor.advance(reader)
    while cursor.position < 10:
        cursor.advance(reader)
    note(running.log, 10)
    waits = list[float]()

    def full(*_: object) -> None:
        raise Unavailable("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(running.warehouse, call, full)
        while cursor.failures < 8:
            if wait := cursor.due(0.0):
                waits.append(wait)
                running.clock.seconds += wait
            cursor.advance(reader)
            assert (cursor.state, cursor.position <= 10) == ("retrying", True) or not waits
    assert running.lines.named("projection.recovered") == []
    failed = running.lines.named("projection.failed")
    assert [line["attempts"] for line in failed] == list(range(1, 9))
    assert waits[-1] > 8 * waits[0]
    running.clock.seconds += 60
    while cursor.failures:
        cursor.advance(reader)
    assert (cursor.state, cursor.position) == ("running", 11)
    (line,) = running.lines.named("projection.recovered")
    assert line["attempts"] == 8
    assert rows_of(running.warehouse) == exactly(11)


def test_what_nobody_foresaw_is_retried_later_and_later_and_shown_without_its_words(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("/a/folder")

    note(running.log, 1)
    with monkeypatch.context() as patched:
        patched.setattr(running.log, "end", broken)
        running.table.start()
        wait_until(lambda: running.table.cursors[0].failures >= 4)
        assert running.table.state == "retrying"
        assert running.table.last_error == "OSError: OSError"
    assert reach(running.table, 1)
    wait_until(lambda: running.table.state == "running")
    failed = running.lines.named("projection.failed")
    assert failed[0]["error"] == "OSError: /a/folder"
    assert len(failed) == failed[-1]["attempts"]
    assert len(running.lines.named("projection.recovered")) == 1
