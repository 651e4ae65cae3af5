"""Answered before it is durable: the event is stored behind the answer, and a loss is counted."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from penstock.core.edge import FailurePolicy
from penstock.core.edge.dispatcher import Dispatcher
from penstock.core.edge.endpoints import IngestEndpoint
from penstock.core.errors import Overloaded
from penstock.core.ids import Ids
from penstock.core.log import Append, Done, Log
from penstock.core.log.sqlite import Limits, SqliteLog
from penstock.core.server import settle_behind
from penstock.core.settings import Settings
from support.asking import Hosted, ask, on, until
from support.disks import FaultyDisk
from support.hosts import NOTE, Answer, Host, Request, Rig
from support.logs import account, balanced, contents

FIRST = "/first"
NOTED = 204


def offer(rig: Rig, policy: FailurePolicy) -> Rig:
    """The rig's note, answered first, at a path of its own."""
    (endpoint, _), _ = rig.edge.routes.find("POST", NOTE.encode())
    assert isinstance(endpoint, IngestEndpoint)
    rig.edge.add("POST", FIRST, replace(endpoint, operation="tests.first", respond_first=policy))
    return rig


def standing_on(log: Log, policy: FailurePolicy) -> Rig:
    """A rig on another log than its own."""
    rig = Rig()
    (endpoint, _), _ = rig.edge.routes.find("POST", NOTE.encode())
    rig.edge = Dispatcher(
        Settings(),
        log=log,
        clock=rig.clock,
        ids=Ids(rig.clock),
        logger=rig.lines.logger,
        registry=rig.registry,
    )
    rig.edge.add("POST", NOTE, endpoint)
    rig.registry.sources[:] = [rig.edge]
    return offer(rig, policy)


def lost(rig: Rig) -> float:
    """What the metric says, the operation's label included."""
    families = {family.name: family for family in rig.registry.collect()}
    samples = families["penstock_events_lost"].samples if "penstock_events_lost" in families else ()
    return sum(s.value for s in samples if s.labels == {"operation": "tests.first"})


async def stored(log: Log, count: int) -> None:
    await until(lambda: len(contents(log)) == count)


async def answered(host: Host, *pieces: bytes) -> Answer:
    answer = await host.ask(Request(path=FIRST, pieces=pieces or (b"a note",)))
    assert answer is not None
    return answer


@pytest.fixture(params=["fail_open", "fail_closed"])
def policy(request: pytest.FixtureRequest) -> FailurePolicy:
    found: FailurePolicy = request.param
    return found


# -- while the log takes what it is given -------------------------------------------------------


def test_the_answer_leaves_before_the_event_is_durable_which_it_becomes_behind_it(
    hosted: Hosted, rig: Rig, policy: FailurePolicy
) -> None:
    offer(rig, policy)

    async def work(host: Host) -> None:
        rig.log.held = True
        assert (await answered(host)).status == NOTED
        assert contents(rig.log) == []
        await until(lambda: bool(rig.log._waiting))
        assert (rig.edge.in_flight, rig.edge.behind) == (0, 1)
        rig.log.let_go()
        await stored(rig.log, 1)
        await until(lambda: rig.edge.behind == 0)

    on(hosted, rig, work)
    assert account(rig.log)[1:] == (1, 1, 0, 0)
    assert lost(rig) == 0
    assert rig.lines.named("events.lost") == []


def test_behind_answers_events_share_a_commit(
    hosted: Hosted, rig: Rig, policy: FailurePolicy
) -> None:
    offer(rig, policy)

    async def work(host: Host) -> None:
        rig.log.held = True
        for _ in range(20):
            assert (await answered(host)).status == NOTED
        assert rig.edge.behind == 20
        rig.log.let_go()
        await stored(rig.log, 20)
        await until(lambda: rig.edge.behind == 0)

    on(hosted, rig, work)
    assert rig.log.commits < 20
    assert account(rig.log)[1:] == (20, 20, 0, 0)


def test_an_event_that_is_not_valid_is_refused_as_ever(
    hosted: Hosted, rig: Rig, policy: FailurePolicy
) -> None:
    offer(rig, policy)
    assert ask(hosted, rig, Request(path=FIRST, pieces=(b"reject",))).error == (400, "bad_field")
    assert account(rig.log)[1:] == (1, 0, 0, 1)
    assert lost(rig) == 0


