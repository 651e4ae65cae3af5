"""A question that the embedded engine answers when it is let, and not by the clock."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_SECONDS = 60.0
NOTHING = [(0,)]
"""What it answers then."""


@contextmanager
def endless(folder: Path, ended: Callable[[], bool]) -> Iterator[str]:
    """It counts the lines of a pipe to which nobody writes. All that asked are let go at the end,
    until `ended` says so: a process has one engine, and the next test wants it.
    """
    pipe = folder / "endless"
    os.mkfifo(pipe)
    try:
        yield f"SELECT count() FROM file('{pipe}', 'CSV', 'word String')"
    finally:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ended():
            assert time.monotonic() < deadline
            with suppress(OSError):  # nobody reads just now
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.01)
