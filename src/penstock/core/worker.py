"""A process beside this one, for work that would hold the interpreter: the two ends of its socket.

It is started by the first question and may be put to rest after any. It ends when its socket does,
so it outlives nobody, and signals are for the process that started it.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import msgspec

from penstock.core.telemetry import Logger

_LENGTH_BYTES = 8
_START_SECONDS_MAX = 60
_ANSWER_SECONDS_MAX = 10
_END_SECONDS_MAX = 1
_NICE = 10
"""Where both want a core, those come first who wait for a loop that is busy."""
_encode = msgspec.msgpack.Encoder().encode
_READY = b"ready"

Handle = Callable[[bytes, bytes], bytes]
"""A question's two halves → its answer."""


class WorkerDied(Exception):
    """It ended, or did not answer in time, and nobody will hear of this question."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class Worker:
    """One question at a time, for one thread."""

    def __init__(
        self,
        code: str,
        given: object,
        logger: Logger,
        *,
        answer_seconds: float = _ANSWER_SECONDS_MAX,
    ) -> None:
        """`code` ends in `work(...)`; `given` is handed to its `make`."""
        self._answer_seconds = answer_seconds
        self._killed = False
        self._code = code
        self._given = _encode(given)
        self._logger = logger
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def ask(self, question: bytes, more: bytes = b"") -> bytes:
        """Blocks, without the interpreter's lock. Raise `WorkerDied`; the next starts another."""
        self._killed, known = False, self._socket
        while True:
            try:
                return self._ask(known or self._start(), question, more)
            except (OSError, EOFError) as error:
                why = self._died(str(error))
                if known is None or self._killed or isinstance(error, TimeoutError):
                    raise WorkerDied(why) from error
            # It may have ended before it was asked: the question is not to blame until a second
            # has.
            known = None

    def begin(self) -> None:
        """Have it started, so that a question takes its own time only. Raise `WorkerDied`."""
        self._killed = False
        if self._socket is None:
            try:
                self._start()
            except (OSError, EOFError) as error:
                raise WorkerDied(self._died(str(error))) from error

    @staticmethod
    def _ask(sock: socket.socket, question: bytes, more: bytes) -> bytes:
        _send(sock, question, more)
        return _receive(sock)

    def kill(self) -> None:
        """End it, and the question that it has in hand, if it has one; on any thread."""
        self._killed = True
        if (process := self._process) is not None:
            process.kill()

    def _died(self, error: str) -> str:
        status = self.rest()
        if not self._killed:
            self._logger.error("worker.died", error=error, status=status)
        return f"{error}, with status {status}"

    def rest(self) -> int | None:
        """End it; its exit status, None where there was none."""
        process, self._process = self._process, None
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
        if process is None:
            return None
        try:
            return process.wait(_END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._socket = ours
            self._process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, "-c", self._code], stdin=theirs.fileno()
            )
        ours.settimeout(_START_SECONDS_MAX)
        _send(ours, self._given)
        if self._killed or _receive(ours) != _READY:
            raise EOFError("it did not start")
        ours.settimeout(self._answer_seconds)
        return ours


def work(make: Callable[[bytes], Handle]) -> None:
    """The other end: answer questions until nobody is there to ask."""
    os.nice(_NICE)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=sys.stdin.fileno()) as sock:
        try:
            handle = make(_receive(sock))
            _send(sock, _READY)
            while True:
                _send(sock, handle(_receive(sock), _receive(sock)))
        except (EOFError, ConnectionError):
            pass


def _send(sock: socket.socket, *parts: bytes) -> None:
    for part in parts:
        sock.sendall(len(part).to_bytes(_LENGTH_BYTES, "big"))
        sock.sendall(part)


def _receive(sock: socket.socket) -> bytes:
    """Raise `EOFError` at the end."""
    return _exactly(sock, int.from_bytes(_exactly(sock, _LENGTH_BYTES), "big"))


def _exactly(sock: socket.socket, length: int) -> bytes:
    taken = bytearray(length)
    rest = memoryview(taken)
    while rest:
        count = sock.recv_into(rest)
        if not count:
            raise EOFError("it has ended")
        rest = rest[count:]
    return bytes(taken)
