"""What stands against a view: told to all processes, kept once, and taken back by who found it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.core.errors import Damaged, Disproved
from penstock.core.projection import verdicts
from penstock.core.watch import Watch
from support import notes
from support.carried import Carried, watching
from support.logs import wait_until
from support.notes import note


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Carried]:
    made = Carried(tmp_path)
    yield made
    made.close()


def test_a_process_that_only_answers_learns_what_another_one_found(carried: Carried) -> None:
    consumer = carried.consumer(notes.index)
    watch = watching(carried, [consumer])
    for partition in (0, 300):
        verdicts.note(carried.state, "tests.notes", partition, "the log is another one")
    watch.vouch_sound("tests.notes")
    watch._look()
    with pytest.raises(Disproved, match="the log is another one"):
        watch.vouch_sound("tests.notes")
    verdicts.note(carried.state, "tests.notes", 0, "")
    watch._look()
    assert watch.problem("tests.notes") == "the log is another one"
    verdicts.note(carried.state, "tests.notes", 300, "")
    watch._look()
    watch.vouch_sound("tests.notes")


def test_a_process_that_starts_answers_nothing_that_another_one_disproved(carried: Carried) -> None:
    """Also of a projection that it carries itself, where it is the other one's partition."""
    verdicts.note(carried.state, "tests.notes", 1, "the log is another one")
    note(carried.log, 0)
    consumer = carried.consumer(notes.index)
    watch = watching(carried, [consumer])
    watch.begin()
    consumer.start()
    try:
        assert consumer.looked()
        with pytest.raises(Disproved, match="the log is another one"):
            watch.vouch_sound("tests.notes")
        verdicts.note(carried.state, "tests.notes", 0, "its own position, which is proved again")
        verdicts.note(carried.state, "tests.notes", 1, "")
        consumer.hear()
        watch.vouch_sound("tests.notes")
    finally:
        consumer.stop()


def test_what_stands_against_a_view_has_one_keeper(
    carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 46: a look takes back what looks found; what a cursor met, a rebuild only."""
    note(carried.log, 0)
    consumer = carried.consumer(notes.index)
    watch = watching(carried, [consumer])
    lost = ["half of it"]
    missing = pytest.MonkeyPatch()
    missing.setattr(consumer.sink, "lacks", lambda **_: lost[0])
    consumer.start()
    try:
        assert consumer.looked()
        wait_until(lambda: looked_at(watch) and consumer.state == "stopped")  # no batch in hand
        with pytest.raises(Damaged, match="half of it"):
            watch.vouch("tests.notes")
        consumer._take(frozenset())
        consumer._take(frozenset({0}))
        assert consumer.state == "stopped", "whoever takes a partition over carries nothing either"
        lost[0] = ""
        watch._look()
        wait_until(lambda: watch.problem("tests.notes") == "")
        assert consumer.state == "running"
        found = Damaged("tests.notes", "what a cursor met")
        with consumer.paused():
            monkeypatch.setattr(consumer.cursors[0], "advance", raising(found))
            with closing(carried.log.reader()) as reader:
                consumer._advance(consumer.cursors[0], reader)
        monkeypatch.undo()
        watch._look()
        with pytest.raises(Damaged, match="what a cursor met"):
            watch.vouch("tests.notes")
        assert consumer.state == "stopped"
        consumer.begin()
        wait_until(lambda: watch.problem("tests.notes") == "")
    finally:
        missing.undo()
        consumer.stop()


def looked_at(watch: Watch) -> bool:
    watch._look()
    return True


def raising(error: Exception) -> Callable[[object], None]:
    def fail(_: object) -> None:
        raise error

    return fail
