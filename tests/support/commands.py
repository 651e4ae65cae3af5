"""The operator's commands, as an operator runs them."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from support.process import COMMAND, PATIENCE_SECONDS, clean


class Told(NamedTuple):
    status: int
    out: str
    errors: str


def penstock(*arguments: str | Path, environment: bool = False) -> Told:
    """One that ends by itself; with the settings of our own environment only if that is meant."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env=None if environment else clean(),
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    return Told(done.returncode, done.stdout, done.stderr)
