"""What is done every so often, by one of all the processes that could do it."""

import time
from collections.abc import Callable

import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import NotReady
from penstock.core.projection.schedule import Schedule
from penstock.core.state.lease import AloneLeases, Leases
from support.lines import Lines

PATIENCE_SECONDS = 20.0


class Turns:
    """Notes the tokens it was given."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def __call__(self, token: int) -> None:
        self.tokens.append(token)


class OneHolder:
    """Leases in memory, for any number of owners."""

    def __init__(self) -> None:
        self.holder = ""
        self.token = 0
        self.answers = True

    def acquire(self, name: str, owner: str, seconds: float) -> int | None:
        assert name
        assert seconds > 0
        self._answer()
        if self.holder not in ("", owner):
            return None
        self.holder = owner
        self.token += 1
        return self.token

    def renew(self, name: str, owner: str, token: int, seconds: float) -> bool:
        assert name
        assert seconds > 0
        self._answer()
        return (self.holder, self.token) == (owner, token)

    def release(self, name: str, owner: str, token: int) -> None:
        assert name
        self._answer()
        if (self.holder, self.token) == (owner, token):
            self.holder = ""

    def _answer(self) -> None:
        if not self.answers:
            raise NotReady("the store is away")


def a_schedule(work: Callable[[int], None], leases: Leases, owner: str = "one") -> Schedule:
    return Schedule(
        "tests", work, seconds=0.01, leases=leases, owner=owner, logger=Lines().logger
    )  # fmt: skip


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_one_who_is_alone_works_at_every_turn_under_one_token() -> None:
    turns = Turns()
    schedule = a_schedule(turns, AloneLeases(SystemClock()))
    schedule.start()
    eventually(lambda: len(turns.tokens) >= 3)
    schedule.stop()
    assert len(set(turns.tokens)) == 1


def test_of_two_one_works_and_the_other_follows_with_a_larger_token() -> None:
    leases, first, second = OneHolder(), Turns(), Turns()
    leader, heir = a_schedule(first, leases), a_schedule(second, leases, "two")
    assert leader.turn()
    assert not heir.turn()
    leader.start()
    heir.start()
    eventually(lambda: len(first.tokens) >= 3)
    assert second.tokens == []
    leader.stop()
    eventually(lambda: bool(second.tokens))
    heir.stop()
    assert second.tokens[0] > first.tokens[-1]


def test_one_who_lost_its_lease_works_no_more() -> None:
    leases, turns = OneHolder(), Turns()
    schedule = a_schedule(turns, leases)
    assert schedule.turn()
    leases.holder = "two"
    assert not schedule.turn()
    assert not schedule.leads
    assert len(turns.tokens) == 1


@pytest.mark.parametrize("error", [NotReady("the warehouse is away"), ZeroDivisionError()])
def test_a_store_that_is_away_and_a_failing_turn_end_nothing(error: Exception) -> None:
    leases, turns = OneHolder(), Turns()

    def work(token: int) -> None:
        turns(token)
        if len(turns.tokens) == 1:
            raise error

    schedule = a_schedule(work, leases)
    leases.answers = False
    with pytest.raises(NotReady):
        schedule.turn()
    assert turns.tokens == []
    leases.answers = True
    schedule.start()
    eventually(lambda: len(turns.tokens) >= 2)
    leases.answers = False
    schedule.stop()
