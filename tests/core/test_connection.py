"""A connection waits for nothing for ever, answers in order, and leaves nothing behind it.

Over real sockets, swept often; with heads parsed each time, and with heads that are remembered.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from penstock.core.edge import connection as connections
from penstock.core.edge.connections import READ_BYTES
from support.answers import Answered
from support.clients import PATIENCE_SECONDS, PAUSE_SECONDS, Bench, until, work_on
from support.hosts import Rig
from support.logs import account, contents
from support.messages import UPGRADE, coded, get, post

SOON = 0.1
"""Seconds: the bound under test."""


@pytest.fixture(params=[False, True], ids=["parsed", "remembered"])
def on(request: pytest.FixtureRequest) -> Callable[..., Rig]:
    return partial(work_on, remember_heads=request.param)


def told(answers: list[Answered]) -> list[int]:
    """Statuses, of answers of which only the last one closes."""
    assert [answer.closes for answer in answers] == [False] * (len(answers) - 1) + [True]
    return [answer.status for answer in answers]


# -- waiting ------------------------------------------------------------------------------------


def test_a_head_that_comes_too_slowly_is_answered_408_and_the_end(on: Callable[..., Rig]) -> None:
    """Reliability 19."""

    async def work(bench: Bench) -> None:
        await bench.client.send(post())
        await bench.client.drip(get(b"/ask/a", b"Slow: " + b"x" * 100))
        assert told(await bench.client.answered()) == [204, 408]

    on(work, head_seconds_max=SOON)


def test_a_slow_head_does_not_overtake_the_answer_before_it(on: Callable[..., Rig]) -> None:
    async def work(bench: Bench) -> None:
        bench.rig.log.held = True
        await bench.client.send(post() + b"GET /ask/a HTT")
        assert await bench.client.silent(4 * SOON)
        bench.rig.log.let_go()
        assert told(await bench.client.answered()) == [204, 408]

    on(work, head_seconds_max=SOON)


@pytest.mark.parametrize("before", [b"", post(), b"\r\n"])
def test_an_idle_connection_is_closed_without_a_word(on: Callable[..., Rig], before: bytes) -> None:
    async def work(bench: Bench) -> None:
        await bench.client.send(before)
        answers = await bench.client.answered()
        assert [(answer.status, answer.closes) for answer in answers] == [(204, False)] * bool(
            before.strip()
        )

    on(work, keep_alive_seconds=SOON)


@pytest.mark.parametrize("before", [b"", post()[:9]])
def test_a_connection_has_all_its_time_from_the_beginning(
    on: Callable[..., Rig], before: bytes
) -> None:
    async def work(bench: Bench) -> None:
        bench.client.writer.write(before)
        assert await bench.client.silent(SOON)
        await bench.client.send(post()[len(before) :])
        assert b" 204 " in await bench.client.heard()

    on(work, keep_alive_seconds=PATIENCE_SECONDS / 2, head_seconds_max=PATIENCE_SECONDS / 2)


def test_a_request_that_waits_for_its_commit_is_not_idle(on: Callable[..., Rig]) -> None:
    async def work(bench: Bench) -> None:
        bench.rig.log.held = True
        await bench.client.send(post())
        assert await bench.client.silent(4 * SOON)
        bench.rig.log.let_go()
        assert [answer.status for answer in await bench.client.answered()] == [204]

    on(work, keep_alive_seconds=SOON, head_seconds_max=SOON, body_seconds_max=SOON)


@pytest.mark.parametrize(
    "late",
    [
        post(b"x" * 500),
        coded(b"1\r\nx\r\n" * 100),
        post(b"x" * 500, path=b"/ask/a", method=b"GET"),
    ],
)
def test_a_body_that_comes_too_slowly_is_answered_408_and_the_end(
    on: Callable[..., Rig], late: bytes
) -> None:
    """Reliability 19."""

    async def work(bench: Bench) -> None:
        head = late.index(b"\r\n\r\n") + 4
        await bench.client.send(late[:head])
        await bench.client.drip(late[head:])
        assert told(await bench.client.answered()) == [408]

    rig = on(work, body_seconds_max=SOON)
    assert contents(rig.log) == []


def test_a_client_that_does_not_read_its_answers_is_cut_off_and_costs_little(
    on: Callable[..., Rig],
) -> None:
    """Reliability 19."""
    request = get(b"/ask/a?" + b"q" * 8_000)

    async def work(bench: Bench) -> None:
        connection = bench.connection
        with suppress(ConnectionError):
            for _ in range(10_000):
                bench.client.writer.write(request * 10)
                await bench.client.writer.drain()
                # One answer at a time, and one piece that waits behind what was read before it.
                assert connection.transport.get_write_buffer_size() < 200_000
                assert bench.server.connections.held < 2 * READ_BYTES
        assert connection.requests < 5_000, "it was never stopped"
        await until(lambda: not bench.server.connections.present)

    on(work, send_seconds_max=4 * SOON)


# -- bodies that were refused -------------------------------------------------------------------

REFUSED = b"POST /note HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
"""More than will be read."""


def test_the_rest_of_a_refused_body_is_read_so_that_the_answer_is(on: Callable[..., Rig]) -> None:
    async def work(bench: Bench) -> None:
        large = b"x" * 300_000
        await bench.client.send(post(large)[:100])
        assert b" 413 " in await bench.client.heard()
        await bench.client.send(post(large)[100:] + post(b"next", b"Connection: close"))
        assert told(await bench.client.answered()) == [204]

    assert len(contents(on(work).log)) == 1


def test_a_refused_body_is_read_no_further_than_its_bound(
    on: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "DRAIN_BYTES_MAX", 100_000)

    async def work(bench: Bench) -> None:
        connection = bench.connection
        await bench.client.send(REFUSED)
        assert b" 413 " in await bench.client.heard()
        with suppress(ConnectionError):
            for _ in range(100):
                await bench.client.send(b"x" * 100_000)
                await bench.client.writer.drain()
        assert 100_000 < connection._discarded < 500_000
        with suppress(ConnectionError):
            assert await bench.client.heard() == b""

    on(work)


def test_a_refused_body_is_waited_for_no_longer_than_another(on: Callable[..., Rig]) -> None:
    async def work(bench: Bench) -> None:
        await bench.client.send(post(b"x" * 300_000)[:100])
        (answer,) = await bench.client.answered()
        assert (answer.status, answer.closes) == (413, False)

    on(work, body_seconds_max=SOON)


def test_a_refused_body_that_tears_is_not_answered_twice(on: Callable[..., Rig]) -> None:
    async def work(bench: Bench) -> None:
        await bench.client.send(coded(b"400\r\n" + b"x" * 1_024 + b"\r\n"), b"no chunk\r\n", post())
        (answer,) = await bench.client.answered()
        assert (answer.status, answer.closes) == (413, True)

    assert contents(on(work).log) == []


# -- lines without an end -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "endless",
    [
        b"POST /note HTTP/1.1\r\nName: ",
        coded(b"1\r\nx\r\n0\r\nName: "),
        coded(b"1\r\nx\r\n1;name="),
    ],
    ids=["header", "trailer", "extension"],
)
def test_a_line_without_end_is_answered_431_and_the_end(
    on: Callable[..., Rig], endless: bytes
) -> None:
    async def work(bench: Bench) -> None:
        await bench.client.send(post(), endless, *[b"x" * 1_000] * 20)
        assert told(await bench.client.answered()) == [204, 431]

    assert account(on(work).log).stored == 1


def test_trailers_are_no_headers(on: Callable[..., Rig]) -> None:
    async def work(bench: Bench) -> None:
        body = coded(b"1\r\nx\r\n0\r\nX-Request-Id: trailer\r\nContent-Encoding: gzip\r\n\r\n")
        await bench.client.send(body)
        answer = await bench.client.heard()
        assert answer.startswith(b"HTTP/1.1 204 ")
        assert b"trailer" not in answer

    on(work)


# -- order --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10_000, 37, 5])
def test_requests_of_every_kind_are_answered_in_their_order(
    on: Callable[..., Rig], size: int
) -> None:
    asked = [
        (get(b"/ask/0"), 200),
        (post(), 204),
        (post(b"x", b"Expect: 100-continue"), 204),
        (post(), 204),
        (get(b"/ask/4"), 200),
        (post(b"reject"), 400),
        (post(b"x", path=b"/nowhere"), 404),
        (coded(b"1\r\nx\r\n0\r\n\r\n"), 204),
        (get(b"/ask/8", b"Connection: keep-alive"), 200),
        (post(b"x", *UPGRADE), 204),
        (post(b"x", b"Connection: close"), 204),
    ]
    stream = b"".join(request for request, _ in asked)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]

    async def work(bench: Bench) -> None:
        for piece in pieces:
            bench.client.writer.write(piece)
            await asyncio.sleep(0)
        answers = await bench.client.answered()
        assert told(answers) == [status for _, status in asked]
        for number in (0, 4, 8):
            assert b'"name":"%d"' % number in answers[number].body

    on(work)


def test_what_asks_for_another_protocol_is_answered_in_this_one_and_keeps_its_body(
    on: Callable[..., Rig],
) -> None:
    """Java's client asks for HTTP/2 with its first request, and sends its body all the same."""

    async def work(bench: Bench) -> None:
        await bench.client.send(post(b"first", *UPGRADE))
        await bench.client.send(post(b"second", *UPGRADE)[:-3], b"ond")
        await bench.client.send(post(b"last", b"Connection: close"))
        assert told(await bench.client.answered()) == [204, 204, 204]

    assert len(contents(on(work).log)) == 3


