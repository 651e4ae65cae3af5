"""What a run returned goes to brokers whole, though it comes to lie in parts, and once."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.events import Event
from penstock.core.log import Append, Origin, partition_of
from penstock.core.projection import Topic
from penstock.core.schedules.returned import Returned
from penstock.core.schedules.running import Appending
from penstock.core.state.rocksdb import RocksState
from services.kafka import Kafka
from support.clock import MovedClock
from support.kafka import kafka_settings
from support.logs import contents
from support.notes import Crash
from support.scheduled import Work, schedule
from support.shared import PARTITIONS, Halving

HOURLY = schedule(Work())


@pytest.fixture
def state(tmp_path: Path) -> Iterator[RocksState]:
    with closing(RocksState(tmp_path / "state")) as opened:
        yield opened


def origin(number: int, *, alone: bool = False) -> Origin:
    name = f"{HOURLY.name}/{number}" if alone else HOURLY.name
    return Origin(name, 0, [number], alone=alone)


def said(returned: Returned, of: Origin, *payloads: bytes) -> list[bytes]:
    appends = [Append("tests.a", payloads, payloads)] if payloads else []
    return [one for append in returned.first(HOURLY.name, of, appends) for one in append.payloads]


@pytest.mark.parametrize("alone", [False, True])
def test_whoever_runs_an_interval_again_says_what_was_returned_first(
    state: RocksState, *, alone: bool
) -> None:
    one, two = Returned(state), Returned(state)
    assert said(one, origin(1, alone=alone), b"a", b"b") == [b"a", b"b"]
    assert said(two, origin(1, alone=alone), b"c") == [b"a", b"b"]
    assert said(two, origin(1, alone=alone)) == [b"a", b"b"]
    [again] = two.first(HOURLY.name, origin(1, alone=alone), [])
    assert again.origin == origin(1, alone=alone)._replace(numbers=[1, 1])
    assert said(two, origin(2, alone=alone), b"d") == [b"d"]
    assert said(one, origin(1, alone=alone), b"e") == ([b"e"] if alone else [])


def test_what_is_run_out_of_order_has_a_place_of_its_own(state: RocksState) -> None:
    returned = Returned(state)
    assert said(returned, origin(9), b"a") == [b"a"]
    assert said(returned, origin(3, alone=True), b"b") == [b"b"]
    assert said(returned, origin(9), b"c") == [b"a"]


class Line(Event, frozen=True, array_like=True, gc=False, tag="line/1"):
    of: str


LINES: Topic[Line] = Topic("tests.lines", (Line,), key=lambda event: event.of.encode())


def test_a_run_that_died_when_half_of_it_was_there_is_completed_by_the_next(
    kafka: Kafka, state: RocksState, tmp_path: Path
) -> None:
    """Reliability 4 and 8."""
    settings = kafka_settings(kafka, tmp_path, kafka_partitions=PARTITIONS)
    lines = [Line(of) for of in "abcdef"]
    assert len({partition_of(line.of.encode(), PARTITIONS) for line in lines}) == PARTITIONS
    lined = replace(HOURLY, emits=(LINES,))
    with closing(Halving(settings, MovedClock(), [LINES.name])) as log:
        appending = Appending(log, Topic.codec, Returned(state))

        def run(*events: Line) -> None:
            appends = appending.appends(lined, events, origin(1))
            appending.append(lined, origin(1), appends)

        def there() -> Sequence[str]:
            found = [contents(log, LINES.name, p) for p in range(PARTITIONS)]
            return sorted(LINES.codec().decode(one).of for of in found for one in of)

        log.half = 1
        with pytest.raises(Crash):
            run(*lines)
        assert 0 < len(there()) < len(lines)
        run(Line("x"), Line("y"), Line("z"))
        assert there() == [*"abcdef"]
