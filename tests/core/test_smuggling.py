"""Requests that two readers could read differently are refused, with all that stands behind them.

Over real sockets; an independent parser reads the answers.
"""

import asyncio

import pytest

from penstock.core.settings import Settings
from support.answers import parse
from support.hosts import Rig, served
from support.logs import contents
from support.messages import REFUSED, SMUGGLED, post

BEHIND = post(b"smuggled")
PATIENCE_SECONDS = 60.0

pytestmark = [
    pytest.mark.parametrize("remember_heads", [False, True], ids=["parsed", "remembered"]),
    pytest.mark.parametrize("named", SMUGGLED),
]


def statuses(rig: Rig, stream: bytes) -> list[int]:
    """Of all answers until the server closes, which it has to do by itself."""

    async def run() -> bytes:
        async with served(rig) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(stream)
            answered = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
            writer.close()
            return answered

    answers = parse(asyncio.run(run()))
    assert answers[-1].closes
    assert rig.edge.in_flight == 0
    return [answer.status for answer in answers]


def test_it_is_refused_and_nothing_behind_it_is_executed(remember_heads: bool, named: str) -> None:
    rig = Rig(Settings(remember_heads=remember_heads))

    assert statuses(rig, SMUGGLED[named] + BEHIND) == [REFUSED.get(named, 400)]
    assert contents(rig.log) == []


def test_it_is_refused_after_the_answers_of_what_stands_before_it(
    remember_heads: bool, named: str
) -> None:
    """Twice the same, so that the head of what stands before is known."""
    rig = Rig(Settings(remember_heads=remember_heads))

    stream = post() + post() + SMUGGLED[named] + BEHIND
    assert statuses(rig, stream) == [204, 204, REFUSED.get(named, 400)]
    assert len(contents(rig.log)) == 2
