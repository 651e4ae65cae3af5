"""What every log promises: in memory, on disk and on brokers."""

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.clock import careful
from penstock.core.errors import Disproved
from penstock.core.log import Append, Log, Receipt
from support.clock import MovedClock
from support.logs import (
    ANSWER_SECONDS,
    TOPIC,
    account,
    add,
    balanced,
    contents,
    submit,
)
from support.opened import open_memory, open_sqlite

# -- offsets and receipts -----------------------------------------------------------------------


def test_offsets_start_at_zero_and_follow_the_order_of_acceptance(log: Log) -> None:
    assert add(log, b"a", b"b") == Receipt(0, 0)
    assert add(log, b"c") == Receipt(0, 2)
    assert log.end(TOPIC, 0) == 3
    assert log.start(TOPIC, 0) == 0
    assert contents(log) == [b"a", b"b", b"c"]


def test_each_append_of_a_submission_gets_its_own_receipt(log: Log) -> None:
    receipts = submit(
        log,
        Append("tests.one", [b"1", b"2"]),
        Append("tests.two", [b"3"]),
        Append("tests.one", [b"4"]),
    )
    assert receipts == [Receipt(0, 0), Receipt(0, 0), Receipt(0, 2)]
    assert contents(log, "tests.one") == [b"1", b"2", b"4"]
    assert contents(log, "tests.two") == [b"3"]


def test_a_topic_nobody_wrote_to_is_empty(log: Log) -> None:
    assert (log.start("tests.none", 0), log.end("tests.none", 0)) == (0, 0)
    assert contents(log, "tests.none") == []
    assert log.ledger("tests.none", 0) == []
    assert log.totals("tests.none") == (0, 0, 0, 0, 0)


def test_any_bytes_are_kept_as_they_are(log: Log) -> None:
    payloads = [b"", b"\x00", bytes(range(256)), "żółć".encode(), b"x" * 300_000]
    add(log, *payloads)
    assert contents(log) == payloads


def test_two_logs_are_never_taken_for_one(tmp_path: Path, clock: MovedClock, log: Log) -> None:
    (tmp_path / "other").mkdir()
    other = open_sqlite(tmp_path / "other", clock)
    try:
        assert other.identity(TOPIC) != log.identity(TOPIC)
    finally:
        other.close()


# -- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [
        (0, 100, range(10)),
        (0, 3, range(3)),
        (3, 4, range(3, 7)),
        (4, 2, range(4, 6)),
        (9, 100, range(9, 10)),
        (10, 5, range(10, 10)),
        (50, 5, range(50, 50)),
    ],
)
def test_a_read_gives_exactly_the_range_that_was_asked_for(
    log: Log, clock: MovedClock, offset: int, limit: int, expected: range
) -> None:
    for start in (0, 4, 5):  # blocks of 4, 1 and 5 records
        add(log, *(b"%d" % n for n in range(start, {0: 4, 4: 5, 5: 10}[start])))
    batch = log.reader().read(TOPIC, 0, offset, limit)
    assert (batch.first, batch.next) == (expected.start, expected.stop)
    assert list(batch.offsets) == list(expected)
    assert list(batch.payloads) == [b"%d" % n for n in expected]
    assert batch.appended_at_ms == (clock.now_ms() if expected else 0)
    assert batch.damages == ()


def test_who_reads_on_has_what_is_behind_compared(log: Log) -> None:
    """Reliability 45."""
    add(log, b"a", b"b")
    add(log, b"c")
    reader = log.reader()
    first = reader.read(TOPIC, 0, 0, 1, "")
    rest = reader.read(TOPIC, 0, 1, 9, first.proof)
    assert list(rest.payloads) == [b"b", b"c"]
    assert "" not in (first.proof, rest.proof)
    for other in (reader, log.reader()):
        for limit in (0, 9):
            nothing = other.read(TOPIC, 0, 3, limit, rest.proof)
            assert (nothing.next, nothing.proof) == (3, rest.proof)
        assert other.read(TOPIC, 0, 3, 0, "").proof == rest.proof
        assert list(other.read(TOPIC, 0, 1, 1, first.proof).payloads) == [b"b"]
        for offset, proof in ((3, rest.proof + "0"), (1, first.proof + "0"), (9, ""), (9, "5:0")):
            with pytest.raises(Disproved):
                other.read(TOPIC, 0, offset, 1, proof)
        assert other.read(TOPIC, 0, 9, 1).next == 9  # who does not ask is not told
    assert log.reader().read(TOPIC, 0, 0, 0, "").proof == ""


def test_a_range_reads_the_same_again_after_more_was_added(log: Log) -> None:
    add(log, b"a", b"b", b"c")
    reader = log.reader()
    before = reader.read(TOPIC, 0, 1, 2)
    add(log, b"d")
    assert reader.read(TOPIC, 0, before.first, before.next - before.first) == before
    reader.close()


def test_a_batch_says_when_its_oldest_record_was_stored(log: Log, clock: MovedClock) -> None:
    stored_at = clock.now_ms()
    add(log, b"old")
    clock.pass_hours(1)
    add(log, b"new")
    assert log.reader().read(TOPIC, 0, 0, 10).appended_at_ms == stored_at
    assert log.reader().read(TOPIC, 0, 1, 10).appended_at_ms == clock.now_ms()


