"""The door: who comes in a crowd is heard before anybody is sent away for the next."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from penstock.core.edge.connection import Connection
from penstock.core.edge.door import BACKLOG, QUEUE_MAX, Newcomers
from penstock.core.edge.listener import Listener
from penstock.core.edge.turn import Turn
from penstock.core.settings import Settings
from support.hosts import Rig

PLACES, NEWCOMERS = 16, 200
REQUEST = b"POST /note HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
CROWD, NEIGHBOUR = "127.0.1.1", "127.0.0.2"
PATIENCE_SECONDS = 60.0


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
    for bound in ("connections._NEW_SECONDS", "door._SHUT_SECONDS_MAX"):
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


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def unhurried(rig: Rig) -> Rig:
    """In one turn it does all that there is to be done."""
    rig.edge.turn = Turn(lambda: 0.0)
    return rig


async def enter(rig: Rig, door: Door, count: int, request: bytes = b"") -> list[Stream]:
    """So many of the crowd are let in, and have asked."""
    host, port = door.getsockname()
    streams = []
    for _ in range(count):
        streams.append(await asyncio.open_connection(host, port, local_addr=(CROWD, 0)))
        streams[-1][1].write(request)
    guests = rig.edge.connections.present
    while len(guests) < count or not all(  # noqa: ASYNC110 - it comes by the wire
        isinstance(guest, Connection) and guest.works == bool(request) for guest in guests
    ):
        await asyncio.sleep(0)
    return streams


async def come(door: Door, addresses: list[str]) -> list[bytes]:
    """Statuses of the answers to those who come in this order, all before the door is opened."""
    came = []
    for address in addresses:
        came.append(socket.create_connection(door.getsockname(), source_address=(address, 0)))
        came[-1].sendall(REQUEST)

    async def status(connection: socket.socket) -> bytes:
        reader, writer = await asyncio.open_connection(sock=connection)
        told = (await reader.readuntil(b"\r\n\r\n"))[9:12]
        writer.close()
        return told

    return await asyncio.gather(*map(status, came))


def leave(streams: list[Stream]) -> None:
    for _, writer in streams:
        writer.close()


def test_who_comes_behind_a_crowd_does_not_wait_for_all_of_it() -> None:
    """Reliability 43: it has connections that idle, so of its newcomers one waits."""
    rig = unhurried(Rig(Settings(connections_max=16)))

    async def work(door: Door) -> None:
        idle = await enter(rig, door, 8)
        answers = await come(door, [CROWD] * (QUEUE_MAX + 1) + [NEIGHBOUR])
        assert answers == [b"204"] + [b"503"] * QUEUE_MAX + [b"204"]
        assert {line["status"] for line in rig.lines.named("request.refused")} == {503}
        leave(idle)

    on(rig, work)


@pytest.mark.parametrize("newcomers", [QUEUE_MAX, QUEUE_MAX + 1])
def test_who_has_no_connection_that_idles_is_waited_with(newcomers: int) -> None:
    """Nor is anybody told anything while fewer wait."""
    rig = unhurried(Rig())
    is_crowded = newcomers > QUEUE_MAX

    async def work(door: Door) -> None:
        asked = await enter(rig, door, 8, REQUEST if is_crowded else b"")
        answers = asyncio.create_task(come(door, [CROWD] * newcomers))
        while is_crowded and rig.edge.in_flight < newcomers + len(asked):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
        rig.log.let_go()
        assert set(await answers) == {b"204"}
        leave(asked)

    rig.log.held = is_crowded
    on(rig, work)


def test_newcomers_are_let_in_by_their_addresses_in_turn() -> None:
    newcomers = Newcomers()
    with socket.socket() as accepted:
        for peer in "aaab":
            newcomers.put(accepted, peer)
        assert (len(newcomers), newcomers.of("a"), newcomers.of("c")) == (4, 3, 0)
        assert [newcomers.take()[1] for _ in range(4)] == list("abaa")
        assert not newcomers
