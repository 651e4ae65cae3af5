"""What operators ask is answered in the midst of everything that users ask."""

import asyncio
from collections.abc import Callable

import pytest

from apps.audiences.tags import a_tag, encoded
from e2e.process import PATIENCE_SECONDS, Server

Serve = Callable[..., Server]
QUERIES = 300
QUERY = (
    "POST /aggregates?time_range=2022-03-01T00:00:00_2022-03-01T00:10:00&action=VIEW"
    "&aggregates=COUNT&aggregates=SUM_PRICE"
)
ASKED = ("/healthz", "/readyz", "/metrics", "/api/pipeline")


async def status(port: int, request: str) -> int:
    """Of the answer to a request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nhost: tests\r\ncontent-length: 0\r\n\r\n".encode())
    try:
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


@pytest.mark.parametrize("options", [[], ["--forget-heads"]], ids=["remembered", "parsed"])
def test_operators_are_answered_amid_hundreds_of_queries(serve: Serve, options: list[str]) -> None:
    """Reliability 43."""
    server = serve(*options)
    lines = b"\n".join(encoded(a_tag(cookie=f"c{n}")) for n in range(1_000))
    for _ in range(10):
        assert server.client().post("/user_tags/batch", lines).status == 200

    async def work() -> None:
        queries = [asyncio.create_task(status(server.port, QUERY)) for _ in range(QUERIES)]
        answered = dict.fromkeys(ASKED, 0)

        async def ask(path: str) -> None:
            while not all(query.done() for query in queries):
                assert await status(server.port, f"GET {path}") == 200
                answered[path] += not all(query.done() for query in queries)
                await asyncio.sleep(0.02)

        async with asyncio.timeout(PATIENCE_SECONDS * 3), asyncio.TaskGroup() as group:
            for path in ASKED:
                group.create_task(ask(path))
            assert set(await asyncio.gather(*queries)) == {200}
        assert min(answered.values()) >= 5, answered

    asyncio.run(work())
    assert server.stop() == 0
    assert "Traceback" not in server.said()
