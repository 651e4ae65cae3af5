"""However much goes in, the embedded engine has few files and few threads."""

import os
import time
from contextlib import closing
from pathlib import Path

import psutil

from support.stores import create, insert, open_warehouse

PARTITIONS = 60
FILES_MAX = 16 * PARTITIONS
"""Those of one part for each partition; there were three."""
THREADS_MORE_MAX = 40
PATIENCE_SECONDS = 180.0
LOOKS_SECONDS_MAX = 5
"""The engine alone would look half a minute later, and up to five minutes."""


def files_in(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def test_parts_that_were_merged_go_within_seconds_and_by_few_threads(tmp_path: Path) -> None:
    """Without a bound they stay for minutes, and then a hundred threads remove a hundred of them,
    and stay themselves.
    """
    process = psutil.Process()
    with closing(open_warehouse(tmp_path)) as warehouse:
        create(warehouse)
        told = warehouse.query(
            "SELECT toUInt32(value) FROM system.merge_tree_settings WHERE name IN "
            "('cleanup_delay_period', 'max_cleanup_delay_period')",
            {},
        )
        assert [0 < int(str(seconds)) <= LOOKS_SECONDS_MAX for (seconds,) in told] == [True] * 2
        before = most = process.num_threads()
        for block in range(2):
            numbers = range(block * PARTITIONS, (block + 1) * PARTITIONS)
            insert(warehouse, numbers, str(block), parts=PARTITIONS)
        warehouse.command("OPTIMIZE TABLE tests_rows FINAL")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (files := files_in(tmp_path)) > FILES_MAX:
            assert time.monotonic() < deadline, f"there are {files} files still"
            most = max(most, process.num_threads())
            time.sleep(0.01)
        assert most - before < THREADS_MORE_MAX
