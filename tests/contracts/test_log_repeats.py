"""What every log promises of idempotency keys: in memory, on disk and on brokers."""

import pytest

from penstock.core.log import DUPLICATE, REUSED, Append, Log, Receipt
from support.clock import MovedClock
from support.logs import TOPIC, account, add, balanced, contents, submit, under, wait_until
from support.opened import HOURS

OTHER = "tests.other"


def test_a_repeated_key_stores_nothing_and_says_so(log: Log) -> None:
    assert add(log, b"a", key="k") == Receipt(0, 0)
    assert add(log, b"a", key="k") == DUPLICATE
    assert add(log, b"b", key="other") == Receipt(0, 1)
    assert add(log, b"c") == add(log, b"c")._replace(first=2)
    assert contents(log) == [b"a", b"b", b"c", b"c"]


def test_a_key_repeated_within_one_submission_counts_once(log: Log) -> None:
    append = Append(TOPIC, [b"a"], idempotency_key="k")
    assert submit(log, append, append, append) == [Receipt(0, 0), DUPLICATE, DUPLICATE]


def test_keys_of_different_topics_are_different(log: Log) -> None:
    assert add(log, b"a", key="k") == Receipt(0, 0)
    assert add(log, b"a", key="k", topic="tests.other") == Receipt(0, 0)


def test_what_follows_an_append_shares_its_fate(log: Log) -> None:
    """One request may make events of several topics; its key is claimed in the first of them."""

    def ask(fingerprint: bytes, *payloads: bytes) -> list[Receipt]:
        first = under("k", fingerprint, *payloads, answer=b"so")
        return list(submit(log, first, Append(OTHER, [b"x", b"y"], follows=True)))

    assert [receipt.stored for receipt in ask(b"1" * 16)] == [True, True]
    for payloads in ([], [b"a"]):
        assert ask(b"1" * 16, *payloads) == [DUPLICATE._replace(answer=b"so")] * 2
        assert ask(b"2" * 16, *payloads) == [REUSED] * 2
    wait_until(lambda: len(contents(log, OTHER)) >= 2)
    assert (contents(log), contents(log, OTHER)) == ([], [b"x", b"y"])
    for topic, each in ((TOPIC, 1), (OTHER, 4)):
        of_topic = account(log, topic)
        assert balanced(of_topic)
        assert (of_topic.duplicate, of_topic.rejected) == (each, each)


def test_a_key_is_remembered_for_its_window_and_no_longer(log: Log, clock: MovedClock) -> None:
    add(log, b"a", key="k")
    clock.pass_hours(HOURS)
    assert add(log, b"a", key="k") == DUPLICATE
    clock.ms += 1
    assert add(log, b"a", key="k") == Receipt(0, 1)
    assert add(log, b"a", key="k") == DUPLICATE


def test_a_duplicate_does_not_prolong_the_window(log: Log, clock: MovedClock) -> None:
    add(log, b"a", key="k")
    clock.pass_hours(HOURS - 1)
    assert add(log, b"a", key="k") == DUPLICATE
    clock.pass_hours(2)
    assert add(log, b"a", key="k") == Receipt(0, 1)


def test_a_key_holds_while_the_wall_clock_steps_back(log: Log, clock: MovedClock) -> None:
    add(log, b"a", key="k")
    clock.step_hours(-1)
    assert add(log, b"a", key="k") == DUPLICATE
    assert balanced(account(log))


@pytest.mark.parametrize("behind", [0.5, HOURS + 1, 30 * HOURS])
def test_a_key_keeps_its_whole_window_though_the_clock_was_behind(
    log: Log, clock: MovedClock, behind: float
) -> None:
    """Reliability 49; the clock is right again before its step is believed."""
    clock.step_hours(-behind)
    add(log, b"a", key="k")
    clock.step_hours(behind)
    clock.pass_hours(HOURS)
    assert add(log, b"a", key="k") == DUPLICATE
    clock.ms += 1
    assert add(log, b"a", key="k") == Receipt(0, 1)


def test_a_key_keeps_its_window_though_a_clock_that_was_behind_is_believed_late(
    log: Log, clock: MovedClock
) -> None:
    """Reliability 49; it was behind at the start, so the right time is the step."""
    clock.step_hours(5)
    add(log, b"a", key="k")
    clock.pass_hours(HOURS)
    assert add(log, b"a", key="k") == DUPLICATE
    clock.pass_hours(1)
    assert add(log, b"a", key="k") == Receipt(0, 1)


def test_a_key_that_stands_for_something_else_stores_nothing_and_says_so(log: Log) -> None:
    """Reliability 49."""
    assert submit(log, under("k", b"one", b"a")) == [Receipt(0, 0)]
    assert submit(log, under("k", b"other", b"b", b"c")) == [REUSED]
    assert submit(log, under("k", b"one", b"a")) == [DUPLICATE]
    assert contents(log) == [b"a"]
    assert account(log)[1:] == (1 + 2 + 1, 1, 1, 2)


def test_of_several_at_once_under_one_key_the_first_is_what_it_stands_for(log: Log) -> None:
    one, other = under("k", b"one", b"a"), under("k", b"other", b"b")
    assert submit(log, one, other, one, other) == [Receipt(0, 0), REUSED, DUPLICATE, REUSED]
    assert contents(log) == [b"a"]


def test_what_is_not_known_of_either_is_taken_for_the_same(log: Log) -> None:
    """Keys of a build before this one have no fingerprint."""
    submit(log, under("old", b"", b"a"), under("new", b"one", b"b"))
    assert submit(log, under("old", b"one", b"a"), under("new", b"", b"b")) == [DUPLICATE] * 2


def test_a_repeat_is_told_what_the_first_one_left_for_it(log: Log) -> None:
    """Reliability 12."""
    submit(log, under("k", b"one", b"a", answer=b"first"))
    for _ in range(2):
        (receipt,) = submit(log, under("k", b"one", b"a", answer=b"again"))
        assert receipt.is_duplicate
        assert receipt.answer == b"first"


def test_after_its_window_a_key_may_stand_for_something_else(log: Log, clock: MovedClock) -> None:
    submit(log, under("k", b"one", b"a", answer=b"first"))
    clock.pass_hours(HOURS)
    clock.ms += 1
    assert submit(log, under("k", b"other", b"b", answer=b"second")) == [Receipt(0, 1)]
    assert submit(log, under("k", b"one", b"a")) == [REUSED]
    assert submit(log, under("k", b"other", b"b")) == [DUPLICATE._replace(answer=b"second")]


def test_what_was_not_stored_claims_no_key(log: Log) -> None:
    submit(log, under("k", b"one", b"a"))
    assert submit(log, under("k", b"other", b"b"), under("l", b"other", b"b")) == [
        REUSED, Receipt(0, 1),
    ]  # fmt: skip


def test_keys_are_counted_and_those_that_expire_go_by_themselves(
    log: Log, clock: MovedClock
) -> None:
    """Reliability 49."""
    assert log.idempotency_keys == 0
    submit(log, under("k", b"one", b"a"), under("k", b"other", b"a"), under("l", b"", b"a"))
    add(log, b"a", key="k", topic="tests.other")
    assert log.idempotency_keys == 3
    clock.pass_hours(HOURS)
    clock.ms += 1
    wait_until(lambda: log.idempotency_keys == 0)
    assert add(log, b"a", key="k").first == 2
    assert log.idempotency_keys == 1
