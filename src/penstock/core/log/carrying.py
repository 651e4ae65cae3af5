"""What one file of a log remembers, in another: what was sent before a move is known after it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import apsw

from penstock.core.errors import NotReady
from penstock.core.log import keys, origins
from penstock.core.log.sqlite_reader import connect


def carry_keys(source: Path, target: Path) -> int:
    """Have the idempotency keys of the source in the target as well; how many those are.

    The target was opened as a log before, knows the topics, and is nobody's now. What it remembers
    itself stays. Raise `NotReady` with nothing carried.
    """
    with _both(source, target, "the idempotency keys") as (reading, writing):
        before = keys.number(writing)
        for row in keys.rows(reading):
            keys.insert(writing, row)
        return keys.counted(writing) - before


def carry_origins(source: Path, target: Path) -> int:
    """The same of origins, where every record has the number in the target that it had."""
    with _both(source, target, "the origins") as (reading, writing):
        found = list(origins.rows(reading))
        for row in found:
            origins.insert(writing, row)
        return len(found)


@contextmanager
def _both(
    source: Path, target: Path, what: str
) -> Iterator[tuple[apsw.Connection, apsw.Connection]]:
    """The one to read from, and a transaction of the other."""
    try:
        with ExitStack() as opened:
            reading = opened.enter_context(closing(connect(source, writable=False)))
            writing = opened.enter_context(closing(connect(target, writable=True)))
            opened.enter_context(writing)
            yield reading, writing
    except apsw.Error as error:
        raise NotReady(f"{what} cannot be carried", detail=str(error)) from error
