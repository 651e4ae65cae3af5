import asyncio
import itertools
from collections.abc import Awaitable, Callable
from time import perf_counter

import pytest
import uvloop

from penstock.load.client import Endpoint, Exchange, Failure, Pool
from penstock.load.histogram import Histogram

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENCE_SECONDS = 60.0
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def outcomes(
    answer: Answer | None, *bursts: int, size: int = 2, timeout_seconds: float = PATIENCE_SECONDS
) -> list[Exchange[int]]:
    """What became of so many requests at once, and then so many, and so on, to a server that treats
    each connection by `answer`.
    """

    async def main() -> list[Exchange[int]]:
        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                assert answer is not None
                await answer(reader, writer)
            except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if answer is None:
            server.close()
            await server.wait_closed()
        ended: list[Exchange[int]] = []
        pool: Pool[int] = Pool(
            Endpoint(f"http://127.0.0.1:{port}"),
            size=size,
            timeout_seconds=timeout_seconds,
            on_end=ended.append,
        )
        numbers = itertools.count()
        until = perf_counter() + PATIENCE_SECONDS
        for burst in bursts:
            for number in itertools.islice(numbers, burst):
                request = Endpoint("http://h").post("/x", b"{}")
                pool.submit(Exchange(request, number, intended=perf_counter()))
            while pool.unfinished and perf_counter() < until:
                pool.expire(perf_counter())
                await asyncio.sleep(0.002)
        await pool.close()
        server.close()
        await asyncio.sleep(0.01)
        return ended

    return uvloop.run(main())


def repeating(payload: bytes, *, pieces: int = 1) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"{}")
            step = -(-len(payload) // pieces)
            for start in range(0, len(payload), step):
                writer.write(payload[start : start + step])
                await asyncio.sleep(0.002 if pieces > 1 else 0)

    return answer


@pytest.mark.parametrize(
    ("payload", "status", "body"),
    [
        (NO_CONTENT, 204, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, b"hi"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nRetry-After: 1\r\n\r\n", 503, b""),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_au_01_answers_are_read_on_kept_connections(
    payload: bytes, status: int, body: bytes, pieces: int
) -> None:
    ended = outcomes(repeating(payload, pieces=pieces), 10)
    assert [exchange.status for exchange in ended] == [status] * 10
    assert {exchange.body for exchange in ended} == {body}
    assert sorted(exchange.token for exchange in ended) == list(range(10))


def test_au_129_a_refused_connection_is_a_connect_error() -> None:
    assert [exchange.status for exchange in outcomes(None, 5)] == [Failure.CONNECT] * 5


def test_au_129_silence_is_a_timeout_and_later_requests_get_new_connections() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    ended = outcomes(silent, 4, timeout_seconds=0.2)
    assert [exchange.status for exchange in ended] == [Failure.TIMEOUT] * 4
    assert all(exchange.ended - exchange.sent >= 0.2 for exchange in ended)


def test_au_129_a_close_instead_of_an_answer_is_a_disconnect() -> None:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")

    assert [exchange.status for exchange in outcomes(closing, 5)] == [Failure.DISCONNECT] * 5


def test_au_129_garbage_is_a_disconnect() -> None:
    ended = outcomes(repeating(b"garbage\r\n\r\n"), 3)
    assert [exchange.status for exchange in ended] == [Failure.DISCONNECT] * 3


def test_au_01_a_server_may_close_after_each_answer() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")

    ended = outcomes(once, 6)
    assert [(exchange.status, exchange.body) for exchange in ended] == [(200, b"x")] * 6


def test_au_133_connections_take_turns_so_that_none_is_closed_between_two_bursts() -> None:
    names = itertools.count(1)

    async def named(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % next(names)
        await repeating(name)(reader, writer)

    answered_by = [exchange.body for exchange in outcomes(named, 3, 1, 1, 1, 1, 1, 1, size=3)]
    assert set(answered_by[:3]) == {b"1", b"2", b"3"}
    assert answered_by[3:6] == answered_by[6:] == answered_by[:3]


def test_au_01_other_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match="http://"):
        Endpoint("ftp://example.test")


def test_au_133_percentiles_are_within_two_per_cent() -> None:
    histogram = Histogram()
    for micros in range(1, 100_001):
        histogram.record(micros / 1e6)
    for fraction in (0.01, 0.5, 0.95, 0.99, 0.999):
        assert histogram.percentile(fraction) == pytest.approx(fraction / 10, rel=0.02)
    assert histogram.durations().max_ms == 100.0
    assert Histogram().durations().p99_ms == 0.0