def test_a_record_says_when_the_log_took_it_however_it_is_read(log: Log, clock: MovedClock) -> None:
    took: list[int] = []
    believed = careful(clock)
    for records, hours in ((2, 30.0), (1, -48.0), (3, 0.0), (2, 0.25)):
        add(log, *(b"%d" % n for n in range(len(took), len(took) + records)))
        took += [believed.now_ms()] * records
        clock.step_hours(hours)
    for first in range(len(took)):
        for limit in (1, 2, 3, 100):
            batch = log.reader().read(TOPIC, 0, first, limit)
            assert list(batch.times_ms) == took[first : first + limit]


def test_listeners_are_woken_by_their_topic_only(log: Log) -> None:
    woken, other = threading.Event(), threading.Event()
    log.listen(TOPIC, woken.set)
    log.listen("tests.other", other.set)
    add(log, b"a")
    assert woken.wait(ANSWER_SECONDS)
    assert not other.is_set()


# -- ledger -------------------------------------------------------------------------------------


def test_every_event_received_is_accounted_for(log: Log) -> None:
    add(log, b"a", b"b", key="k")
    add(log, b"a", b"b", key="k")
    log.tally(TOPIC, rejected=4)
    submit(log, Append(TOPIC, [b"c"], rejected=3))
    submit(log, Append(TOPIC, [b"c"], idempotency_key="k", rejected=1))
    assert account(log)[1:] == (2 + 2 + 4 + 4 + 2, 3, 3, 8)


def test_the_ledger_is_kept_by_minute_and_topic(log: Log, clock: MovedClock) -> None:
    minute = clock.now_ms() // 60_000
    add(log, b"a")
    clock.pass_hours(1 / 60)
    add(log, b"b", b"c")
    add(log, b"d", topic="tests.other")
    assert [line[:3] for line in log.ledger(TOPIC, 0)] == [(minute, 1, 1), (minute + 1, 2, 2)]
    assert [line[:3] for line in log.ledger(TOPIC, minute + 1)] == [(minute + 1, 2, 2)]
    assert account(log, "tests.other").stored == 1
    assert (log.totals(TOPIC).stored, log.totals("tests.other").stored) == (3, 1)


def test_a_clock_that_goes_back_an_hour_changes_no_order_and_no_balance(
    log: Log, clock: MovedClock
) -> None:
    """Reliability 13 and 37."""
    add(log, b"a")
    clock.step_hours(-1)
    add(log, b"b", key="k")
    add(log, b"b", key="k")
    clock.pass_hours(2)
    add(log, b"c")
    assert contents(log) == [b"a", b"b", b"c"]
    assert balanced(account(log))
    assert account(log).minute == 3


# -- many at once -------------------------------------------------------------------------------


def test_many_threads_at_once_lose_and_mix_up_nothing(log: Log) -> None:
    def write(thread: int) -> list[tuple[int, bytes]]:
        written = []
        for n in range(50):
            payloads = [b"%d/%d/%d" % (thread, n, part) for part in range(1 + n % 3)]
            first = add(log, *payloads).first
            written += [(first + part, payload) for part, payload in enumerate(payloads)]
        return written

    with ThreadPoolExecutor(8) as pool:
        acknowledged = [pair for pairs in pool.map(write, range(8)) for pair in pairs]
    assert dict(acknowledged) == dict(enumerate(contents(log)))
    assert log.end(TOPIC, 0) == len(acknowledged)
    assert account(log).stored == len(acknowledged)


# -- both engines are the same ------------------------------------------------------------------


class Step(NamedTuple):
    """One thing that happens to a log."""

    appends: list[tuple[str, int, tuple[str, int, bytes, bytes]]]
    """Topic, records; key, rejected, fingerprint, answer."""
    tally: int
    move_ms: int


topics = st.sampled_from(["tests.one", "tests.two"])
keys = st.sampled_from(["", "", "k", "l"])
fingerprints = st.sampled_from([b"", b"one", b"other"])
answers = st.sampled_from([b"", b"first", b"second"])
steps = st.builds(
    Step,
    st.lists(
        st.tuples(
            topics,
            st.integers(1, 4),
            st.tuples(keys, st.integers(0, 2), fingerprints, answers),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2),
    st.sampled_from([0, 1, 60_000, 12 * 3_600_000, 24 * 3_600_000]),
)


@settings(max_examples=40)
@given(st.lists(steps, max_size=8), st.integers(0, 20), st.integers(0, 20))
def test_the_embedded_log_does_what_the_one_in_memory_does(
    history: list[Step], offset: int, limit: int
) -> None:
    clock = MovedClock()
    with tempfile.TemporaryDirectory() as folder:
        model, real = open_memory(Path(folder), clock), open_sqlite(Path(folder), clock)
        try:
            for number, step in enumerate(history):
                appends = [
                    Append(topic, [b"%d.%d" % (number, n) for n in range(count)], (), *others)
                    for topic, count, others in step.appends
                ]
                for log in (model, real):
                    log.tally(step.appends[0][0], rejected=step.tally)
                assert submit(real, *appends) == submit(model, *appends)
                clock.ms += step.move_ms
                clock.seconds += step.move_ms / 1000
            for topic in ("tests.one", "tests.two"):
                assert contents(real, topic) == contents(model, topic)
                assert real.ledger(topic, 0) == model.ledger(topic, 0)
                assert real.totals(topic)[1:] == account(real, topic)[1:]
                read = [log.reader().read(topic, 0, offset, limit) for log in (model, real)]
                assert read[0].next == read[1].next
                assert list(read[0].payloads) == list(read[1].payloads)
        finally:
            real.close()
