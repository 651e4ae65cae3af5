"""The door: who comes in a crowd is heard before anybody is sent away for the next."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from penstock.core.edge.listener import BACKLOG, Listener
from penstock.core.settings import Settings
from support.hosts import Rig

PLACES, NEWCOMERS = 16, 200
REQUEST = b"POST /note HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
PATIENCE_SECONDS = 20.0


class Door(socket.socket):
    """One that has no files for those who come, as often as it is told."""

    failures = 0
    accepts = 0

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.accepts += 1
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


@asynccontextmanager
async def listening(rig: Rig) -> AsyncIterator[Door]:
    door = Door(socket.AF_INET, socket.SOCK_STREAM)
    door.bind(("127.0.0.1", 0))
    door.listen(BACKLOG)
    rig.edge.attach(asyncio.get_running_loop())
    listener = Listener(rig.edge)
    listener.open(door)
    try:
        yield door
    finally:
        await listener.close(PATIENCE_SECONDS, asyncio.Event())
        rig.edge.close()


def on(rig: Rig, work: Callable[[Door], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        async with listening(rig) as door, asyncio.timeout(PATIENCE_SECONDS):
            await work(door)

    asyncio.run(run())


async def ask(door: Door, address: str) -> bytes:
    """Status of the answer, on a connection that is left to the server to end."""
    host, port = door.getsockname()
    reader, writer = await asyncio.open_connection(host, port, local_addr=(address, 0))
    writer.write(REQUEST)
    status = (await reader.readuntil(b"\r\n\r\n"))[9:12]
    ending = asyncio.create_task(reader.read())
    ending.add_done_callback(lambda _: writer.close())
    return status


def test_of_more_newcomers_than_places_each_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, from many addresses, and none of them goes by itself (reliability 43)."""
    for bound in ("connections._NEW_SECONDS", "listener._SHUT_SECONDS_MAX"):
        monkeypatch.setattr(f"penstock.core.edge.{bound}", PATIENCE_SECONDS)

    async def work(door: Door) -> None:
        asked = [ask(door, f"127.0.1.{1 + n % 20}") for n in range(NEWCOMERS)]
        answers = await asyncio.gather(*asked)
        assert set(answers) == {b"204"}

    on(Rig(Settings(connections_max=PLACES)), work)


def test_while_all_are_at_work_newcomers_wait_and_are_told_at_last() -> None:
    rig = Rig(Settings(connections_max=PLACES))
    rig.log.held = True

    async def work(door: Door) -> None:
        asked = [asyncio.create_task(ask(door, f"127.0.1.{n}")) for n in range(1, 2 * PLACES)]
        while not any(task.done() for task in asked):  # noqa: ASYNC110 - it comes by the wire
            await asyncio.sleep(0.01)
        told = {task.result() for task in asked if task.done()}
        rig.log.let_go()
        assert (told, set(await asyncio.gather(*asked))) == ({b"503"}, {b"503", b"204"})

    on(rig, work)


@pytest.mark.parametrize("failures", [1, 3])
def test_a_process_without_files_rests_before_it_tries_again(failures: int) -> None:
    """Reliability 6 and 43."""

    async def work(door: Door) -> None:
        door.failures = failures
        status = await ask(door, "127.0.1.1")
        assert status == b"204"
        # One try each time the door is opened, not one each time the loop comes by.
        assert door.accepts <= failures + 4

    on(Rig(), work)


def test_who_stands_at_the_door_when_it_is_closed_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than are let in at once, with their requests sent."""
    for bound in ("_GRACE_SECONDS", "_GOODBYE_SECONDS"):
        monkeypatch.setattr(f"penstock.core.edge.listener.{bound}", PATIENCE_SECONDS)

    async def work(door: Door) -> None:
        asked = [asyncio.create_task(ask(door, f"127.0.1.{1 + n % 20}")) for n in range(NEWCOMERS)]
        while not door.accepts:  # noqa: ASYNC110 - the kernel lets them in by itself
            await asyncio.sleep(0)
        ended.extend(asked)

    ended: list[asyncio.Task[bytes]] = []

    async def run() -> None:
        async with listening(Rig(Settings(connections_max=2 * NEWCOMERS))) as door:
            await work(door)
        assert set(await asyncio.gather(*ended)) == {b"204"}

    asyncio.run(run())
