"""An edge over a socket: limits, durability before the reply, faults."""

import asyncio
import json
from uuid import UUID

import pytest

from penstock.core.errors import NotReady, Overloaded
from penstock.core.log import Append, Done
from penstock.core.settings import Settings
from support.asking import Hosted, ask, on, until
from support.hosts import BODY_BYTES_MAX, FAIL, NOTE, SECRET, Answer, Host, Request, Rig
from support.logs import account, contents

NOTED = 204

# -- what goes well -----------------------------------------------------------------------------


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("pieces", [(b"a note",), (b"a ", b"", b"note"), (), (b"x" * 1000,)])
def test_a_note_is_stored_and_answered(
    hosted: Hosted, rig: Rig, pieces: tuple[bytes, ...], sized: bool
) -> None:
    answer = ask(hosted, rig, Request(pieces=pieces, sized=sized))
    assert (answer.status, answer.body) == (NOTED, b"")
    assert "content-length" not in answer.headers
    assert len(contents(rig.log)) == 1
    assert account(rig.log)[1:] == (1, 1, 0, 0)


def test_the_reply_leaves_only_once_the_event_is_durable(hosted: Hosted, rig: Rig) -> None:
    async def work(host: Host) -> Answer | None:
        rig.log.held = True
        asked = asyncio.ensure_future(host.ask(Request()))
        await until(lambda: bool(rig.log._waiting))
        await asyncio.sleep(0.1)
        assert not asked.done()
        assert rig.edge.in_flight == 1
        rig.log.let_go()
        return await asked

    answer = on(hosted, rig, work)
    assert answer is not None
    assert answer.status == NOTED


def test_a_repeat_of_an_idempotency_key_is_answered_alike_and_stored_once(
    hosted: Hosted, rig: Rig
) -> None:
    request = Request(headers=(("Idempotency-Key", "k"),))
    for _ in range(2):
        assert ask(hosted, rig, request).status == NOTED
    assert account(rig.log)[1:] == (2, 1, 1, 0)


def test_path_and_query_reach_the_handler_decoded_and_raw(hosted: Hosted, rig: Rig) -> None:
    request = Request("GET", "/ask/a%20%C5%BC%2F?x=%31", ())
    assert ask(hosted, rig, request).body == '{"name":"a ż/","query":"x=%31"}'.encode()


def test_many_at_once_are_all_answered(hosted: Hosted, rig: Rig) -> None:
    async def work(host: Host) -> list[Answer | None]:
        return await asyncio.gather(*[host.ask(Request()) for _ in range(100)])

    answers = on(hosted, rig, work)
    assert [answer and answer.status for answer in answers] == [NOTED] * 100
    assert len(contents(rig.log)) == 100
    assert rig.edge.in_flight == 0


# -- limits -------------------------------------------------------------------------------------

