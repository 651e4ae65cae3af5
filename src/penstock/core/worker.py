"""A process beside this one, for work that would hold the interpreter: the two ends of its socket.

It is started by the first question and may be put to rest after any. It ends when its socket does,
so it outlives nobody, and signals are for the process that started it. What it starts itself has
nothing of the socket, ends with it, and answers nothing: questions and answers are numbered.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import msgspec

from penstock.core.telemetry import Logger

_NUMBER_BYTES = 8
"""Of lengths, and of the number that a question and its answer have."""
_START_SECONDS_MAX = 60
_ANSWER_SECONDS_MAX = 10
_END_SECONDS_MAX = 1
_NICE = 10
"""Where both want a core, those come first who wait for a loop that is busy."""
_encode = msgspec.msgpack.Encoder().encode
_READY = b"ready"
_FIRST_OWN = 3
"""File descriptors below are input, output and errors."""

Handle = Callable[[bytes, bytes], bytes]
"""A question's two halves → its answer."""


class WorkerDied(Exception):
    """It ended, or did not answer in time, and nobody will hear of this question."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class _OutOfStep(OSError):
    """What came is the answer to another question."""


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
        self._asked = 0

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

    def _ask(self, sock: socket.socket, question: bytes, more: bytes) -> bytes:
        self._asked += 1
        number = self._asked.to_bytes(_NUMBER_BYTES)
        sock.sendall(number)
        _send(sock, question, more)
        if _exactly(sock, _NUMBER_BYTES) != number:
            self._end()
            raise _OutOfStep("it answered another question")
        return _receive(sock)

    def kill(self) -> None:
        """End it, and the question that it has in hand, if it has one; on any thread."""
        self._killed = True
        self._end()

    def _end(self) -> None:
        if (process := self._process) is not None:
            _end_group(process.pid)

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
            _end_group(process.pid)
            return process.wait()
        finally:  # it may have left some behind: their group has its number as long as they are
            _end_group(process.pid)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._socket = ours
            self._process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, "-c", self._code], stdin=theirs.fileno(), process_group=0
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
    pid = os.getpid()
    with _taken_from_stdin() as sock:
        os.register_at_fork(after_in_child=sock.close)
        try:
            handle = make(_receive(sock))
            _send(sock, _READY)
            while True:
                asked = _exactly(sock, _NUMBER_BYTES)
                question, more = _receive(sock), _receive(sock)
                try:
                    answer = handle(question, more)
                finally:
                    if os.getpid() != pid:  # a fork that came back: only its parent was asked
                        os._exit(0)
                sock.sendall(asked)
                _send(sock, answer)
        except (EOFError, ConnectionError):
            pass
    # Whatever it has started, and is in its group, hears this; itself it does not.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.killpg(0, signal.SIGHUP)


def _taken_from_stdin() -> socket.socket:
    """So that nothing that reads its input, or is started here, takes what is for us."""
    sock = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return sock


def _end_group(pid: int) -> None:
    """A process and all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _send(sock: socket.socket, *parts: bytes) -> None:
    for part in parts:
        sock.sendall(len(part).to_bytes(_NUMBER_BYTES, "big"))
        sock.sendall(part)


def _receive(sock: socket.socket) -> bytes:
    """Raise `EOFError` at the end."""
    return _exactly(sock, int.from_bytes(_exactly(sock, _NUMBER_BYTES), "big"))


def _exactly(sock: socket.socket, length: int) -> bytes:
    taken = bytearray(length)
    rest = memoryview(taken)
    while rest:
        count = sock.recv_into(rest)
        if not count:
            raise EOFError("it has ended")
        rest = rest[count:]
    return bytes(taken)
