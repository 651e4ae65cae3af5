"""A fold whose process is killed, by the kernel and not by an exception: nothing is said twice."""

import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.test_folds import Bench, oracle
from penstock.core.state.rocksdb import RocksState
from support.purses import Moved, purses

ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
"""Of each kind."""
_BLOCK = 10
_END_SECONDS = 60


def made() -> list[Moved]:
    draw = random.Random(14)
    return [Moved(draw.choice("abcdef"), draw.randint(-4, 4)) for _ in range(400)]


@pytest.mark.parametrize("kind", ["before", "after", "any"])
def test_a_process_that_is_killed_says_everything_once(tmp_path: Path, kind: str) -> None:
    """Between append and apply, behind apply, and whenever an alarm goes off.

    Whether a process was killed or came to its end first is nothing that this depends on.
    """
    moves = made()
    with closing(Bench(tmp_path)) as bench:
        bench.say(purses, *moves)
    draw = random.Random(kind)
    for _ in range(ROUNDS):
        at = draw.randint(1, 8) if kind != "any" else draw.randint(1, 60)
        child = [sys.executable, __file__, str(tmp_path), kind, str(at)]
        ended = subprocess.run(child, timeout=_END_SECONDS, check=False, env=environment())
        killed_by = {"any": signal.SIGALRM}.get(kind, signal.SIGKILL)
        assert ended.returncode in (0, -killed_by)
    with closing(Bench(tmp_path)) as bench:
        bench.carry(purses)
        assert (bench.known(purses), bench.said(purses)) == oracle(moves)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


class Dying(RocksState):
    """The real engine in a process that is killed at one of its writes."""

    kind, left = "", 0

    def apply(self, *given: Any, **named: Any) -> None:
        self.left -= 1
        if self.left == 0 and self.kind == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        super().apply(*given, **named)
        if self.left == 0 and self.kind == "after":
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, kind: str, at: str) -> None:
    bench = Bench(Path(folder), Dying)
    assert isinstance(bench.state, Dying)
    bench.state.kind, bench.state.left = kind, int(at)
    if kind == "any":
        signal.setitimer(signal.ITIMER_REAL, int(at) / 1000)
    bench.carry(purses, _BLOCK)


if __name__ == "__main__":
    main(*sys.argv[1:])
