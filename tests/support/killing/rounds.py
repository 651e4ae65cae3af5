"""Rounds of the gate: a process on the folder that the one before left, until it is killed."""

import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from penstock.core.log import Append, Origin
from penstock.core.log.origins import Origins
from penstock.core.log.sqlite import SqliteLog
from penstock.core.platform import Platform
from penstock.core.state.rocksdb import RocksState
from penstock.main import build
from support.killing.orders import MANIFEST, ORDERS, Ordered, note, noting
from support.logs import add

_KEYS = 4
_ORDERS = 12
"""In a round, at most: about as many as it gets done."""
_ROUNDS = 4
"""So many share their keys: however slow the machine is, no key comes to have more due than it may.
"""
_NUMBERS = 1_000
"""A round has so many for its orders."""
_LIFE_SECONDS = 0.2
_OPEN_SECONDS = 60.0


@contextmanager
def running(folder: Path) -> Iterator[Platform]:
    environment = {"PENSTOCK_DISK_FREE_BYTES_MIN": "0", "PENSTOCK_LOG_LEVEL": "error"}
    given = {"data": str(folder / "data")}
    with patch.object(Origins, "fresh", _refusing), noting(folder):
        platform = build(environment, given, roles=("edge", "work"), others=(MANIFEST,))
        try:
            platform.start()
            yield platform
        finally:
            platform.close()


_fresh = Origins.fresh


def _refusing(origins: Origins, topic_id: int, append: Append, origin: Origin) -> Append:
    """As ever, and noted how many the log has already."""
    fresh = _fresh(origins, topic_id, append, origin)
    note("again", len(append.payloads) - len(fresh.payloads))
    return fresh


def killed(folder: Path, number: int, draw: random.Random) -> list[int]:
    """One process, and its end. The orders that it acknowledged.

    It is killed while it opens and recovers, while it works, or by itself at one of its writes.
    """
    kind = draw.choice(["opening", "working", "append", "before", "after"])
    life, nth = draw.uniform(0, _LIFE_SECONDS), draw.randint(1, 30)
    told, tell = os.pipe()
    sys.stdout.flush()
    child = os.fork()  # what it is to run is imported, and no thread runs here
    if not child:
        try:
            _die_at(kind, nth)
            _live(folder, range(number * _NUMBERS, number * _NUMBERS + _ORDERS), tell)
        except BaseException:  # noqa: BLE001 - whatever it is, it has to be told
            traceback.print_exc()
        os._exit(1)
    os.close(tell)
    heard = b"" if kind == "opening" else _until(told, _OPEN_SECONDS, b"\n")
    heard += _until(told, life)
    os.kill(child, signal.SIGKILL)
    heard += _until(told, _OPEN_SECONDS)
    os.close(told)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError(f"round {number} ended by itself; {folder} is as it left it")
    return [int(line) for line in heard.split()]


def _until(told: int, seconds: float, enough: bytes = b"nothing") -> bytes:
    """What is told until that, until whoever tells is dead, or for so long."""
    heard, until = b"", time.monotonic() + seconds
    while enough not in heard and (left := until - time.monotonic()) > 0:
        if not select.select([told], [], [], left)[0]:
            break
        if not (piece := os.read(told, 65_536)):
            break
        heard += piece
    return heard


def _live(folder: Path, numbers: Sequence[int], tell: int) -> None:
    with running(folder) as platform:
        log = platform.log
        assert log is not None
        os.write(tell, b"\n")
        encode = ORDERS.codec().encode
        for number in numbers:
            key = f"{number // _NUMBERS // _ROUNDS}/{number % _KEYS}"
            add(log, encode(Ordered(key, number)), topic=ORDERS.name)
            os.write(tell, b"%d\n" % number)
        signal.pause()


def _die_at(kind: str, nth: int) -> None:
    """In this process one of the writes is the last: behind an append, before or behind states."""
    left = nth

    def last() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def dying(write: Callable[..., None], *, before: bool) -> Callable[..., None]:
        def written(*given: Any, **named: Any) -> None:
            dies = last()
            if dies and before:
                os.kill(os.getpid(), signal.SIGKILL)
            write(*given, **named)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)

        return written

    match kind:
        case "append":
            patch.object(SqliteLog, "submit", dying(SqliteLog.submit, before=False)).start()
        case "before" | "after":
            dies = dying(RocksState.apply, before=kind == "before")
            patch.object(RocksState, "apply", dies).start()
