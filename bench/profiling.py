"""Where the edge's time goes at full load, as py-spy sees it."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.clients import closed
from bench.edge import edge
from bench.requests import framed
from bench.rows import Plan, Row
from bench.servers import scratch

_RATE = 400
_PARTS = (
    ("compressing a block (log's thread)", ("log/blocks.py",)),
    ("SQLite: writing and syncing (log's thread)", ("log/sqlite_", "log/checkpoint.py")),
    ("the log's thread around that", ("log/sqlite.py:_run", "log/sqlite.py")),
    ("judging the tag", ("apps/audiences",)),
    ("writing the answer to its socket", ("core/edge/wire.py", "exchange.py:_answer")),
    ("gathering a commit", ("core/edge/committer.py", "dispatcher.py:commit")),
    ("the edge itself", ("core/edge/",)),
)
_LOOP = "the event loop: waiting for, and reading from, sockets"


def profile(plan: Plan) -> list[Row]:
    """Shares of the samples in which a thread was at work; the client runs meanwhile."""
    with scratch() as own, framed("single") as requests, edge(own) as server:
        raw = own / "profile.txt"
        command = [
            str(Path(sys.executable).parent / "py-spy"), "record", "--format", "raw",
            "--pid", str(server.process.pid), "--duration", f"{plan.blast_seconds:.0f}",
            "--rate", str(_RATE), "--nonblocking", "--output", str(raw),
        ]  # fmt: skip
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        closed(server.port, requests, plan.blast_seconds + 2)
        if spy.wait(60):
            return [Row("profile", "skipped: py-spy may not look into processes here", "", None)]
        shares = _shares(raw.read_text().splitlines())
    total = sum(shares.values())
    return [
        Row(f"of the edge's time: {part}", f"{100 * count / total:.0f} %", "", None)
        for part, count in shares.most_common()
    ]


def _shares(lines: list[str]) -> Counter[str]:
    shares: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if part := _part(frames):
            shares[part] += int(count)
    return shares


def _part(frames: list[str]) -> str:
    """What a stack belongs to, by its innermost frame that says; nothing for a wait."""
    if frames[-1].startswith("SqliteLog._run"):
        return ""
    for frame in reversed(frames):
        function, _, place = frame.partition(" (")
        named = f"{place.partition(':')[0]}:{function.rpartition('.')[2]}"
        for part, marks in _PARTS:
            if any(mark in named or named.endswith(mark) for mark in marks):
                return part
    return _LOOP
