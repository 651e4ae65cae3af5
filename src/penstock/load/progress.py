"""Progress on stderr: a bar on a terminal, otherwise a line every ten seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_LINE_SECONDS = 10.0
_BAR_SECONDS = 0.2


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that may be called thousands of times a second with the events sent."""
    if sys.stderr.isatty():
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        ) as bar:
            task = bar.add_task(label, total=total)
            yield _every(
                _BAR_SECONDS,
                lambda sent: bar.update(task, completed=sent),
            )
    else:
        yield _every(_LINE_SECONDS, lambda sent: _line(label, sent, total))


def _every(seconds: float, show: Callable[[int], None]) -> Callable[[int], None]:
    due = perf_counter() + seconds

    def report(sent: int) -> None:
        nonlocal due
        now = perf_counter()
        if now >= due:
            due = now + seconds
            show(sent)

    return report


def _line(label: str, sent: int, total: int) -> None:
    sys.stderr.write(f"{label}: {sent:,} of {total:,} events\n")
    sys.stderr.flush()