def test_a_target_that_is_none_does_not_overtake_the_answers_before_it(
    on: Callable[..., Rig],
) -> None:
    async def work(bench: Bench) -> None:
        bench.rig.log.held = True
        await bench.client.send(post() + post() + get(b"http://") + post())
        assert await bench.client.silent(SOON)
        bench.rig.log.let_go()
        await asyncio.sleep(SOON)
        bench.rig.log.let_go()
        assert told(await bench.client.answered()) == [204, 204, 400]

    assert len(contents(on(work).log)) == 2


def test_a_torn_question_for_the_head_alone_gets_the_head_alone(on: Callable[..., Rig]) -> None:
    async def work(bench: Bench) -> None:
        torn = post(
            b"no chunk\r\n", b"Transfer-Encoding: chunked", path=b"/ask/a", method=b"HEAD",
            sized=False,
        )  # fmt: skip
        await bench.client.send(torn)
        assert told(await bench.client.answered(b"HEAD")) == [400]

    on(work)


# -- ends ---------------------------------------------------------------------------------------


def test_a_graceful_stop_answers_what_was_accepted(on: Callable[..., Rig]) -> None:
    async def work(bench: Bench) -> None:
        bench.rig.log.held = True
        await bench.client.send(post() + get(b"/ask/a") + post())
        bench.connection.shutdown()
        bench.rig.log.let_go()
        assert told(await bench.client.answered()) == [204, 200, 204]

    assert len(contents(on(work).log)) == 2


