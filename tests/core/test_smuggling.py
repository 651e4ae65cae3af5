"""Requests that two readers could read differently are refused, with all that stands behind them.

Over real sockets; an independent parser reads the answers.
"""

import asyncio

import pytest

from support.answers import parse
from support.hosts import Rig, served
from support.logs import contents
from support.messages import SMUGGLED, post

BEHIND = post(b"smuggled")
PATIENCE_SECONDS = 20.0

pytestmark = [
    pytest.mark.parametrize("fast_lane", [False, True], ids=["asgi", "lane"]),
    pytest.mark.parametrize("smuggled", SMUGGLED.values(), ids=SMUGGLED.keys()),
]


def statuses(rig: Rig, stream: bytes, *, fast_lane: bool) -> list[int]:
    """Of all answers until the server closes, which it has to do by itself."""

    async def run() -> bytes:
        async with served(rig, fast_lane=fast_lane) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(stream)
            answered = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
            writer.close()
            return answered

    answers = parse(asyncio.run(run()))
    assert answers[-1].closes
    assert rig.edge.in_flight == 0
    return [answer.status for answer in answers]


def test_it_is_refused_and_nothing_behind_it_is_executed(fast_lane: bool, smuggled: bytes) -> None:
    rig = Rig()

    assert statuses(rig, smuggled + BEHIND, fast_lane=fast_lane) == [400]
    assert contents(rig.log) == []


def test_it_is_refused_after_the_answers_of_what_stands_before_it(
    fast_lane: bool, smuggled: bytes
) -> None:
    """Twice the same, so that the lane has seen the head of what stands before."""
    rig = Rig()

    stream = post() + post() + smuggled + BEHIND
    assert statuses(rig, stream, fast_lane=fast_lane) == [204, 204, 400]
    assert len(contents(rig.log)) == 2
