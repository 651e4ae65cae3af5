"""A fold whose process is killed, by the kernel and not by an exception: nothing is said twice."""

import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from core.test_folds import oracle
from support import folded
from support.folded import Bench
from support.purses import Moved, purses

ROUNDS = int(os.environ.get("KILL_ROUNDS", "4"))
"""Of each kind."""
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
        child = [sys.executable, folded.__file__, str(tmp_path), kind, str(at)]
        ended = subprocess.run(child, timeout=_END_SECONDS, check=False, env=environment())
        killed_by = {"any": signal.SIGALRM}.get(kind, signal.SIGKILL)
        assert ended.returncode in (0, -killed_by)
    with closing(Bench(tmp_path)) as bench:
        bench.carry(purses)
        assert (bench.known(purses), bench.said(purses)) == oracle(moves)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
