"""Many connections of one kind for so many seconds: `python -m attackers.swarm PORT KIND …`.

As a process of its own with the lowest claim on the cores: it stands for other machines. Prints one
JSON object.
"""

import asyncio
import json
import os
import sys
from contextlib import suppress
from functools import partial

import uvloop

from attackers.behaviours import Attacker
from attackers.kinds import KINDS, Kind

_AGAIN_SECONDS = 0.02
"""A connection that ends is followed by another no sooner than this."""
_CONNECTING_MAX = 50
_PATIENCE_SECONDS = 20.0


class Swarm:
    def __init__(self, port: int, kind: Kind) -> None:
        self.received_bytes = 0
        self._opened = 0
        self._unreachable = 0
        self._port = port
        self._kind = kind
        self._over = False
        self._number = 0
        self._gate = asyncio.Semaphore(_CONNECTING_MAX)
        self._came = asyncio.Semaphore(0)
        self._present: set[Attacker] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, connections: int, seconds: float) -> dict[str, int]:
        """So many seconds from when all have come."""
        for _ in range(connections):
            self._start(0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                for _ in range(connections):
                    await self._came.acquire()
        await asyncio.sleep(seconds)
        self._over = True
        for task in self._tasks:
            task.cancel()
        for attacker in self._present:
            attacker.transport.abort()
        await asyncio.sleep(0)
        return {
            "opened": self._opened,
            "unreachable": self._unreachable,
            "received_bytes": self.received_bytes,
        }

    def began(self, attacker: Attacker) -> None:
        self._opened += 1
        self._came.release()
        self._present.add(attacker)

    def ended(self, attacker: Attacker) -> None:
        self._present.discard(attacker)
        if not self._over:
            self._start(_AGAIN_SECONDS)

    def _start(self, after: float) -> None:
        task = asyncio.get_running_loop().create_task(self._open(after))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, after: float) -> None:
        number, self._number = self._number, self._number + 1
        address = f"127.0.1.{1 + number % self._kind.addresses}"
        loop = asyncio.get_running_loop()
        await asyncio.sleep(after)
        while not self._over:
            try:
                async with self._gate:
                    await loop.create_connection(
                        partial(self._kind.make, self, number),
                        "127.0.0.1",
                        self._port,
                        local_addr=(address, 0),
                    )
            except OSError:
                self._unreachable += 1
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return


def main() -> None:
    port, name, connections, seconds = sys.argv[1:]
    os.nice(19)

    async def run() -> dict[str, int]:
        return await Swarm(int(port), KINDS[name]).run(int(connections), float(seconds))

    print(json.dumps(uvloop.run(run())))


if __name__ == "__main__":
    main()
