"""The group commit: who travels together, who is told what, and how much may gather."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from penstock.core.edge import NO_CONTENT
from penstock.core.edge.committer import Committer, Repeat, Settle
from penstock.core.edge.judging import Judged, Part
from penstock.core.edge.turn import Turn
from penstock.core.errors import KeyReused, NotReady, Overloaded, PenstockError
from penstock.core.log import Append, Done
from penstock.core.log.memory import MemoryLog
from support.clock import MovedClock
from support.logs import TOPIC, account, contents

OTHER = "tests.other"
BYTES_MAX = 100


class KeepingLog(MemoryLog):
    """Remembers what was submitted together, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(MovedClock())
        self.groups: list[list[Append]] = []
        self.full = False
        self._dones: list[Done] = []

    def submit(self, appends: Sequence[Append], done: Done) -> None:
        if self.full:
            raise Overloaded("the log is behind")
        self.groups.append(list(appends))
        self._dones.append(done)

    def answer(self) -> None:
        super().submit(self.groups[len(self.groups) - len(self._dones)], self._dones.pop(0))


class Told:
    """Who was told what, in order."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, type[PenstockError] | None]] = []

    def by(self, name: str) -> Callable[[PenstockError | None], None]:
        return lambda error: self.outcomes.append((name, type(error) if error else None))


def commit(
    committer: Committer,
    topic: str,
    payloads: Sequence[bytes],
    settle: Settle,
    *,
    idempotency_key: str = "",
    rejected: int = 0,
    fingerprint: bytes = b"",
    answer: bytes = b"",
    repeat: Repeat | None = None,
) -> None:
    parts = [Part(topic, payloads)]
    judged = Judged(parts, NO_CONTENT, rejected, idempotency_key, fingerprint, NO_CONTENT, answer)
    committer.commit(topic, judged, settle, repeat)


Work = Callable[[Committer, KeepingLog, Told], Awaitable[None]]


def on(work: Work, *, defects: Sequence[str] = ()) -> KeepingLog:
    """Run some work on a committer; `defects` are what its loop hears of and nobody else."""
    log, told, heard = KeepingLog(), Told(), list[dict[str, Any]]()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: heard.append(context))
        turn = Turn()
        turn.attach(loop)
        committer = Committer(log, loop, turn, bytes_max=BYTES_MAX)
        await asyncio.wait_for(work(committer, log, told), 20)

    asyncio.run(run())
    assert [str(context["exception"]) for context in heard] == list(defects)
    return log


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_request_of_several_topics_is_one_submission() -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        parts = [Part(OTHER, [b"1"], [b"a"]), Part(TOPIC, [b"2", b"3"])]
        committer.commit(TOPIC, Judged(parts, NO_CONTENT, 0), told.by("plain"))
        committer.commit(TOPIC, Judged(parts, NO_CONTENT, 4, "k"), told.by("keyed"))
        committer.commit(TOPIC, Judged(parts[:1], NO_CONTENT, 0, "l"), told.by("other only"))
        committer.commit(TOPIC, Judged(parts[:1], NO_CONTENT, 5), told.by("some rejected"))
        await turns()
        assert log.groups == [
            [
                Append(OTHER, [b"1"], [b"a"]),
                Append(TOPIC, [b"2", b"3"], []),
                Append(TOPIC, [b"2", b"3"], (), "k", 4),
                Append(OTHER, [b"1"], [b"a"], follows=True),
                Append(TOPIC, (), (), "l"),
                Append(OTHER, [b"1"], [b"a"], follows=True),
                Append(TOPIC, (), (), "", 5),
                Append(OTHER, [b"1"], [b"a"]),
            ]
        ]
        log.answer()
        await turns()
        assert [error for _, error in told.outcomes] == [None] * 4
        assert committer.stored == 3 + 3 + 1 + 1

    on(work)


def test_what_is_plain_shares_an_append_and_what_has_an_account_of_its_own_does_not() -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        commit(committer, TOPIC, [b"1"], told.by("1"))
        commit(committer, TOPIC, [b"2"], told.by("keyed"), idempotency_key="k")
        commit(committer, OTHER, [b"3"], told.by("other"))
        commit(committer, TOPIC, [b"4", b"5"], told.by("some rejected"), rejected=2)
        commit(committer, TOPIC, [b"6"], told.by("2"))
        await turns()
        assert log.groups == [
            [
                Append(TOPIC, [b"1", b"6"], []),
                Append(OTHER, [b"3"], []),
                Append(TOPIC, [b"2"], (), "k"),
                Append(TOPIC, [b"4", b"5"], (), "", 2),
            ]
        ]
        assert told.outcomes == []
        log.answer()
        await turns()
        names = ["1", "keyed", "other", "some rejected", "2"]
        assert told.outcomes == [(name, None) for name in names]

    log = on(work)
    assert sorted(contents(log)) == [b"1", b"2", b"4", b"5", b"6"]
    assert account(log)[1:] == (7, 5, 0, 2)


def test_a_repeat_in_the_same_group_is_stored_once_and_both_are_told_so() -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        for name in ("first", "again"):
            commit(committer, TOPIC, [b"same"], told.by(name), idempotency_key="k")
        await turns()
        log.answer()
        await turns()
        assert told.outcomes == [("first", None), ("again", None)]

    assert account(on(work))[1:] == (2, 1, 1, 0)


def test_in_a_group_each_is_told_what_became_of_its_own_key() -> None:
    """Reliability 12 and 49."""

    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        answers: list[bytes] = []
        commit(committer, OTHER, [b"plain"], told.by("plain"))
        for name, fingerprint in (("first", b"1"), ("other", b"2"), ("again", b"1")):
            commit(committer,
                TOPIC, [name.encode()], told.by(name), idempotency_key="k",
                fingerprint=fingerprint, answer=name.encode(), repeat=answers.append,
            )  # fmt: skip
        commit(committer, TOPIC, [b"rejects"], told.by("rejects"), rejected=1)
        await turns()
        log.answer()
        await turns()
        expected = [("plain", None), ("first", None), ("other", KeyReused), ("rejects", None)]
        assert told.outcomes == expected
        assert answers == [b"first"]

    assert contents(on(work)) == [b"first", b"rejects"]


def test_a_group_that_is_not_stored_repeats_nothing() -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        answers: list[bytes] = []
        commit(committer, TOPIC, [b"1"], told.by("1"), idempotency_key="k", repeat=answers.append)
        await turns()
        log.failing = "the disk is full"
        log.answer()
        await turns()
        assert (told.outcomes, answers) == ([("1", NotReady)], [])

    assert on(work).idempotency_keys == 0


def test_while_one_group_is_under_way_the_next_one_gathers() -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        commit(committer, TOPIC, [b"1"], told.by("1"))
        await turns()
        for name in ("2", "3"):
            commit(committer, TOPIC, [name.encode()], told.by(name))
        await turns()
        assert log.groups == [[Append(TOPIC, [b"1"], [])]]
        log.answer()
        await turns()
        assert log.groups[1:] == [[Append(TOPIC, [b"2", b"3"], [])]]
        assert told.outcomes == [("1", None)]
        log.answer()
        await turns()
        assert told.outcomes == [("1", None), ("2", None), ("3", None)]

    on(work)


def test_more_bytes_than_may_gather_are_refused_at_once_and_accounted_for() -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        commit(committer, TOPIC, [b"under way"], told.by("under way"))
        await turns()
        commit(committer, TOPIC, [b"x" * BYTES_MAX], told.by("fits"))
        with pytest.raises(Overloaded):
            commit(committer, TOPIC, [b"x", b"y"], told.by("one too many"), rejected=1)
        log.answer()
        await turns()
        commit(committer, TOPIC, [b"room again"], told.by("room again"))
        log.answer()
        await turns()
        log.answer()
        await turns()
        assert told.outcomes == [("under way", None), ("fits", None), ("room again", None)]

    assert account(on(work))[1:] == (6, 3, 0, 3)


def test_a_log_that_refuses_a_group_has_all_of_it_told_and_accounted_for() -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        log.full = True
        commit(committer, TOPIC, [b"1"], told.by("plain"))
        commit(committer, TOPIC, [b"2", b"3"], told.by("keyed"), idempotency_key="k", rejected=1)
        await turns()
        assert told.outcomes == [("plain", Overloaded), ("keyed", Overloaded)]
        log.full = False
        commit(committer, TOPIC, [b"4"], told.by("later"))
        await turns()
        log.answer()
        await turns()
        assert told.outcomes[2:] == [("later", None)]

    assert account(on(work))[1:] == (5, 1, 0, 4)


def test_a_group_that_is_not_stored_is_told_why_and_the_next_one_goes() -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        commit(committer, TOPIC, [b"1"], told.by("1"))
        await turns()
        commit(committer, TOPIC, [b"2"], told.by("2"))
        log.failing = "the disk is full"
        log.answer()
        log.failing = ""
        await turns()
        log.answer()
        await turns()
        assert told.outcomes == [("1", NotReady), ("2", None)]

    assert contents(on(work)) == [b"2"]


def test_a_defect_in_one_answer_keeps_nobody_else_from_theirs() -> None:
    def defective(error: PenstockError | None) -> None:
        raise ValueError("a defect")

    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        commit(committer, TOPIC, [b"1"], told.by("before"))
        commit(committer, TOPIC, [b"2"], defective)
        commit(committer, TOPIC, [b"3"], told.by("after"))
        await turns()
        log.answer()
        await turns()
        assert told.outcomes == [("before", None), ("after", None)]

    on(work, defects=["a defect"])


def test_when_a_crowd_is_expected_a_group_waits_for_its_company_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(committer: Committer, log: KeepingLog, told: Told) -> None:
        committer.clients = 16
        monkeypatch.setattr("penstock.core.edge.committer._GATHER_SECONDS", 3_600.0)
        for _ in range(4):  # a crowd
            commit(committer, TOPIC, [b"x"], told.by("x"))
        await turns()
        log.answer()
        await turns()
        commit(committer, TOPIC, [b"1"], told.by("1"))
        await turns()
        assert len(log.groups) == 1, "it did not wait"
        for _ in range(3):  # one in four of those present
            commit(committer, TOPIC, [b"1"], told.by("1"))
        assert log.groups[1:] == [[Append(TOPIC, [b"1"] * 4, [])]]
        log.answer()
        await turns()
        monkeypatch.undo()
        commit(committer, TOPIC, [b"alone"], told.by("alone"))
        while len(log.groups) < 3:  # noqa: ASYNC110 - a group tells nobody
            await asyncio.sleep(0.001)
        assert log.groups[2:] == [[Append(TOPIC, [b"alone"], [])]]

    on(work)
