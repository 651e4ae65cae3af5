"""Idempotency keys of one file in another: what was sent before a move is known after it."""

from contextlib import closing
from pathlib import Path

import apsw

from penstock.core.errors import NotReady
from penstock.core.log import keys
from penstock.core.log.sqlite_reader import connect


def carry_keys(source: Path, target: Path) -> int:
    """Have what the source remembers in the target as well; how many those are.

    The target was opened as a log before, knows the topics, and is nobody's now. What it remembers
    itself stays. Raise `NotReady` with nothing carried.
    """
    try:
        with (
            closing(connect(source, writable=False)) as reading,
            closing(connect(target, writable=True)) as writing,
            writing,
        ):
            before = keys.number(writing)
            for row in keys.rows(reading):
                keys.insert(writing, row)
            carried = keys.counted(writing) - before
    except apsw.Error as error:
        raise NotReady("the idempotency keys cannot be carried", detail=str(error)) from error
    return carried
