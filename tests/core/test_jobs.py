"""Jobs: done at least once, heard of once; tried again, given up, and fair."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from penstock.core.projection import Done, Fold
from penstock.core.projection.dead_jobs import DeadJobs
from penstock.core.projection.deciding import FoldCursor
from penstock.core.projection.job import Job, Retry
from support.errands import Asked, Doer, Errand, Errands, Sent, fold
from support.logs import contents, wait_until
from support.notes import Crash


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Errands]:
    with closing(Errands(tmp_path_factory.mktemp("jobs"))) as opened:
        yield opened


@pytest.fixture
def bench(shared: Errands) -> Iterator[Errands]:
    shared.doer = Doer()
    yield shared
    shared.doer.go.set()


def dead(bench: Errands, folding: Fold[Any, Any]) -> list[Any]:
    return list(DeadJobs(bench.state).all(folding.space))


def index(bench: Errands, folding: Fold[Any, Any]) -> list[Any]:
    """What waits in the index."""
    return [one for one in bench.state.scan(folding.space) if one.sort[:1] == b"j"]


def test_what_a_job_returns_is_heard_once_behind_that_it_is_done(bench: Errands) -> None:
    folding = fold()
    bench.ask(folding, Asked("a"), Asked("b", trick="quiet"))
    bench.settle(bench.owner(folding))
    assert bench.told(folding) == ["done", "it"]
    assert bench.told(folding, "b") == ["done"]
    heard = [(type(e), getattr(e, "key", "")) for e in bench.events(folding.topic)]
    assert Counter(of for of, _ in heard) == {Asked: 2, Done: 2, Sent: 1}  # whichever ends first
    assert heard.index((Done, b"a")) < heard.index((Sent, "a"))
    assert sorted(bench.doer.ran) == ["a", "b"]
    assert index(bench, folding) == []
    assert bench.rebuild(folding, swap=False).differences == []


def test_a_job_waits_for_its_time(bench: Errands) -> None:
    folding = fold()
    bench.ask(folding, Asked("a", at_ms=bench.clock.ms + 100))
    cursor = bench.settle(bench.owner(folding))
    assert bench.doer.ran == []
    assert cursor.due(0.0) == pytest.approx(0.1)
    bench.clock.ms += 100
    bench.settle(cursor)
    assert bench.told(folding) == ["done", "it"]


def test_what_fails_is_tried_later_and_later_and_given_up_with_all_that_is_known(
    bench: Errands,
) -> None:
    folding = fold()
    bench.ask(folding, Asked("a", trick="fail"))
    cursor = bench.settle(bench.owner(folding))
    assert (bench.doer.ran, bench.told(folding)) == (["a"], [])
    assert cursor.due(0.0) > 0
    for tries in (2, 3):
        bench.clock.ms += 15_000
        bench.settle(cursor)
        assert len(bench.doer.ran) == tries
    assert bench.told(folding) == ["failed 3: ValueError: nobody answered"]
    [letter] = dead(bench, folding)
    assert (letter.job, letter.key, letter.attempts) == ("tests.send", b"a", 3)
    assert msgspec.msgpack.decode(letter.work, type=Errand) == Errand("a", "fail")
    assert letter.reason == "ValueError: nobody answered"
    assert index(bench, folding) == []


@pytest.mark.parametrize("at", ["", "before", "after"])
def test_what_was_given_up_is_tried_again_by_hand(bench: Errands, at: str) -> None:
    """Also where the process is killed when the log has its end, and it is not heard yet."""
    folding = fold()
    bench.ask(folding, Asked("a", trick="never"))
    cursor = bench.settle(bench.owner(folding))
    assert bench.told(folding) == ["failed 1: Permanent: nobody lives there"]
    [letter] = dead(bench, folding)
    bench.doer.mended = True
    identity = bench.log.identity(folding.topic.name)
    cursor.sink.retry_job(identity, letter, bench.clock.ms)
    assert dead(bench, folding) == []
    if at:
        bench.carry_on(cursor)
        bench.doer.go.set()
        wait_until(lambda: cursor.sink.doing(0).has_ended)
        bench.state.at = at
        with suppress(Crash):
            bench.carry_on(cursor)
        cursor = bench.owner(folding)
    bench.doer.go.set()
    bench.settle(cursor)
    assert bench.told(folding)[1:] == ["done", "it"]
    assert len(bench.ended(folding)) == 2
    assert index(bench, folding) == []
    assert bench.doer.ran == ["a", "a"]


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        ("stray", "what it returned: Stray is no event of"),
        ("never", "nobody lives there"),
    ],
)
def test_what_never_will_is_given_up_at_once(bench: Errands, trick: str, said: str) -> None:
    folding = fold()
    bench.ask(folding, Asked("a", trick=trick), Asked("b"))
    bench.settle(bench.owner(folding))
    [letter] = dead(bench, folding)
    assert said in letter.reason
    assert letter.attempts == 1
    assert bench.told(folding, "b") == ["done", "it"]


def test_an_attempt_that_takes_too_long_is_ended(bench: Errands) -> None:
    folding = fold(seconds_max=0.01, retry=Retry(1))
    bench.ask(folding, Asked("a", trick="hang"), Asked("b"))
    bench.settle(bench.owner(folding))
    [letter] = dead(bench, folding)
    assert "longer than 0.01 seconds" in letter.reason
    assert bench.told(folding, "b") == ["done", "it"]


def test_a_job_that_would_end_the_process_has_failed(bench: Errands) -> None:
    folding = fold(retry=Retry(1))
    bench.ask(folding, Asked("a", trick="exit"), Asked("b"))
    bench.settle(bench.owner(folding))
    assert "SystemExit" in dead(bench, folding)[0].reason
    assert bench.told(folding, "b") == ["done", "it"]


@pytest.mark.parametrize("trick", ["half", "half never", "half said"])
def test_words_that_no_encoding_has_are_given_up_with_their_escape(
    bench: Errands, trick: str
) -> None:
    """And the other jobs of the fold go on."""
    folding = fold(retry=Retry(2, 1.0, 1.0))
    bench.ask(folding, Asked("a", trick=trick), Asked("b"))
    cursor = bench.settle(bench.owner(folding))
    bench.clock.ms += 3_600_000
    bench.settle(cursor)
    assert "\\udcff" in dead(bench, folding)[0].reason
    assert bench.told(folding, "b") == ["done", "it"]


def die_of_it(bench: Errands, cursor: FoldCursor) -> None:
    """Carry on until the one has begun that kills."""
    doing, ran = cursor.sink.doing(0), bench.doer.ran
    before = ran.count("kill")
    while ran.count("kill") == before:
        bench.carry_on(cursor)
        wait_until(lambda: doing.has_ended or ran.count("kill") > before)


def test_work_that_kills_its_process_is_quarantined_and_takes_nobody_with_it(
    bench: Errands,
) -> None:
    """What was under way beside it is tried again alone."""
    folding = fold()
    bench.ask(folding, Asked("a"), Asked("kill", trick="hold"), Asked("b"))
    bench.carry_on(bench.owner(folding))
    wait_until(lambda: len(bench.doer.ran) == 3)
    while bench.doer.ran.count("kill") < 3:  # what is killed is what nobody goes on with
        die_of_it(bench, bench.owner(folding))
    bench.settle(bench.owner(folding))
    assert bench.doer.ran.count("kill") == 3
    assert bench.told(folding, "a") == bench.told(folding, "b") == ["done", "it"]
    [letter] = dead(bench, folding)
    assert (letter.key, letter.reason) == (b"kill", "its process ended in each of 3 attempts")
    assert bench.told(folding, "kill") == [f"failed 3: {letter.reason}"]


def test_projects_have_turns(bench: Errands) -> None:
    folding = fold(concurrency=1)
    bench.ask(folding, *(Asked(f"flood-{n}") for n in range(60)), project="one")
    bench.ask(folding, Asked("single"), project="two")
    bench.settle(bench.owner(folding))
    assert bench.doer.ran.index("single") <= 41  # what was stepped with the first block, at most
    assert Counter(bench.doer.ran).most_common(1)[0][1] == 1
    assert bench.doer.most == 1
    decoded = [folding.topic.codec().read(p) for p in contents(bench.log, folding.topic.name)]
    assert {project for project, e in decoded if getattr(e, "key", "") == "single"} == {"two"}


def test_what_is_wanted_anew_while_it_is_under_way_is_done_again_behind_it(
    bench: Errands,
) -> None:
    folding = fold()
    bench.ask(folding, Asked("a", trick="hold"))
    cursor = bench.owner(folding)
    bench.carry_on(cursor)
    wait_until(lambda: bench.doer.ran == ["a"])
    bench.ask(folding, Asked("a", trick="quiet"))
    bench.carry_on(cursor)
    assert bench.doer.ran == ["a"]
    bench.doer.go.set()
    bench.settle(cursor)
    assert bench.doer.ran == ["a", "a"]
    assert bench.doer.most == 1
    assert bench.told(folding) == ["done", "it", "done"]
    assert index(bench, folding) == []


def test_what_is_not_wanted_any_more_is_not_tried_again(bench: Errands) -> None:
    folding = fold()
    bench.ask(folding, Asked("a", trick="fail"), Asked("b", at_ms=bench.clock.ms + 5))
    cursor = bench.settle(bench.owner(folding))
    bench.ask(folding, Asked("a", trick="none"), Asked("b", trick="none"))
    bench.settle(cursor)
    bench.clock.ms += 60_000
    bench.settle(cursor)
    assert (bench.doer.ran, bench.ended(folding)) == (["a"], [])
    assert index(bench, folding) == []


def test_two_that_believe_a_partition_is_theirs_say_once_that_a_job_is_done(
    bench: Errands,
) -> None:
    folding = fold()
    one, ones = bench.owner(folding), bench.workers
    two, twos = bench.owner(folding), bench.workers
    bench.ask(folding, *(Asked(name) for name in "abcdef"))
    bench.carry_on(two)
    bench.carry_on(one)
    for cursor, workers in ((two, twos), (one, ones)) * 2:
        bench.workers = workers
        bench.settle(cursor)
    assert Counter(e.key for e in bench.ended(folding)) == dict.fromkeys(
        (name.encode() for name in "abcdef"), 1
    )


def test_jobs_that_wait_outlive_a_rebuild(bench: Errands) -> None:
    folding = fold()
    bench.ask(folding, Asked("a", trick="fail"), Asked("b", at_ms=bench.clock.ms + 5))
    bench.ask(folding, Asked("c", trick="never"))
    cursor = bench.settle(bench.owner(folding))
    [letter] = dead(bench, folding)
    cursor.sink.retry_job(bench.log.identity(folding.topic.name), letter, 0)
    assert bench.rebuild(folding).swapped
    bench.doer.mended = True
    bench.doer.go.set()
    bench.clock.ms += 60_000
    bench.settle(bench.owner(folding))
    assert bench.told(folding) == bench.told(folding, "b") == ["done", "it"]
    assert bench.told(folding, "c")[1:] == ["done", "it"]
    assert len(bench.ended(folding)) == 4


class Thawed(msgspec.Struct):
    pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"work": Thawed}, "frozen=True"),
        ({"name": ""}, "1 to 255 bytes"),
        ({"concurrency": 0}, "never run"),
    ],
)
def test_a_job_that_cannot_work_is_refused_when_it_is_made(
    change: dict[str, Any], said: str
) -> None:
    job: Job[Any] = fold().jobs[0]
    with pytest.raises(ValueError, match=said):
        replace(job, **change)


def test_a_fold_that_would_not_hear_of_its_jobs_is_refused() -> None:
    folding = fold()
    with pytest.raises(ValueError, match="lacks Done, Failed"):
        replace(folding, topic=replace(folding.topic, events=(Asked, Sent)))
    with pytest.raises(ValueError, match="more than one job for Errand"):
        replace(folding, jobs=folding.jobs * 2)


def test_work_of_no_job_is_a_dead_letter(bench: Errands) -> None:
    folding = replace(fold(), jobs=())
    bench.ask(folding, Asked("a"))
    bench.settle(bench.owner(folding))
    [letter] = bench.stores.dead_letters.letters(folding.name)
    assert "no job of the fold" in letter.reason
