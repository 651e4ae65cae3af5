"""What others would print past our logger."""

import asyncio
import gc
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.core.adoption import adopt, loop_exception_handler
from penstock.core.telemetry import Bounded
from support.clock import MovedClock
from support.lines import Lines


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Of a process whose strays are adopted."""
    found = Lines()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        undo = adopt(found.logger)
        yield found
        undo()


def test_what_a_library_logs_as_a_warning_or_worse_is_a_line(lines: Lines) -> None:
    library = logging.getLogger("tests.library")
    library.debug("never mind")
    library.warning("%d left of %s", 3, "four")
    try:
        raise ValueError("inside")
    except ValueError:
        library.exception("it broke")
    warned, broken = lines.named("library.logged")
    assert (warned["level"], warned["library"]) == ("warning", "tests.library")
    assert (warned["message"], warned["exc_info"]) == ("3 left of four", None)
    assert (broken["level"], broken["message"]) == ("error", "it broke")
    assert isinstance(broken["exc_info"][1], ValueError)


def test_a_library_that_logs_wrongly_is_a_line_all_the_same(
    lines: Lines, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise ValueError("cannot be said")

    root = logging.getLogger()
    ours = [handler for handler in root.handlers if "penstock" in type(handler).__module__]
    monkeypatch.setattr(root, "handlers", ours)  # pytest's own raise
    logging.getLogger("tests.library").error("%d", "one")
    logging.getLogger("tests.library").log(logging.ERROR + 5, "%s", Unspeakable())
    first, second = lines.named("library.logged")
    assert first["message"].startswith("%d (TypeError")
    assert second["message"].startswith("%s (ValueError: cannot be said")
    assert capsys.readouterr().err == ""


def test_a_warning_is_a_line(lines: Lines) -> None:
    warnings.warn("old habits", FutureWarning, stacklevel=1)
    (line,) = lines.named("library.warned")
    assert (line["kind"], line["message"]) == ("FutureWarning", "old habits")
    assert line["place"].startswith(__file__)


def test_a_thread_that_dies_is_a_line_and_one_that_exits_is_none(lines: Lines) -> None:
    def work(error: BaseException) -> None:
        raise error

    for error in (KeyError("lost"), SystemExit(1)):
        thread = threading.Thread(target=work, args=[error], name="tests-worker")
        thread.start()
        thread.join()
    (line,) = lines.named("thread.died")
    assert line["thread"] == "tests-worker"
    assert isinstance(line["exc_info"][1], KeyError)


def test_a_thread_of_ours_that_died_is_told_and_no_other(lines: Lines) -> None:
    def work(error: BaseException) -> None:
        raise error

    dead: list[str] = []
    undo = adopt(lines.logger, dead.append)
    try:
        for name, error in (
            ("penstock-one", KeyError("lost")),
            ("of-a-library", KeyError("lost")),
            ("penstock-two", SystemExit(1)),
        ):
            thread = threading.Thread(target=work, args=[error], name=name)
            thread.start()
            thread.join()
    finally:
        undo()
    assert dead == ["penstock-one"]


def test_what_a_finalizer_raises_is_a_line(lines: Lines) -> None:
    class Broken:
        def __del__(self) -> None:
            raise OSError("too late")

    Broken()
    gc.collect()
    (line,) = lines.named("exception.ignored")
    assert "Broken.__del__" in line["about"]
    assert isinstance(line["exc_info"][1], OSError)


def test_a_flood_of_strays_is_no_flood_of_lines() -> None:
    bounded = Lines(Bounded(MovedClock()))
    undo = adopt(bounded.logger)
    try:
        for _ in range(100):
            logging.getLogger("tests.library").warning("again")
    finally:
        undo()
    assert len(bounded.lines) == 10


def test_what_was_there_before_is_there_again(capsys: pytest.CaptureFixture[str]) -> None:
    def hooks() -> list[Any]:
        root = logging.getLogger()
        return [
            *root.handlers, root.level, threading.excepthook, sys.unraisablehook,
            warnings.showwarning,
        ]  # fmt: skip

    before, lines = hooks(), Lines()
    undo = adopt(lines.logger)
    assert len(set(map(id, hooks())) - set(map(id, before))) == 4
    undo()
    assert hooks() == before
    logging.getLogger("tests.library").warning("to nobody of ours")
    assert lines.lines == []


def test_what_an_event_loop_cannot_raise_at_anybody_is_a_line() -> None:
    lines = Lines()

    class Unspeakable:
        def __repr__(self) -> str:
            raise ValueError

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(loop_exception_handler(lines.logger))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        lost = asyncio.ensure_future(asyncio.sleep(0, result=1))
        await lost
        failed = loop.create_future()
        failed.set_exception(KeyError("nobody asked"))
        del failed
        gc.collect()
        loop.call_exception_handler({"message": "odd", "protocol": Unspeakable()})

    asyncio.run(work())
    callback, future, odd = lines.named("loop.failed")
    assert isinstance(callback["exc_info"], ZeroDivisionError)
    assert "handle <Handle" in callback["about"]
    assert isinstance(future["exc_info"], KeyError)
    assert "never retrieved" in future["message"]
    assert (odd["message"], odd["about"]) == ("odd", "protocol <Unspeakable>")
    assert odd["exc_info"] is None
