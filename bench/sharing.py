"""Would several edge processes on one embedded log be worth it? Decision 0010 rests on this."""

import os
import subprocess
import sys
import time
from pathlib import Path

import apsw

from bench.rows import Plan, Row
from bench.servers import scratch

GROUP, PAYLOAD_BYTES = 64, 106
"""What 64 connections bring into one commit."""
_PATIENCE_MS = 10_000


def sharing(plan: Plan) -> list[Row]:
    """Synced commits a second: one writer, two on one file, two on a file each."""
    one = _commits(plan.blast_seconds, ["a"])
    shared = _commits(plan.blast_seconds, ["a", "a"])
    apart = _commits(plan.blast_seconds, ["a", "b"])
    rows = [Row("one log writer", f"{one:,.0f} commits/s, {one * GROUP:,.0f} events/s", "", None)]
    for what, rate in (("two on the same file", shared), ("two on a file each", apart)):
        rows.append(Row(what, f"{rate:,.0f} commits/s, {rate / one:.2f} of one", "", None))
    return rows


def _commits(seconds: float, names: list[str]) -> float:
    with scratch() as folder:
        for name in set(names):
            _open(folder / name).close()
        begin = time.time() + 1.0
        command = [sys.executable, "-m", "bench.sharing", str(begin), str(seconds)]
        writers = [
            subprocess.Popen([*command, str(folder / name), str(n)], stdout=subprocess.PIPE)
            for n, name in enumerate(names)
        ]
        return sum(int(writer.communicate(timeout=seconds + 60)[0]) for writer in writers) / seconds


def _open(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(_PATIENCE_MS)
    connection.execute("PRAGMA journal_mode = WAL").get  # noqa: B018 - runs the statement
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS blocks (first INTEGER PRIMARY KEY, body BLOB)")
    return connection


def main() -> None:
    """Commit groups from a given moment on for so many seconds; print how many."""
    begin, seconds, path, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    connection = _open(Path(path))
    body = os.urandom(GROUP * PAYLOAD_BYTES // 2)  # as many bytes as compressed ones take
    time.sleep(max(0.0, float(begin) - time.time()))
    end, commits = time.time() + float(seconds), 0
    while time.time() < end:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO blocks SELECT coalesce(max(first), 0) + ?, ? FROM blocks", (GROUP, body)
        )
        connection.execute("COMMIT")
        commits += 1
    print(commits)


if __name__ == "__main__":
    main()