TOO_LONG = (b"x" * (BODY_BYTES_MAX // 2),) * 3


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Request(pieces=TOO_LONG), (413, "too_large")),
        (Request(pieces=TOO_LONG, sized=False), (413, "too_large")),
        (Request(pieces=(b"x" * 1001,), sized=False), (413, "too_large")),
        (Request(headers=(("x", "y" * 20_000),)), (431, "too_large")),
        (Request(path=f"{NOTE}?{'q' * 20_000}"), (431, "too_large")),
        (Request(headers=(("Content-Encoding", "gzip"),)), (400, "bad_encoding")),
        (Request(headers=(("Content-Encoding", "compress"),)), (415, "unsupported_type")),
        (Request(headers=(("Content-Encoding", "identity, br"),)), (415, "unsupported_type")),
        (Request(path="/nowhere"), (404, "not_found")),
        (Request(path="/note/"), (404, "not_found")),
        (Request("GET", "/ask/", ()), (404, "not_found")),
        (Request("GET", "/ask/%FF", ()), (400, "bad_field")),
        (Request("GET"), (405, "method_not_allowed")),
        (Request("DELETE", "/ask/a"), (405, "method_not_allowed")),
        (Request(pieces=(b"reject",)), (400, "bad_field")),
    ],
)
def test_what_is_refused_is_told_why_and_stores_nothing(
    hosted: Hosted, rig: Rig, request_: Request, error: tuple[int, str]
) -> None:
    answer = ask(hosted, rig, request_)
    assert answer.error == error
    assert answer.headers["content-type"] == "application/json"
    assert UUID(answer.headers["x-request-id"]).version == 7
    assert contents(rig.log) == []
    (line,) = rig.lines.named("request.refused")
    assert (line["status"], line["error"]) == error
    assert line["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("request_", "rejected"),
    [
        (Request(pieces=TOO_LONG), 1),
        (Request(pieces=(b"reject",)), 1),
        (Request(pieces=(b"fail",)), 1),
        (Request(pieces=(b"nothing",)), 3),
        (Request(headers=(("Content-Encoding", "gzip"),)), 1),
        (Request(path="/nowhere"), 0),
        (Request("GET"), 0),
        (Request("GET", FAIL, ()), 0),
    ],
)
def test_every_refusal_of_an_event_is_accounted_for(
    hosted: Hosted, rig: Rig, request_: Request, rejected: int
) -> None:
    ask(hosted, rig, request_)
    assert account(rig.log)[1:] == (rejected, 0, 0, rejected)


def test_a_wrong_method_is_told_the_right_ones(hosted: Hosted, rig: Rig) -> None:
    assert ask(hosted, rig, Request("PUT")).headers["allow"] == "POST"
    assert ask(hosted, rig, Request("PUT", FAIL)).headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "request_", [Request(complete=False), Request("GET", FAIL, complete=False)]
)
def test_a_body_that_does_not_arrive_in_time_is_answered_408(
    hosted: Hosted, request_: Request
) -> None:
    rig = Rig(Settings(body_seconds_max=0.05))
    assert ask(hosted, rig, request_).error == (408, "timeout")
    assert contents(rig.log) == []


def test_beyond_the_limit_of_requests_under_way_further_ones_are_answered_503(
    hosted: Hosted,
) -> None:
    rig = Rig(Settings(requests_in_flight_max=2))

    async def work(host: Host) -> Answer | None:
        rig.log.held = True
        first = [asyncio.ensure_future(host.ask(Request())) for _ in range(2)]
        await until(lambda: rig.edge.in_flight == 2)
        refused = await host.ask(Request())
        rig.log.let_go()
        assert [answer and answer.status for answer in await asyncio.gather(*first)] == [NOTED] * 2
        again = await host.ask(Request())
        assert again is not None
        assert again.status == NOTED
        return refused

    refused = on(hosted, rig, work)
    assert refused is not None
    assert refused.error == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert rig.edge.in_flight == 0
    assert account(rig.log)[1:] == (4, 3, 0, 1)


# -- faults -------------------------------------------------------------------------------------


def test_while_the_log_takes_nothing_events_are_answered_503(hosted: Hosted, rig: Rig) -> None:
    """Reliability 4."""
    rig.log.failing = "the disk is full"
    answer = ask(hosted, rig, Request())
    assert answer.error == (503, "not_ready")
    assert int(answer.headers["retry-after"]) >= 1
    rig.log.failing = ""
    assert ask(hosted, rig, Request()).status == NOTED
    assert account(rig.log)[1:] == (2, 1, 0, 1)


