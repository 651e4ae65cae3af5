"""What the tests' own worker process does with its questions."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from penstock.core.edge import judging
from penstock.core.worker import Handle, work
from support.hosts import note_endpoint

PATHS = os.pathsep.join(sys.path)
"""Where a process that is started by a test finds what the test found."""


_CAT = "import os, sys; os.write(1, b'read ' + sys.stdin.buffer.read())"
_STAY = "import time; time.sleep(60)"


def _sleep() -> bytes:
    time.sleep(60)
    return b"slept"


def _fork() -> bytes:
    """Both come back, and only one was asked."""
    if child := os.fork():
        os.waitpid(child, 0)
        return b"parent"
    return b"child"


def _fork_and_raise() -> bytes:
    if child := os.fork():
        os.waitpid(child, 0)
        return b"parent"
    raise EOFError


def _leave_one() -> bytes:
    return b"%d" % subprocess.Popen([sys.executable, "-c", _STAY]).pid


def _leave_a_fork() -> bytes:
    if child := os.fork():
        return b"%d" % child
    time.sleep(60)
    return b"child"


def _have_it_read() -> bytes:
    found = subprocess.run([sys.executable, "-c", _CAT], stdout=subprocess.PIPE, check=True)
    return found.stdout


def _speak_out_of_turn() -> bytes:
    for number in range(3, 64):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.write(number, bytes(64))
    return b"spoke"


_TRICKS: dict[bytes, Callable[[], bytes]] = {
    b"die": lambda: os._exit(7),
    b"sleep": _sleep,
    b"fork": _fork,
    b"fork and raise": _fork_and_raise,
    b"leave one": _leave_one,
    b"leave a fork": _leave_a_fork,
    b"read": lambda: b"read " + sys.stdin.buffer.read(),
    b"have it read": _have_it_read,
    b"speak": _speak_out_of_turn,
}


def echoes() -> None:
    """What it is asked, behind what it was given; or what a trick has come to."""

    def make(given: bytes) -> Handle:
        def handle(question: bytes, more: bytes) -> bytes:
            did = _TRICKS[question]() if question in _TRICKS else question
            return b"%b %b %b" % (given, did, more)

        return handle

    work(make)


def judges() -> None:
    """Notes, as `support.hosts` takes them."""
    work(lambda _: judging.answer({note_endpoint.operation: note_endpoint}))