def test_a_graceful_stop_waits_for_the_body_of_a_request_that_began(
    on: Callable[..., Rig],
) -> None:
    async def work(bench: Bench) -> None:
        await bench.client.send(post(b"a note")[:-3])
        bench.connection.shutdown()
        await bench.client.send(b"ote")
        assert told(await bench.client.answered()) == [204]

    on(work)


@pytest.mark.parametrize("before", [b"", post()])
def test_a_graceful_stop_ends_an_idle_connection_at_once(
    on: Callable[..., Rig], before: bytes
) -> None:
    async def work(bench: Bench) -> None:
        await bench.client.send(before)
        await until(lambda: len(contents(bench.rig.log)) == bool(before))
        await until(lambda: bench.rig.edge.in_flight == 0)
        bench.connection.shutdown()
        await until(lambda: not bench.server.connections.present)

    on(work)


@pytest.mark.parametrize("held", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("abrupt", [False, True], ids=["closed", "reset"])
def test_a_client_that_leaves_loses_what_was_not_complete_and_nothing_else(
    on: Callable[..., Rig], held: bool, abrupt: bool
) -> None:
    """`held`: it leaves while the log works on its event."""

    async def work(bench: Bench) -> None:
        bench.rig.log.held = held
        (connection,) = bench.server.connections.present
        await bench.client.send(post() if held else post()[:-1])
        await until(lambda: bench.rig.edge.in_flight == held)
        if abrupt:
            bench.client.reset()
        else:
            bench.client.writer.close()
        if abrupt or not held:
            await until(lambda: not bench.server.connections.present)
        else:
            # It may have closed one half only, and still read its answer.
            assert connection in bench.server.connections.present
        assert bench.rig.edge.in_flight == held
        bench.rig.log.let_go()

    assert len(contents(on(work).log)) == held


def test_a_client_that_leaves_with_requests_waiting_leaves_nothing_under_way(
    on: Callable[..., Rig],
) -> None:
    async def work(bench: Bench) -> None:
        bench.rig.log.held = True
        await bench.client.send(post() + post() + get(b"/ask/a"))
        await until(lambda: bench.rig.edge.in_flight == 1)
        bench.client.writer.transport.abort()
        await asyncio.sleep(PAUSE_SECONDS)
        bench.rig.log.let_go()
        await until(lambda: not bench.server.connections.present)

    assert contents(on(work).log)
