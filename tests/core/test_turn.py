"""One bound for all that is done between two looks of the loop at its sockets.

With a clock that only work moves, and a loop that comes round when it is told.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from penstock.core.edge import NO_CONTENT
from penstock.core.edge.committer import Committer
from penstock.core.edge.judging import Judged, Part
from penstock.core.edge.turn import SHARE_SECONDS, TURN_SECONDS, Turn
from support.clock import MovedClock
from support.hosts import HeldLog, Request, Rig, hosted
from support.logs import TOPIC

PIECE = SHARE_SECONDS / 4
ABOUT = 1.01 * PIECE
"""The last piece may begin just before the time is up."""


class Round:
    """A loop and its clock; `come_round` runs what was due, as one iteration does."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.turn = Turn(lambda: self.now)
        self.turn.attach(self.loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", self)

    def call_soon(self, call: Callable[..., None], *given: Any) -> None:
        self.due.append((call, given))

    call_soon_threadsafe = call_soon

    def call_later(self, seconds: float, call: Callable[..., None], *given: Any) -> None:
        assert seconds > 0
        self.due.append((call, given))

    def come_round(self) -> float:
        """How long what was due took."""
        due, self.due, began = self.due, [], self.now
        for call, given in due:
            call(*given)
        return self.now - began

    def work(self) -> None:
        self.now += PIECE


def test_what_arrives_has_a_turn_and_the_next_one_is_whole_again() -> None:
    """Reliability 41."""
    on = Round()
    for _ in range(3):
        began = on.now
        while on.turn.has_time():
            on.work()
        assert on.now - began == pytest.approx(TURN_SECONDS, abs=ABOUT)
        on.come_round()


def test_who_has_many_pieces_takes_a_share_and_leaves_the_rest() -> None:
    on = Round()
    for _ in on.turn.pieces():
        on.work()
    assert on.now - 100.0 == pytest.approx(SHARE_SECONDS, abs=ABOUT)
    assert on.turn.has_time()


def test_all_kinds_of_work_together_end_with_the_turn_and_none_stands_still() -> None:
    """However many have much to do: each gets on, and what they take beyond the turn is little."""
    on = Round()
    while on.turn.has_time():
        on.work()
    pieces = 0
    for _ in range(3):
        for _ in on.turn.pieces():
            on.work()
            pieces += 1
    assert 3 <= pieces <= 6
    assert on.now - 100.0 == pytest.approx(TURN_SECONDS + 3 * PIECE, abs=3 * ABOUT)


def test_what_is_to_come_is_paid_for_beforehand() -> None:
    on = Round()
    pieces = 0
    for _ in on.turn.pieces():
        on.turn.charge(PIECE)
        pieces += 1
    assert 4 <= pieces <= 5
    assert on.turn.until == pytest.approx(100.0 + TURN_SECONDS - pieces * PIECE)


class Paid(Turn):
    """One that notes what was charged."""

    seconds = 0.0

    def charge(self, seconds: float) -> None:
        self.seconds += seconds
        super().charge(seconds)


def test_a_long_question_is_paid_for_by_its_bytes() -> None:
    """Looking through 15 KB of parameters takes 1.5 ms, and many may ask so at the same moment
    (reliability 42).
    """

    async def asked(query: str) -> float:
        rig = Rig()
        rig.edge.turn = paid = Paid()
        async with hosted(rig) as host:
            answer = await host.ask(Request("GET", f"/ask/you?{query}", pieces=()))
        assert answer is not None
        assert answer.status == 200
        return paid.seconds

    short, long = (asyncio.run(asked("%41" * count)) for count in (0, 5_000))
    assert long - short == pytest.approx(0.0015)


def test_what_waits_goes_round_a_share_at_a_turn() -> None:
    on, done = Round(), [0, 0, 0]

    def guest(n: int) -> Callable[[], None]:
        def again() -> None:
            done[n] += 1
            on.work()
            if done[n] < 20:
                on.turn.later(again)

        return again

    for n in range(3):
        on.turn.later(guest(n))
    while on.turn.is_behind:
        assert on.come_round() <= SHARE_SECONDS + ABOUT
        assert max(done) - min(done) <= 1
    assert done == [20, 20, 20]


def test_a_defect_keeps_nobody_from_their_turn() -> None:
    on, done = Round(), list[str]()

    def defective() -> None:
        raise ValueError("a defect")

    on.turn.later(defective)
    on.turn.later(lambda: done.append("next"))
    with pytest.raises(ValueError, match="a defect"):
        on.come_round()
    on.come_round()
    assert done == ["next"]
    assert not on.turn.is_behind


def test_however_many_a_commit_settles_a_turn_is_not_longer() -> None:
    """Reliability 41."""
    on, told = Round(), list[int]()
    log = HeldLog(MovedClock())
    log.held = True
    committer = Committer(log, on.loop, on.turn, bytes_max=1_000_000)

    def settle(n: int) -> Callable[[object], None]:
        def tell(error: object) -> None:
            assert error is None
            told.append(n)
            on.now += PIECE / 16

        return tell

    for n in range(1_000):
        judged = Judged([Part(TOPIC, [b"x"])], NO_CONTENT, 0)
        committer.commit(TOPIC, judged, settle(n))
    on.come_round()
    log.let_go()
    rounds = 0
    while len(told) < 1_000:
        assert on.come_round() <= SHARE_SECONDS + ABOUT
        rounds += 1
    assert told == list(range(1_000))
    assert rounds > 10
