"""What the tests' own worker process does with its questions."""

import os
import sys
import time

from penstock.core.edge import judging
from penstock.core.worker import Handle, work
from support.hosts import note_endpoint

PATHS = os.pathsep.join(sys.path)
"""Where a process that is started by a test finds what the test found."""


def echoes() -> None:
    """What it is asked, behind what it was given; and two ways to fail."""

    def make(given: bytes) -> Handle:
        def handle(question: bytes, more: bytes) -> bytes:
            if question == b"die":
                os._exit(7)
            if question == b"sleep":
                time.sleep(60)
            return b"%b %b %b" % (given, question, more)

        return handle

    work(make)


def judges() -> None:
    """Notes, as `support.hosts` takes them."""
    work(lambda _: judging.answer({note_endpoint.operation: note_endpoint}))
