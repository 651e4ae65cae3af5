"""An edge apart that decides by what it knows, and is killed."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from e2e.process import Client
from support.capped import CAP
from support.workers import PATHS


@contextmanager
def edge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """One that is ready, until it is killed."""
    monkeypatch.setenv("PYTHONPATH", PATHS)
    code = f"from support.capped import edge; edge({str(folder)!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            with closing(Client(urlsplit(process.stdout.readline()).port or 0)) as client:
                client.until_ready()
                yield client
        finally:
            process.kill()


def test_an_edge_that_was_killed_knows_what_it_had_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 1 and 7: it has no state, no warehouse and no database."""
    told: Counter[int] = Counter()
    for _ in range(2):
        with edge(tmp_path, monkeypatch) as client:
            told.update(client.post("/click", b"a").status for _ in range(CAP - 10))
    assert told == {204: CAP, 429: CAP - 20}
    assert not (tmp_path / "state").exists()