def test_clients_are_told_no_path_and_no_engines_words_and_the_line_is(
    hosted: Hosted, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(appends: list[Append], done: Done) -> None:
        done(NotReady("writing the log: IOError", detail="/a/folder/log.db"))

    monkeypatch.setattr(rig.log, "submit", refuse)
    answer = ask(hosted, rig, Request())
    assert json.loads(answer.body)["message"] == "writing the log: IOError"
    (line,) = rig.lines.named("request.refused")
    assert line["message"] == "writing the log: IOError: /a/folder/log.db"


def test_a_log_that_has_too_much_waiting_is_answered_503(
    hosted: Hosted, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(appends: list[Append], done: Done) -> None:
        raise Overloaded("the log is behind")

    monkeypatch.setattr(rig.log, "submit", refuse)
    assert ask(hosted, rig, Request()).error == (503, "overloaded")
    assert account(rig.log)[1:] == (1, 0, 0, 1)


@pytest.mark.parametrize(
    "request_",
    [
        Request(pieces=(b"fail",)),
        Request("GET", FAIL, ()),
        Request("GET", FAIL + "?stored", ()),
    ],
)
def test_a_defect_of_ours_is_answered_500_without_its_details(
    hosted: Hosted, rig: Rig, request_: Request
) -> None:
    answer = ask(hosted, rig, request_)
    assert answer.error == (500, "internal")
    assert SECRET.encode() not in answer.body
    assert any(SECRET in str(line) for line in rig.lines.lines)
    assert ask(hosted, rig, Request()).status == NOTED


@pytest.mark.parametrize("request_", [Request(), Request("GET", FAIL)])
def test_a_client_that_hangs_up_half_way_leaves_nothing_behind(
    hosted: Hosted, rig: Rig, request_: Request
) -> None:
    async def work(host: Host) -> None:
        assert await host.ask(request_._replace(complete=False, hang_up=True)) is None
        await until(lambda: rig.edge.in_flight == 0)

    on(hosted, rig, work)
    assert contents(rig.log) == []
    timings = rig.registry.timings.values()
    assert [sum(timing.statuses) for timing in timings if any(timing.statuses)] == [1]


def test_a_client_that_hangs_up_before_the_answer_changes_nothing_about_its_event(
    hosted: Hosted, rig: Rig
) -> None:
    async def work(host: Host) -> None:
        rig.log.held = True
        asked = asyncio.ensure_future(host.ask(Request(hang_up=True)))
        await until(lambda: bool(rig.log._waiting))
        rig.log.let_go()
        await asked
        await until(lambda: rig.edge.in_flight == 0)

    on(hosted, rig, work)
    assert len(contents(rig.log)) == 1


# -- request ids --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [(Request(), NOTED), (Request("GET", "/ask/a", ()), 200), (Request(path="/nowhere"), 404)],
)
def test_a_request_keeps_the_id_that_a_trusted_proxy_gave_it(
    hosted: Hosted, request_: Request, status: int
) -> None:
    rig = Rig(Settings(trusted_proxies="127.0.0.1"))
    answer = ask(hosted, rig, request_._replace(headers=(("X-Request-Id", " \tmy-id_1 \t"),)))
    assert (answer.status, answer.headers["x-request-id"]) == (status, "my-id_1")


def test_nobody_else_s_id_is_believed(hosted: Hosted, rig: Rig) -> None:
    for request in (Request(), Request(path="/nowhere")):
        answer = ask(hosted, rig, request._replace(headers=(("X-Request-Id", "mine"),)))
        assert answer.headers.get("x-request-id") != "mine"
    (line,) = rig.lines.named("request.refused")
    assert UUID(line["request_id"]).version == 7


@pytest.mark.parametrize("given", ["x" * 200, "with space", "żółć"])
def test_an_id_that_cannot_be_repeated_safely_is_replaced(hosted: Hosted, given: str) -> None:
    rig = Rig(Settings(trusted_proxies="127.0.0.1"))
    request = Request(path="/nowhere", headers=(("X-Request-Id", given),))
    assert UUID(ask(hosted, rig, request).headers["x-request-id"]).version == 7
    request = Request("GET", "/ask/a", (), headers=(("X-Request-Id", given),))
    assert "x-request-id" not in ask(hosted, rig, request).headers
