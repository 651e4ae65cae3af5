"""One reader and one decoding for all projections of a topic: each gets what it would have read."""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import Disproved
from penstock.core.events import Codec
from penstock.core.log import Batch
from penstock.core.log.memory import MemoryLog
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.projection import Record, reading
from penstock.core.projection.reading import Listener, Reading, exact
from support.clock import MovedClock
from support.logs import TOPIC, add
from support.notes import NOTES, Noted

BLOCKS = (7, 10, 25)


class Counting(Codec[Any]):
    """How many records were decoded."""

    def __init__(self) -> None:
        super().__init__(NOTES.events)
        self.decoded = 0

    def read_all(self, payloads: Sequence[bytes]) -> Any:
        self.decoded += len(payloads)
        return super().read_all(payloads)


class Follower:
    """Reads on and on, as a cursor does."""

    def __init__(self, shared: Reading, block: int) -> None:
        self.reader: Listener = shared.listener()
        self.block = block
        self.at = 0
        self.proof = ""
        self.got: list[bytes] = []
        self.records: list[Record[Any]] = []
        self.whole = True

    def go_on(self) -> int:
        batch = self.reader.read(TOPIC, 0, self.at, self.block, self.proof)
        assert batch.first == self.at
        assert batch.next - batch.first <= self.block
        assert list(batch.offsets) == list(range(batch.first, batch.next))
        assert len(batch.times_ms) == len(batch.payloads)
        self.got += batch.payloads
        if batch.records is not None:
            assert [record.number for record in batch.records] == list(batch.offsets)
            self.records += batch.records
        elif batch.payloads:
            self.whole = False
        self.at, self.proof = batch.next, batch.proof
        return batch.next - batch.first


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(MovedClock())


@pytest.fixture
def codec() -> Counting:
    return Counting()


@pytest.fixture
def shared(log: MemoryLog, codec: Counting, monkeypatch: pytest.MonkeyPatch) -> Reading:
    monkeypatch.setattr(reading, "_WAIT_SECONDS", 0.0)
    return Reading(log, TOPIC, codec, BLOCKS)


def say(log: Any, codec: Codec[Any], *numbers: int) -> None:
    add(log, *(codec.encode(Noted(number)) for number in numbers))


def test_each_gets_everything_once_and_in_order_however_they_take_turns(
    log: MemoryLog, codec: Counting, shared: Reading
) -> None:
    draw = random.Random(14)
    followers = [Follower(shared, block) for block in BLOCKS]
    said = 0
    for _ in range(400):
        if draw.random() < 0.3:
            count = draw.randint(1, 60)
            say(log, codec, *range(said, said + count))
            said += count
        draw.choice(followers).go_on()
    for follower in followers:
        while follower.go_on():
            pass
        assert [codec.decode(payload).number for payload in follower.got] == list(range(said))


def test_those_that_keep_together_decode_each_record_once(
    log: MemoryLog, codec: Counting, shared: Reading
) -> None:
    followers = [Follower(shared, block) for block in BLOCKS]
    for first in range(0, 700, 7):
        say(log, codec, *range(first, first + 7))
        for follower in followers:
            follower.go_on()
    assert all(follower.at == 700 and follower.whole for follower in followers)
    assert codec.decoded == 700
    assert followers[0].records[3] is followers[2].records[3]


def test_in_a_backlog_the_first_waits_for_the_last(
    log: MemoryLog, codec: Counting, shared: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_WAIT_SECONDS", 120.0)
    monkeypatch.setattr(reading, "_STANDS_SECONDS", 120.0)
    say(log, codec, *range(7_000))
    followers = [Follower(shared, block) for block in BLOCKS]
    for follower in followers:
        follower.go_on()  # all are there before one goes on
    threads = [threading.Thread(target=lambda f=f: list(iter(f.go_on, 0))) for f in followers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(follower.got) for follower in followers] == [7_000] * 3
    assert codec.decoded < 1.2 * 7_000


def test_one_that_stands_still_holds_nobody_up_and_reads_for_itself_later(
    log: MemoryLog, codec: Counting, shared: Reading
) -> None:
    first, last = Follower(shared, 25), Follower(shared, 10)
    say(log, codec, *range(300))
    last.go_on()
    while first.go_on():
        pass
    assert first.whole
    assert first.at == 300
    held = shared._pieces[0]
    assert held.records <= shared._held_max
    assert held.first > last.at
    while last.go_on():
        pass
    assert last.got == first.got
    say(log, codec, 300)
    before = codec.decoded
    assert last.go_on() == first.go_on() == 1
    assert codec.decoded == before + 1


def test_a_block_that_is_made_again_is_exactly_as_long_as_it_was(
    log: MemoryLog, codec: Counting, shared: Reading
) -> None:
    say(log, codec, *range(60))
    others = Follower(shared, 7)
    while others.go_on():
        pass
    again = shared.listener()
    assert exact(again).read(TOPIC, 0, 3, 25, "").next == 28
    with closing(log.reader()) as plain:
        assert exact(plain) is plain


def test_what_a_projection_has_is_compared_wherever_it_begins(
    log: MemoryLog, codec: Counting, shared: Reading
) -> None:
    say(log, codec, *range(60))
    first = Follower(shared, 25)
    first.go_on()
    other = shared.listener()
    for offset in (0, 3, 7, 14, 60):
        with pytest.raises(Disproved):
            other.read(TOPIC, 0, offset, 10, "of another log")
    assert other.read(TOPIC, 0, 3, 10, first.proof).next == 7


def test_another_log_under_the_same_name_is_read_anew(
    log: MemoryLog, codec: Counting, shared: Reading
) -> None:
    say(log, codec, *range(20))
    Follower(shared, 25).go_on()
    log._identity = "another"
    log._records[TOPIC][:] = log._records[TOPIC][:5]
    found = shared.listener().read(TOPIC, 0, 0, 25, "")
    assert (found.next, found.proof) == (5, "another")


def test_where_one_record_is_no_event_each_says_so_for_itself(
    log: MemoryLog, codec: Counting, shared: Reading
) -> None:
    add(log, codec.encode(Noted(1)), b"?", codec.encode(Noted(3)))
    follower = Follower(shared, 25)
    assert follower.go_on() == 3
    assert not follower.whole


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db", SystemClock(), Limits())
    yield log
    log.close()


def test_a_damaged_block_is_one_damage_whoever_reads_it(
    file: SqliteLog, codec: Counting, tmp_path: Path
) -> None:
    for first in (0, 20, 40):
        say(file, codec, *range(first, first + 20))
    with closing(apsw.Connection(str(tmp_path / "log.db"))) as connection:
        connection.execute("UPDATE blocks_1 SET body = zeroblob(9) WHERE first = 20")
    shared = Reading(file, TOPIC, codec, BLOCKS)
    found: list[Batch] = []
    for block in (25, 60):
        listener, at, proof = shared.listener(), 0, ""
        while (batch := listener.read(TOPIC, 0, at, block, proof)).next > at:
            found.append(batch)
            at, proof = batch.next, batch.proof
        listener.close()
    damages = [damage[:2] for batch in found for damage in batch.damages]
    assert damages[-1] == (20, 40)
    assert damages[:-1] == [(20, 25), (25, 40)]
    assert [offset for batch in found for offset in batch.offsets] == 2 * [
        *range(20), *range(40, 60)
    ]  # fmt: skip
