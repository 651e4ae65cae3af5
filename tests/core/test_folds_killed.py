"""Folds whose process is killed, by the kernel and not by an exception: nothing is said twice."""

import os
import subprocess
import sys
from pathlib import Path

ROUNDS = 12
_END_SECONDS = 180


def test_a_process_that_is_killed_says_everything_once(tmp_path: Path) -> None:
    """Reliability 1. Outputs, timers and jobs. `make gate` does it a thousand times."""
    folder = ["--folder", str(tmp_path), "--rounds", str(ROUNDS)]
    command = [sys.executable, "-m", "support.killing", *folder]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=_END_SECONDS, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 repeats, 0 losses" in ended.stdout
