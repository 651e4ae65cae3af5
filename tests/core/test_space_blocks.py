"""What goes into a space goes in by one call, and no other thread has the interpreter meanwhile."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from penstock.core.log.memory import MemoryLog
from penstock.core.projection import SPACE_RECORDS_MAX
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.dead_letters import DeadLetters
from penstock.core.projection.flush import Flush
from penstock.core.projection.sinks import IndexSink, Stores
from support import notes
from support.clock import MovedClock
from support.lines import Lines
from support.notes import note
from support.stores import open_state


def test_a_block_into_a_space_is_small_however_large_it_may_be(tmp_path: Path) -> None:
    large, clock = replace(notes.index, flush=Flush(wait_seconds=0.0)), MovedClock()
    log = MemoryLog(clock)
    note(log, *range(SPACE_RECORDS_MAX + 1))
    with closing(open_state(tmp_path)) as state, closing(log.reader()) as reader:
        inner = IndexSink(large, Stores(None, state, DeadLetters(state), clock))
        cursor = Cursor(large, inner, log, clock, Lines().logger)
        cursor.resume(reader)
        cursor.advance(reader)
        assert cursor.position == SPACE_RECORDS_MAX
        cursor.advance(reader)
        assert cursor.position == SPACE_RECORDS_MAX + 1
