"""An HTTP client that measures how much a server takes, or how long it takes at a given rate.

Without a rate the loop is closed: every connection has one request in flight, always. With a rate
it is open: requests are due at even intervals whatever the server does, and a latency counts from
the moment the request was due. Run as a process of its own (`python -m bench.blast`), so that it
has a core and an interpreter to itself; prints one JSON object.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

_STATUS_AT = slice(9, 12)
_PACE_SECONDS = 0.0005
_LOOK_SECONDS = 0.05


class Connection(asyncio.Protocol):
    """One request in flight; the next is sent when the answer is complete."""

    def __init__(self, blast: "Blast", index: int) -> None:
        self._blast = blast
        self._next = index
        self._due = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._blast.free(self)

    def send(self, due: float) -> None:
        requests = self._blast.requests
        self._next = (self._next + 1) % len(requests)
        self._due = due
        self._transport.write(requests[self._next])

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        head = data.find(b"\r\n\r\n")
        if head < 0 or not self._complete(data, head):
            self._buffer = data
            return
        self._blast.record(data[_STATUS_AT], time.perf_counter() - self._due)
        self._blast.free(self)

    @staticmethod
    def _complete(data: bytes, head: int) -> bool:
        if data[_STATUS_AT] == b"204":
            return True
        at = data[:head].lower().find(b"content-length:")
        if at < 0:
            return True
        length = int(data[at + 15 : data.find(b"\r", at)])
        return len(data) >= head + 4 + length


class Blast:
    def __init__(self, requests: Sequence[bytes], rate: float = 0.0) -> None:
        self.requests = requests
        self.rate = rate
        self.over = False
        self.measuring = False
        self._free: list[Connection] = []
        self.latencies: list[float] = []
        self.statuses: dict[str, int] = {}

    def record(self, status: bytes, seconds: float) -> None:
        if self.measuring:
            self.latencies.append(seconds)
        name = status.decode()
        self.statuses[name] = self.statuses.get(name, 0) + 1

    def free(self, connection: Connection) -> None:
        """Its answer has come."""
        if self.rate:
            self._free.append(connection)
        elif not self.over:
            connection.send(time.perf_counter())

    async def _pace(self) -> None:
        """What is due goes out on whichever connections are free; the rest stays due."""
        due = time.perf_counter()
        while not self.over:
            now = time.perf_counter()
            while due <= now and self._free:
                self._free.pop().send(due)
                due += 1 / self.rate
            await asyncio.sleep(_PACE_SECONDS)

    async def run(
        self, host: str, port: int, connections: int, seconds: float, during: Path | None
    ) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        opened = [
            await loop.create_connection(partial(Connection, self, index * 7919), host, port)
            for index in range(connections)
        ]
        pacing = asyncio.create_task(self._pace()) if self.rate else None
        await asyncio.sleep(min(2.0, seconds / 4))
        self.measuring = True
        began = time.perf_counter()
        if during is None:
            await asyncio.sleep(seconds)
        else:
            await asyncio.to_thread(_wait, during, seconds)
        elapsed = time.perf_counter() - began
        self.measuring, self.over = False, True
        await asyncio.sleep(0.2)
        if pacing is not None:
            await pacing
        for transport, _ in opened:
            transport.close()
        ordered = sorted(self.latencies)
        return {
            "per_second": len(ordered) / elapsed,
            "p50_ms": _quantile(ordered, 0.50) * 1e3,
            "p99_ms": _quantile(ordered, 0.99) * 1e3,
            "p999_ms": _quantile(ordered, 0.999) * 1e3,
            "statuses": self.statuses,
            "latencies_ms": [round(seconds * 1e3, 3) for seconds in ordered] if self.rate else [],
        }


def _wait(during: Path, seconds: float) -> None:
    """Until the file is gone, or so long."""
    until = time.perf_counter() + seconds
    while during.exists() and time.perf_counter() < until:
        time.sleep(_LOOK_SECONDS)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="requests a second; 0: all it takes"
    )
    parser.add_argument("--core", type=int, default=-1)
    parser.add_argument("--requests", type=Path, required=True, help="file of framed requests")
    parser.add_argument("--during", type=Path, help="a file: it is over when that is gone, too")
    arguments = parser.parse_args()
    if arguments.core >= 0:
        os.sched_setaffinity(0, {arguments.core})
    requests = json.loads(arguments.requests.read_text())
    blast = Blast([request.encode("latin-1") for request in requests], arguments.rate)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(
            blast.run(
                "127.0.0.1",
                arguments.port,
                arguments.connections,
                arguments.seconds,
                arguments.during,
            )
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
