"""What the embedded state promises besides."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from penstock.core.state import Entry
from support.stores import open_state

THREADS, TURNS = 4, 10


def test_those_who_make_a_space_at_once_meet_in_it(tmp_path: Path) -> None:
    """As when several projections park their first records."""
    together = threading.Barrier(THREADS, timeout=20.0)
    with closing(open_state(tmp_path)) as state:

        def put(number: int) -> None:
            for turn in range(TURNS):
                together.wait()
                state.put(f"tests.{turn}", Entry(b"%d" % number, b"", b"1"))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(put, range(THREADS)))
        for turn in range(TURNS):
            found = sorted(entry.group for entry in state.scan(f"tests.{turn}"))
            assert found == [b"%d" % number for number in range(THREADS)]
