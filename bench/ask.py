"""Commands that are answered by what a fold decides, all roles in one process.

`python -m bench.ask [seconds]`: latency at a thousand a second, and the most there is.
"""

import json
import sys
import tempfile
from pathlib import Path

from bench.clients import closed, open_loop
from bench.rows import Row, verdict
from bench.servers import free_port, running, scratch

SECONDS = 10.0
RATE = 1_000
P50_MS, P99_MS, MOST = 8.0, 30.0, 3_000
_PURSES, _PAYMENTS = 10_000, 20_000


def rows(seconds: float = SECONDS) -> list[Row]:
    port = free_port()
    command = [sys.executable, "-m", "bench.references.asking", str(port)]
    with (
        scratch() as folder,
        tempfile.NamedTemporaryFile("w", suffix=".json") as file,
        running([*command, str(folder / "data")], port, folder, ready="/readyz"),
    ):
        json.dump([_framed(number) for number in range(_PAYMENTS)], file)
        file.flush()
        requests = Path(file.name)
        paced = open_loop(port, requests, seconds, RATE)
        most = closed(port, requests, seconds)
    measured = "p50 {p50_ms:.1f}, p99 {p99_ms:.1f} ms".format(**paced)
    target = f"p50 {P50_MS:.0f}, p99 {P99_MS:.0f} ms"
    holds = paced["p50_ms"] <= P50_MS and paced["p99_ms"] <= P99_MS
    at_least = f"at least {MOST:,}/s"
    return [
        Row(f"ask, {RATE:,}/s", measured, target, verdict(target, holds=holds)),
        Row(
            "ask, 64 connections", f"{most:,.0f}/s", at_least, verdict(at_least, holds=most >= MOST)
        ),
    ]


def _framed(number: int) -> str:
    body = json.dumps([f"purse-{number % _PURSES}", number, number % 90 + 1])
    return (
        "POST /pay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )


if __name__ == "__main__":
    for row in rows(*map(float, sys.argv[1:])):
        print(f"{row.what}: {row.measured} ({row.target})")
