"""What the server used, read from /proc once a second; nothing where there is no /proc."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PERIOD_SECONDS = 1.0
_BLOCK_BYTES = 512


class Meter:
    """Sums CPU, memory and written bytes over a process and its descendants.

    Processes that a crash run replaces keep what they had used when last seen.
    """

    def __init__(self, pid: Callable[[], int | None]) -> None:
        self._pid = pid
        self._cpu: dict[int, float] = {}
        self._written: dict[int, int] = {}
        self._cpu_before: dict[int, float] = {}
        self._written_before: dict[int, int] = {}
        self.peak_rss_bytes: int | None = None
        self.sample()
        self._cpu_before = dict(self._cpu)
        self._written_before = dict(self._written)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            self.sample()

    def sample(self) -> None:
        pid = self._pid()
        if pid is None:
            return
        rss = 0
        for process in _with_descendants(pid):
            # A process may end between any two reads.
            with suppress(OSError, ValueError, IndexError):
                folder = Path("/proc", str(process))
                self._cpu[process] = _cpu_seconds(folder)
                rss += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
                self._written[process] = _written_bytes(folder)
        if rss:
            self.peak_rss_bytes = max(rss, self.peak_rss_bytes or 0)

    @property
    def cpu_seconds(self) -> float | None:
        if not self._cpu:
            return None
        return sum(self._cpu.values()) - sum(self._cpu_before.values())

    @property
    def written_bytes(self) -> int | None:
        if not self._written:
            return None
        return sum(self._written.values()) - sum(self._written_before.values())


def disk_bytes(folder: Path) -> int:
    """What the files below `folder` take up on the disk."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_blocks * _BLOCK_BYTES
    return total


def _with_descendants(pid: int) -> list[int]:
    found, queue = [], [pid]
    while queue:
        process = queue.pop()
        found.append(process)
        for children in Path("/proc", str(process), "task").glob("*/children"):
            with suppress(OSError):
                queue += map(int, children.read_text().split())
    return found


def _cpu_seconds(folder: Path) -> float:
    # The name in the second field may hold spaces; what follows its bracket does not.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _written_bytes(folder: Path) -> int:
    lines = (folder / "io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
