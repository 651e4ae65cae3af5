"""Tables and indexes of what folds said on brokers: a repeat is in none of them, however it came.

A block that may be in is made again from exactly the records that it was made from: what was known
of repeats before it stands with its plan.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from penstock.core.log import Append, Log, Origin
from penstock.core.projection import Projection
from penstock.core.projection.cursor import Cursor
from penstock.core.projection.rebuild import Rebuild
from penstock.core.projection.runner import Consumer
from penstock.core.projection.sinks import sink
from services.kafka import Kafka
from support import notes
from support.carried import BOTH
from support.clock import MovedClock
from support.lines import Lines
from support.logs import TOPIC, submit
from support.notes import Crash, Noted, Unreliable, rows_of
from support.opened import open_kafka
from support.stores import open_state, stores


class Bench:
    def __init__(self, kafka: Kafka, folder: Path, opened: ExitStack) -> None:
        self.clock = MovedClock()
        self.log: Log = opened.enter_context(closing(open_kafka(kafka, folder, self.clock)))
        self.warehouse: Unreliable = opened.enter_context(closing(notes.open_unreliable(folder)))
        self.state = opened.enter_context(closing(open_state(folder)))
        self.stores = stores(self.warehouse, self.state, self.clock)

    def say(self, numbers: Sequence[int]) -> None:
        """As a fold does, of a record for each."""
        payloads = [notes.codec.encode(Noted(number)) for number in numbers]
        submit(self.log, Append(TOPIC, payloads, origin=Origin("tests.fold", 0, numbers)))

    def carry(self, projection: Projection, block: int) -> None:
        """As after a start: resume, then all there is."""
        cursor = self.cursor(projection)
        with closing(self.log.reader()) as reader:
            cursor.resume(reader)
            while cursor.step(reader, block):
                pass

    def cursor(self, projection: Projection) -> Cursor:
        inner = sink(projection, self.stores)
        return Cursor(projection, inner, self.log, self.clock, Lines().logger)

    def rebuild(self, projection: Projection) -> list[str]:
        inner = sink(projection, self.stores)
        live = Consumer(projection, inner, self.log, self.clock, Lines().logger)
        work = Rebuild(live, self.stores, self.log, self.clock, Lines().logger)
        return list(work.run(notes.SCHEMA[0], lambda _done, _total: None, swap=False).differences)


@pytest.fixture
def bench(kafka: Kafka, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as opened:
        yield Bench(kafka, tmp_path, opened)


def test_a_block_that_is_made_again_has_the_records_it_had(bench: Bench) -> None:
    """Whoever says all of it again, before and behind each crash. Reliability 2, 8 and 9."""
    for said, fault in (
        (range(5), "crash before"),
        (range(2, 12), "crash after"),
        (range(20), "crash before"),
    ):
        bench.say(said)
        bench.warehouse.faults = [fault]
        with suppress(Crash):
            bench.carry(notes.table, 4)
        bench.say(said)
    for projection in BOTH:
        bench.carry(projection, 4)
    assert [number for _, number, _ in rows_of(bench.warehouse)] == [*range(20)]
    assert [seen for _, _, seen in rows_of(bench.warehouse)] == [*range(20)]
    [history] = bench.state.first("tests.notes", [b"word"], 1_000)
    assert [value for _, value in history][:5] == [b"%d" % number for number in range(5)]
    assert bench.log.end(TOPIC, 0) > 2 * 20, "the brokers have repeats"
    assert [difference for p in BOTH for difference in bench.rebuild(p)] == []