def test_a_repeat_of_an_idempotency_key_is_stored_once_and_lost_never(
    hosted: Hosted, rig: Rig, policy: FailurePolicy
) -> None:
    offer(rig, policy)

    async def work(host: Host) -> None:
        request = Request(path=FIRST, headers=(("Idempotency-Key", "k"),))
        for _ in range(2):
            answer = await host.ask(request)
            assert answer is not None
            assert answer.status == NOTED
        await until(lambda: account(rig.log).received == 2)

    on(hosted, rig, work)
    assert account(rig.log)[1:] == (2, 1, 1, 0)
    assert lost(rig) == 0


def test_what_reuses_a_key_for_something_else_is_counted_as_lost(
    hosted: Hosted, rig: Rig, policy: FailurePolicy
) -> None:
    """Reliability 49: it was answered before anybody knew."""
    offer(rig, policy)

    async def work(host: Host) -> None:
        for piece in (b"one", b"other"):
            key = (("Idempotency-Key", "k"),)
            answer = await host.ask(Request(path=FIRST, pieces=(piece,), headers=key))
            assert answer is not None
            assert answer.status == NOTED
        await until(lambda: account(rig.log).received == 2)

    on(hosted, rig, work)
    assert account(rig.log)[1:] == (2, 1, 0, 1)
    assert lost(rig) == 1
    assert "Idempotency-Key" in rig.lines.named("events.lost")[0]["reason"]


# -- while it takes nothing ---------------------------------------------------------------------


def test_fail_open_answers_all_the_same_and_counts_what_is_lost(hosted: Hosted, rig: Rig) -> None:
    offer(rig, "fail_open")
    rig.log.failing = "the disk is full"
    for number in (1, 2, 3):
        assert ask(hosted, rig, Request(path=FIRST)).status == NOTED
        assert lost(rig) == number
    assert contents(rig.log) == []
    assert account(rig.log)[1:] == (3, 0, 0, 3)
    line = rig.lines.named("events.lost")[0]
    assert line["level"] == "error"
    assert (line["operation"], line["events"]) == ("tests.first", 1)
    assert line["reason"] == "the disk is full"


def test_every_loss_of_a_flood_is_counted(hosted: Hosted, rig: Rig) -> None:
    offer(rig, "fail_open")
    rig.log.failing = "the disk is full"

    async def work(host: Host) -> None:
        for _ in range(150):
            assert (await answered(host)).status == NOTED

    on(hosted, rig, work)
    assert lost(rig) == 150


def test_fail_closed_refuses_and_says_when_to_come_back(hosted: Hosted, rig: Rig) -> None:
    offer(rig, "fail_closed")
    rig.log.failing = "the disk is full"
    answer = ask(hosted, rig, Request(path=FIRST))
    assert answer.error == (503, "not_ready")
    assert int(answer.headers["retry-after"]) >= 1
    assert contents(rig.log) == []
    assert account(rig.log)[1:] == (1, 0, 0, 1)
    assert lost(rig) == 0  # its sender was told


def test_what_the_log_refuses_after_the_answer_left_is_counted_as_lost(
    hosted: Hosted, rig: Rig, policy: FailurePolicy
) -> None:
    offer(rig, policy)

    async def work(host: Host) -> None:
        rig.log.held = True
        assert (await answered(host)).status == NOTED
        await until(lambda: bool(rig.log._waiting))
        rig.log.failing = "the disk is full"
        rig.log.let_go()
        await until(lambda: rig.edge.behind == 0)

    on(hosted, rig, work)
    assert lost(rig) == 1
    assert [line["reason"] for line in rig.lines.named("events.lost")] == ["the disk is full"]
    assert account(rig.log)[1:] == (1, 0, 0, 1)


def test_what_a_log_with_too_much_waiting_refuses_is_counted_as_lost(
    hosted: Hosted, rig: Rig, policy: FailurePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(rig, policy)

    def refuse(appends: list[Append], done: Done) -> None:
        raise Overloaded("the log is behind")

    monkeypatch.setattr(rig.log, "submit", refuse)

    async def work(host: Host) -> None:
        assert (await answered(host)).status == NOTED
        await until(lambda: rig.edge.behind == 0)

    on(hosted, rig, work)
    assert lost(rig) == 1
    assert account(rig.log)[1:] == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("policy", "status", "losses"), [("fail_open", NOTED, 1), ("fail_closed", 503, 0)]
)
def test_when_too_much_is_gathering_the_policy_decides(
    hosted: Hosted, policy: FailurePolicy, status: int, losses: int
) -> None:
    rig = offer(Rig(Settings(queue_bytes_max=1)), policy)
    answer = ask(hosted, rig, Request(path=FIRST))
    assert answer.status == status
    assert ("retry-after" in answer.headers) is (status == 503)
    assert lost(rig) == losses
    assert rig.edge.behind == 0
    assert account(rig.log)[1:] == (1, 0, 0, 1)


