"""Load from a process of its own, on a core of its own."""

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bench.rows import CLIENT_CORE


def closed(port: int, requests: Path, seconds: float, connections: int = 64) -> float:
    """Requests answered per second, every connection busy all the time."""
    found = _blast(port, requests, seconds, "--connections", str(connections))
    return float(found["per_second"])


def open_loop(
    port: int, requests: Path, seconds: float, rate: float, during: Path | None = None
) -> dict[str, Any]:
    """Latencies in milliseconds at so many requests a second: `p50_ms`, `p99_ms`, `p999_ms`, and
    all of them in ascending order, `latencies_ms`. With a file, until that is gone.
    """
    until = () if during is None else ("--during", str(during))
    return _blast(port, requests, seconds, "--rate", f"{rate:.0f}", *until)


def _blast(port: int, requests: Path, seconds: float, *options: str) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "bench.blast", "--port", str(port), "--core", str(CLIENT_CORE),
        "--seconds", str(seconds), "--requests", str(requests), *options,
    ]  # fmt: skip
    with TemporaryFile() as told:  # a pipe has cut what a minute of latencies says
        subprocess.run(command, stdout=told, check=True, timeout=seconds + 60)
        told.seek(0)
        result: dict[str, Any] = json.loads(told.read())
    unexpected = {status for status in result.pop("statuses") if not status.startswith("2")}
    if unexpected:
        raise RuntimeError(f"the server answered {unexpected}")
    return result


def wrk(port: int, seconds: float) -> float:
    command = [
        "taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", "-c64", f"-d{seconds:.0f}",
        f"http://127.0.0.1:{port}/r/summer",
    ]  # fmt: skip
    told = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, timeout=seconds + 60, text=True
    )
    if "Non-2xx" in told.stdout:
        raise RuntimeError(told.stdout)
    found = re.search(r"Requests/sec:\s+([\d.]+)", told.stdout)
    if found is None:
        raise RuntimeError(told.stdout)
    return float(found[1])
