"""Routes that look first and then append: by the same commit as what comes in."""

import asyncio
import json

import pytest

from penstock.core.edge import NO_CONTENT, Received, Reply, Response
from penstock.core.edge.endpoints import AnswerEndpoint, Way
from penstock.core.errors import Conflict
from penstock.core.events import Event
from support.asking import Hosted, ask, on, until
from support.hosts import BODY_BYTES_MAX, Answer, Host, Request, Rig
from support.logs import account, contents
from support.notes import NOTES, Noted, codec

SPEND = "/spend"
WAYS: dict[type[Event], Way] = {Noted: Way(NOTES.name, codec.encode, codec.of, lambda _: b"")}


def offered(rig: Rig, purse: list[int], *, emits: bool = True) -> None:
    """Spends what is in the purse, as long as there is enough."""

    async def spend(received: Received) -> Response | Reply:
        cents = int(received.body)
        if cents == 0:
            return Response.json({"left": purse[0]})
        if cents > purse[0]:
            raise Conflict("there is not as much", code="too_little")
        purse[0] -= cents
        key = received.headers.get(b"idempotency-key", b"").decode()
        return Reply((Noted(cents),), Response.json({"left": purse[0]}), idempotency_key=key)

    endpoint = AnswerEndpoint(
        operation="tests.spend",
        body_bytes_max=BODY_BYTES_MAX,
        answer=spend,
        topic=NOTES.name if emits else "",
        ways=WAYS if emits else {},
    )
    rig.edge.add("POST", SPEND, endpoint)


def spending(cents: int, key: str = "") -> Request:
    headers = (("idempotency-key", key),) if key else ()
    return Request(path=SPEND, pieces=(str(cents).encode(),), headers=headers)


def left(answer: Answer) -> int:
    return int(json.loads(answer.body)["left"])


def test_what_it_decides_is_stored_and_what_it_only_tells_is_not(hosted: Hosted, rig: Rig) -> None:
    offered(rig, [5])
    assert left(ask(hosted, rig, spending(3))) == 2
    assert left(ask(hosted, rig, spending(0))) == 2
    assert ask(hosted, rig, spending(3)).error == (409, "too_little")
    assert len(contents(rig.log)) == 1
    assert account(rig.log)[1:] == (2, 1, 0, 1)


def test_its_answer_leaves_only_once_the_event_is_durable(hosted: Hosted, rig: Rig) -> None:
    offered(rig, [5])

    async def work(host: Host) -> Answer | None:
        rig.log.held = True
        asked = asyncio.ensure_future(host.ask(spending(1)))
        await until(lambda: bool(rig.log._waiting))
        assert not asked.done()
        assert rig.edge.in_flight == 1
        rig.log.let_go()
        return await asked

    answer = on(hosted, rig, work)
    assert answer is not None
    assert left(answer) == 4
    assert rig.edge.in_flight == 0


def test_a_repeat_is_told_what_was_said_first(hosted: Hosted, rig: Rig) -> None:
    offered(rig, [5])
    first, again = (ask(hosted, rig, spending(2, "k")) for _ in range(2))
    assert first.body == again.body
    assert again.headers["idempotent-replayed"] == "true"
    assert ask(hosted, rig, spending(1, "k")).error == (422, "key_reused")
    assert len(contents(rig.log)) == 1


def test_while_the_log_takes_nothing_it_is_answered_503(hosted: Hosted, rig: Rig) -> None:
    """Reliability 4."""
    offered(rig, [5])
    rig.log.failing = "the disk is full"
    assert ask(hosted, rig, spending(1)).error == (503, "not_ready")
    assert left(ask(hosted, rig, spending(0))) == 4


def test_what_it_did_not_say_that_it_emits_is_a_defect(hosted: Hosted, rig: Rig) -> None:
    offered(rig, [5], emits=False)
    assert ask(hosted, rig, spending(1)).error == (500, "internal")
    assert contents(rig.log) == []
    assert rig.edge.in_flight == 0


@pytest.mark.parametrize("rejected", [0, 2])
def test_a_reply_without_events_is_an_answer(hosted: Hosted, rig: Rig, rejected: int) -> None:
    async def nothing(received: Received) -> Reply:
        del received
        return Reply((), NO_CONTENT, rejected=rejected)

    endpoint = AnswerEndpoint(
        operation="tests.nothing", body_bytes_max=9, answer=nothing, topic=NOTES.name, ways=WAYS
    )
    rig.edge.add("POST", "/nothing", endpoint)
    assert ask(hosted, rig, Request(path="/nothing")).status == 204
    assert account(rig.log)[1:] == (rejected, 0, 0, rejected)