# -- and takes it again -------------------------------------------------------------------------


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def log(tmp_path: Path, rig: Rig, disk: FaultyDisk) -> Iterator[SqliteLog]:
    opened = SqliteLog(tmp_path / "log.db", rig.clock, Limits(), vfs=disk.name)
    yield opened
    disk.heal()
    opened.close()


def test_a_disk_that_was_full_and_is_no_more_needs_no_restart(
    hosted: Hosted, log: SqliteLog, disk: FaultyDisk, policy: FailurePolicy
) -> None:
    """Reliability 4."""
    rig = standing_on(log, policy)
    refused = policy == "fail_closed"

    async def work(host: Host) -> None:
        assert (await answered(host)).status == NOTED
        await stored(log, 1)
        disk.write_fault = apsw.FullError("no space left")
        assert (await answered(host)).status == NOTED  # nobody knows it yet
        await until(lambda: rig.edge.behind == 0)
        assert lost(rig) == 1
        for _ in range(3):
            assert (await answered(host)).status == (503 if refused else NOTED)
        disk.heal()
        await until(lambda: not log.failure())  # it tries by itself
        assert (await answered(host)).status == NOTED
        await stored(log, 2)

    on(hosted, rig, work)
    assert lost(rig) == (1 if refused else 1 + 3)
    assert len(contents(log)) == 2
    log._queue.put(None)  # the last tallies are written when it ends
    log._thread.join()
    found = account(log)
    assert balanced(found)
    assert found[1:] == (1 + 1 + 3 + 1, 2, 0, 1 + 3)


def test_a_full_disk_that_nobody_asks_anything_of_is_found_healed_by_itself(
    hosted: Hosted, log: SqliteLog, disk: FaultyDisk, policy: FailurePolicy
) -> None:
    rig = standing_on(log, policy)

    async def work(host: Host) -> None:
        disk.write_fault = apsw.FullError("no space left")
        await answered(host)
        await until(lambda: bool(log.failure()))
        disk.heal()
        await until(lambda: not log.failure())
        assert (await answered(host)).status == NOTED
        await stored(log, 1)

    on(hosted, rig, work)
    assert lost(rig) == 1


def test_after_a_failed_sync_nothing_is_taken_until_a_restart(
    hosted: Hosted, log: SqliteLog, disk: FaultyDisk, policy: FailurePolicy
) -> None:
    """Reliability 5."""
    rig = standing_on(log, policy)

    async def work(host: Host) -> None:
        disk.sync_fault = apsw.IOError("EIO")
        await answered(host)
        await until(lambda: rig.edge.behind == 0)
        disk.heal()
        await asyncio.sleep(1.2)  # longer than the log waits before it tries by itself
        expected = NOTED if policy == "fail_open" else 503
        assert (await answered(host)).status == expected

    on(hosted, rig, work)
    assert log.failure().startswith("fatal")
    assert lost(rig) == (2 if policy == "fail_open" else 1)


# -- a stop -------------------------------------------------------------------------------------


def test_a_stop_waits_until_what_was_answered_first_is_stored(
    hosted: Hosted, rig: Rig, policy: FailurePolicy
) -> None:
    offer(rig, policy)

    async def work(host: Host) -> None:
        rig.log.held = True
        assert (await answered(host)).status == NOTED
        stopping = asyncio.ensure_future(settle_behind(rig.edge, 10.0))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        rig.log.let_go()
        await stopping
        assert len(contents(rig.log)) == 1

    on(hosted, rig, work)


def test_a_stop_does_not_wait_for_a_log_that_hangs(hosted: Hosted, rig: Rig) -> None:
    offer(rig, "fail_open")

    async def work(host: Host) -> None:
        rig.log.held = True
        assert (await answered(host)).status == NOTED
        await settle_behind(rig.edge, 0.1)
        assert rig.edge.behind == 1
        rig.log.let_go()

    on(hosted, rig, work)
