"""What one bad connection does, over and over, until it is told to stop."""

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Protocol, cast

_ANSWER = b"HTTP/1.1 "
_RESET = struct.pack("ii", 1, 0)


class Swarm(Protocol):
    """What a connection tells of itself."""

    received_bytes: int

    def began(self, attacker: "Attacker") -> None: ...

    def ended(self, attacker: "Attacker") -> None:
        """It is gone; another takes its place."""
        ...


class Attacker(asyncio.Protocol):
    """Opens, and does no more."""

    def __init__(self, swarm: Swarm) -> None:
        self.swarm = swarm
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.swarm.began(self)
        self.begin()

    def begin(self) -> None:
        """It is connected."""

    def data_received(self, data: bytes) -> None:
        self.swarm.received_bytes += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # however it went
        self.swarm.ended(self)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, self._if_open, act)

    def _if_open(self, act: Callable[[], None]) -> None:
        if not self.transport.is_closing():
            act()


class Asks(Attacker):
    """One request after the other, each as soon as all before it are answered."""

    def __init__(self, swarm: Swarm, requests: Sequence[bytes], first: int, at_once: int) -> None:
        super().__init__(swarm)
        self._requests = cycle([*requests[first:], *requests[:first]])
        self._at_once = at_once
        self._due = 0

    def begin(self) -> None:
        self._due = self._at_once
        self.transport.write(b"".join(next(self._requests) for _ in range(self._at_once)))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._due -= data.count(_ANSWER)
        if self._due <= 0:
            self.begin()


class Pours(Attacker):
    """The same block again and again, as fast as it is taken; what is answered is dropped."""

    def __init__(self, swarm: Swarm, opening: bytes, block: bytes, *, reads: bool) -> None:
        super().__init__(swarm)
        self._opening = opening
        self._block = block
        self._reads = reads

    def begin(self) -> None:
        if not self._reads:
            self.transport.pause_reading()
        self.transport.write(self._opening)
        self._pour()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._pour()

    def _pour(self) -> None:
        while not self.paused and not self.transport.is_closing():
            self.transport.write(self._block)


class Holds(Attacker):
    """Says this much, and then nothing any more; half of it is closed where that is wanted."""

    def __init__(self, swarm: Swarm, opening: bytes, *, half_closes: bool) -> None:
        super().__init__(swarm)
        self._opening = opening
        self._half_closes = half_closes

    def begin(self) -> None:
        if self._opening:
            self.transport.write(self._opening)
        if self._half_closes:
            self.transport.write_eof()


class Returns(Attacker):
    """Says this much, and then `acts` a while later, again and again if it says so."""

    reads = True

    def __init__(self, swarm: Swarm, opening: bytes, seconds: float) -> None:
        super().__init__(swarm)
        self._opening = opening
        self._seconds = seconds

    def begin(self) -> None:
        if not self.reads:
            self.transport.pause_reading()
        self.transport.write(self._opening)
        self.again()

    def again(self) -> None:
        self.later(self._seconds, self.act)

    def act(self) -> None:
        raise NotImplementedError


class Drips(Returns):
    """Says this much, and then a byte every so many seconds."""

    def __init__(self, swarm: Swarm, opening: bytes, byte: bytes, seconds: float) -> None:
        super().__init__(swarm, opening, seconds)
        self._byte = byte

    def act(self) -> None:
        self.transport.write(self._byte)
        self.again()


class Sips(Returns):
    """Asks for a lot and reads a little of it, now and then."""

    reads = False

    def act(self) -> None:
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.pause_reading()
        self.again()


class Leaves(Returns):
    """Says this much, reads nothing, and is gone without a shutdown; then comes again."""

    reads = False

    def act(self) -> None:
        found: Any = self.transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
