"""A client that behaves well, and an operator who looks: `python -m attackers.beside PORT …`.

A tag is due every 20 ms whatever the server does, on connections that are kept, and now and then on
one of its own; a latency counts from the moment the tag was due. The operator asks on a new
connection each time, as probes and scrapers do. Prints one JSON object.
"""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Coroutine
from time import perf_counter

import uvloop

from attackers.requests import get, post, tag

EVERY_SECONDS = 0.02
OPERATOR_EVERY_SECONDS = 0.25
OPERATORS = ("/healthz", "/readyz", "/metrics")
PATIENCE_SECONDS = 30.0
_NEW_EVERY = 25
"""Of so many tags, one comes on a connection of its own."""
_CLIENT, _OPERATOR = "127.0.0.2", "127.0.0.3"
"""Neither shares an address with an attacker."""
HELD = re.compile(rb"^penstock_loop_held_seconds (\S+)$", re.MULTILINE)
WAITED = re.compile(rb"^penstock_loop_waited_seconds (\S+)$", re.MULTILINE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSES = b"\r\nconnection: close\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Beside:
    def __init__(self, port: int, origin: str) -> None:
        self._port = port
        self._origin = origin.encode()
        self._kept: list[Stream] = []
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._operators: dict[str, list[tuple[float, str]]] = {path: [] for path in OPERATORS}
        self._held_seconds = self._waited_seconds = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float) -> dict[str, object]:
        began = perf_counter()
        await asyncio.gather(self._send(began, seconds), self._look(began, seconds))
        while self._tasks:
            await asyncio.gather(*self._tasks)
        for _, writer in self._kept:
            writer.close()
        return {
            "statuses": self._statuses,
            "latencies": sorted(self._latencies),
            "operators": self._operators,
            "held_seconds": self._held_seconds,
            "waited_seconds": self._waited_seconds,
        }

    async def _send(self, began: float, seconds: float) -> None:
        for number in range(int(seconds / EVERY_SECONDS)):
            due = began + number * EVERY_SECONDS
            await asyncio.sleep(max(0.0, due - perf_counter()))
            self._do(self._tag(number, due))

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tag(self, number: int, due: float) -> None:
        alone = number % _NEW_EVERY == 0
        body = tag(b"good-%d" % number, self._origin)
        request = post(b"/user_tags", body, *([b"Connection: close"] if alone else []))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                stream = None if alone else self._idle()
                stream = stream or await self._open(_CLIENT)
                status, _, closes = await _ask(stream, request)
        except (OSError, EOFError, TimeoutError) as error:
            self._statuses[type(error).__name__] += 1
            return
        self._latencies.append(perf_counter() - due)
        self._statuses[status] += 1
        if alone or closes:
            stream[1].close()
        else:
            self._kept.append(stream)

    def _idle(self) -> Stream | None:
        """A connection to ask on again. One that was hung up in the meantime is none."""
        while self._kept:
            reader, writer = self._kept.pop()
            if not reader.at_eof() and reader.exception() is None:
                return reader, writer
            writer.close()
        return None

    async def _look(self, began: float, seconds: float) -> None:
        for number in range(int(seconds / OPERATOR_EVERY_SECONDS)):
            await asyncio.sleep(max(0.0, began + number * OPERATOR_EVERY_SECONDS - perf_counter()))
            for path in OPERATORS:
                self._do(self._operate(path))

    async def _operate(self, path: str) -> None:
        asked = perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                stream = await self._open(_OPERATOR)
                status, answer, _ = await _ask(stream, get(path.encode(), b"Connection: close"))
                stream[1].close()
        except (OSError, EOFError, TimeoutError) as error:
            status, answer = type(error).__name__, b""
        self._operators[path].append((perf_counter() - asked, status))
        if found := HELD.search(answer):
            self._held_seconds = max(self._held_seconds, float(found[1]))
        if found := WAITED.search(answer):
            self._waited_seconds = max(self._waited_seconds, float(found[1]))

    async def _open(self, address: str) -> Stream:
        return await asyncio.open_connection("127.0.0.1", self._port, local_addr=(address, 0))


async def _ask(stream: Stream, request: bytes) -> tuple[str, bytes, bool]:
    """The status and the body of the answer, and whether it is the last on its connection."""
    reader, writer = stream
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return head[9:12].decode(), body, _CLOSES in head.lower()


def main() -> None:
    port, origin, seconds = sys.argv[1:]

    async def run() -> dict[str, object]:
        return await Beside(int(port), origin).run(float(seconds))

    print(json.dumps(uvloop.run(run())))


if __name__ == "__main__":
    main()
